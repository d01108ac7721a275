"""Claims about frozen layers, clones and quantization."""

import keras
import numpy as np
import pytest

import keras_coda
from keras_coda import CoDANet
from keras_coda.models import ExplainableClassifier
from tests.helpers.networks import assert_complete, pixels, small


def flags(model):
    return [layer.trainable for layer in model.layers if layer.weights]


def reload(model, folder, kind):
    if kind == "keras":
        model.save(folder / "model.keras")
        return keras.saving.load_model(folder / "model.keras")
    if kind == "keras without compile":
        model.save(folder / "model.keras")
        return keras.saving.load_model(folder / "model.keras", compile=False)
    if kind == "config":
        return CoDANet.from_config(model.get_config())
    model.save_to_preset(folder / "net", weights_dtype="float16" if kind == "half preset" else "float32")
    return CoDANet.from_preset(folder / "net")


@pytest.mark.parametrize("kind", ["keras", "keras without compile", "config", "preset", "half preset"])
@pytest.mark.parametrize("frozen", [(0,), (0, 2), (0, 1, 2), ()])
def test_frozen_layers_stay_frozen(kind, frozen, tmp_path):
    model = small()
    layers = [layer for layer in model.layers if layer.weights]
    for index in frozen:
        layers[index].trainable = False
    loaded = reload(model, tmp_path, kind)
    assert flags(loaded) == flags(model) == [index not in frozen for index in range(3)]
    assert len(loaded.trainable_variables) == 2 * (3 - len(frozen))
    assert loaded.get_config()["frozen"] == ([layers[index].name for index in frozen] or None)


@pytest.mark.parametrize("kind", ["keras", "preset"])
def test_a_network_that_is_frozen_as_a_whole_stays_so(kind, tmp_path):
    model = small()
    model.trainable = False
    loaded = reload(model, tmp_path, kind)
    assert loaded.trainable_variables == []
    assert flags(loaded) == flags(model) == [False] * 3


def test_training_resumes_with_the_optimizer_of_the_layers_that_are_not_frozen(tmp_path):
    model = small(frozen=("dau_1",))
    images, labels = pixels(6), np.arange(6) % 3
    model.fit(images, labels, verbose=0)
    before = model.get_weights()
    loaded = reload(model, tmp_path, "keras")
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)
    for each in (model, loaded):
        each.fit(images, labels, shuffle=False, verbose=0)
        changed = [not np.array_equal(a, b) for a, b in zip(each.get_weights(), before, strict=True)]
        assert changed == [False] * 2 + [True] * 4
    np.testing.assert_allclose(loaded.get_weights()[-1], model.get_weights()[-1], atol=1e-6)


def test_layers_of_a_graph_of_the_caller_stay_frozen(tmp_path):
    images = keras.Input((8, 7, 2))
    x = keras_coda.DAUConv2D(4, 3, 2)(keras_coda.AddInverse()(keras.layers.Rescaling(1 / 255)(images)))
    model = ExplainableClassifier(images, keras_coda.GlobalSumPooling2D()(keras_coda.DAUConv2D(3, 3, 2)(x)))
    model.layers[3].trainable = False
    assert flags(reload(model, tmp_path, "keras")) == flags(model) == [False, True]
    assert flags(keras.models.clone_model(model)) == [False, True]


@pytest.mark.parametrize("frozen", [("dau_9",), ("logits",), "dau_1"])
def test_only_layers_with_weights_can_be_frozen(frozen):
    with pytest.raises(
        ValueError, match=r"`frozen` must name layers with weights, some of \['dau_1', .* Received: fro"
    ):
        small(frozen=frozen)


@pytest.mark.parametrize("options", [{}, {"penalties": {"linear_map": 0.1}}, {"metrics": ["accuracy", "mse"]}])
def test_clones_are_explained_and_trained_like_the_network(options):
    model = small()
    model.compile(keras.optimizers.SGD(0.1), **options)
    model.get_layer("dau_2").trainable = False
    clone = keras.models.clone_model(model)
    assert clone.optimizer.get_config() == model.optimizer.get_config()
    assert flags(clone) == [True, False, True]
    assert not np.array_equal(clone.get_weights()[0], model.get_weights()[0])
    clone.set_weights(model.get_weights())
    explanation = keras_coda.explain(clone, pixels())
    assert_complete(explanation)
    np.testing.assert_allclose(explanation.contributions, model.explain(pixels()).contributions, atol=1e-7)


def test_clones_take_a_function_for_layers():
    names = []
    keras.models.clone_model(
        small(), clone_function=lambda layer: names.append(layer.name) or type(layer).from_config(layer.get_config())
    )
    assert names[-3:] == ["dau_3", "sum_pooling", "logits"]


def test_penalties_survive_a_file(tmp_path):
    model = small()
    model.compile(penalties={"map_consistency": 0.5})
    assert reload(model, tmp_path, "keras").penalties == model.penalties


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantization_is_refused_and_changes_nothing(mode):
    model = small()
    before = model.explain(pixels()).contributions
    with pytest.raises(NotImplementedError, match="cannot be quantized: .* Received: "):
        model.quantize(mode)
    np.testing.assert_array_equal(model.explain(pixels()).contributions, before)
