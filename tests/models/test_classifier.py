"""Claims about `ExplainableClassifier`: visible arguments, any architecture, and files of networks as they were."""

import inspect
import json
import warnings

import keras
import numpy as np
import pytest

import keras_coda
from keras_coda import CoDANet, DAUConv2D
from keras_coda.models import ExplainableClassifier
from tests.helpers.networks import assert_complete, pixels, small


def graph(**options):
    """Build a classifier of layers of the caller, for the images of `pixels`."""
    images = keras.Input((8, 7, 2))
    x = keras_coda.AddInverse()(keras.layers.Rescaling(1 / 255)(images))
    x = DAUConv2D(3, 3, 2, name="second")(DAUConv2D(4, 3, 2)(x))
    return ExplainableClassifier(images, keras_coda.GlobalSumPooling2D()(x), **options)


def parameters(function):
    return list(inspect.signature(function).parameters.values())


def test_fit_has_the_arguments_of_keras_in_its_order():
    assert [(each.name, each.default, each.kind) for each in parameters(CoDANet.fit)] == [
        (each.name, each.default, each.kind) for each in parameters(keras.Model.fit)
    ]
    model, images, labels = small(), pixels(12), np.arange(12) % 3
    history = model.fit(images, labels, 4, 2, 0)
    assert history.epoch == [0, 1]
    assert int(model.optimizer.iterations) == 2 * 3


def test_every_argument_is_visible_to_an_editor():
    methods = ("compile", "fit", "explain", "explain_batches", "export")
    for method in methods:
        kinds = {parameter.kind for parameter in parameters(getattr(CoDANet, method))}
        assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}, method
    names = [parameter.name for parameter in parameters(CoDANet.explain)]
    assert names[1:] == [parameter.name for parameter in parameters(keras_coda.explain)][1:]
    assert {parameter.name for parameter in parameters(CoDANet.explain_batches)} >= set(names[2:])
    compiled = {parameter.name for parameter in parameters(keras.Model.compile)}
    assert {parameter.name for parameter in parameters(CoDANet.compile)} == compiled | {"penalties", "multi_label"}


def test_batches_are_explained_with_the_arguments_of_explain():
    model, images = small(class_names="abc"), pixels(5)
    options = {"wrt": "dau_1", "linear_map": True, "jit_compile": False}
    whole = model.explain(images, top_k=2, batch_size=3, **options)
    parts = list(model.explain_batches([images[:3], images[3:]], top_k=2, verbose=False, **options))
    assert [len(part) for part in parts] == [3, 2]
    for name in ("contributions", "linear_map"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(joined, getattr(whole, name), atol=1e-5)
    assert {part.class_names for part in parts} == {("a", "b", "c")}
    assert next(model.explain_batches([images], 1, class_names="xyz", verbose=False)).class_names == ("x", "y", "z")
    assert next(model.explain_batches([images], 1, verbose=False)).classes.tolist() == [[1]] * 5


@pytest.mark.slow
def test_any_explainable_graph_is_trained_explained_and_exported(tmp_path):
    model = graph(class_names="abc")
    images, labels = pixels(12), np.arange(12) % 3
    model.compile(keras.optimizers.Adam(0.02))
    losses = model.fit(images, labels, epochs=10, batch_size=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    explanation = model.explain(images, top_k=3)
    assert_complete(explanation)
    assert (model.num_classes, explanation.class_names, explanation.bias) == (3, ("a", "b", "c"), 0.0)
    assert model.explain(images, wrt="second").contributions.shape == (12, 1, 8, 7)
    model.export(tmp_path / "1", warmup=False)
    assert keras_coda.exporters.compare_saved_model(model, tmp_path / "1", images.astype("float32")) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("penalty", ["linear_map", "map_consistency"])
def test_any_graph_that_ends_in_a_logit_scaling_is_trained_with_a_penalty(penalty):
    plain = graph()
    model = ExplainableClassifier(plain.inputs[0], keras_coda.LogitScaling(2.0)(plain.outputs[0]))
    model.compile(penalties={penalty: 0.1})
    history = model.fit(pixels(4), np.array([0, 1, 2, 0]), verbose=0).history
    assert np.isfinite([values[0] for values in history.values()]).all()
    assert len(history) == 3


def test_the_penalty_of_linear_maps_names_the_layer_that_it_needs():
    model = graph()
    model.compile(penalties={"linear_map": 0.1}, run_eagerly=True)
    with pytest.raises(ValueError, match="last layer is a LogitScaling. Received: last_layer='GlobalSumPooling2D'"):
        model.train_on_batch(pixels(3), np.array([0, 1, 2]))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("is_trained", [False, True])
def test_a_saved_network_loads_without_a_warning(is_trained, tmp_path):
    model, images, labels = small(), pixels(6), np.arange(6) % 3
    if is_trained:
        model.fit(images, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.built == is_trained
    assert int(loaded.optimizer.iterations) == is_trained
    losses = [each.fit(images, labels, epochs=2, shuffle=False, verbose=0).history["loss"] for each in (model, loaded)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_preset_says_of_which_class_it_is(tmp_path):
    @keras.saving.register_keras_serializable("test")
    class Other(CoDANet):
        pass

    assert type(ExplainableClassifier.from_preset("coda_digits", load_weights=False)) is CoDANet
    assert type(Other.from_preset("coda_digits")) is Other
    model = Other(3, input_shape=(8, 7, 2), filters=(4, 3), ranks=2)
    model.save_to_preset(tmp_path / "net")
    assert json.loads((tmp_path / "net" / "config.json").read_text())["class"] == "test>Other"
    for wanted in (ExplainableClassifier, CoDANet, Other):
        loaded = wanted.from_preset(tmp_path / "net")
        assert type(loaded) is Other
        np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def test_a_preset_of_another_class_is_refused(tmp_path):
    class Other(ExplainableClassifier):
        pass

    with pytest.raises(ValueError, match="must hold a Other. Received: .*CoDANet'. Use CoDANet.from_preset"):
        Other.from_preset("coda_digits")
    small().save_to_preset(tmp_path / "net")
    config = tmp_path / "net" / "config.json"
    config.write_text(config.read_text().replace("keras_coda>CoDANet", "elsewhere>Network"))
    with pytest.raises(ValueError, match="must be registered with Keras. Received: class_name='elsewhere>Network'"):
        CoDANet.from_preset(tmp_path / "net")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "onnx", "warmup": True}, "`warmup` is for the format \"tf_saved_model\". Received: format='onnx'"),
        ({"classes": True}, "`classes` is for ONNX.* Received: classes=True"),
    ],
)
def test_arguments_of_another_export_format_are_refused(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        small().export(tmp_path / "a", **arguments)
    assert list(tmp_path.iterdir()) == []
