"""Claims about `ExplainableClassifier` of a graph of layers: files, presets, other sizes, training and metrics."""

import json

import keras
import numpy as np
import pytest

import keras_coda
from keras_coda import BcosResNet
from keras_coda.evaluation import localization, pixel_removal
from keras_coda.models import ExplainableClassifier, NewLayersWarning, UnreadableFileError, graph_changes
from keras_coda.models.files import load_keras_file
from tests.helpers import quarters
from tests.helpers.networks import assert_complete, branched, pixels

SHAPE = (8, 6, 3)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    network = branched(class_names="abc")
    network.training_figures = {"epochs": 2}
    return network


@pytest.fixture(scope="module")
def preset(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "graph"
    model.save_to_preset(folder)
    return folder


def assert_same(model, other, **options):
    images = pixels(2, SHAPE)
    assert type(other) is ExplainableClassifier
    assert other.class_names == model.class_names
    found, expected = (each.explain(images, **options, jit_compile=False) for each in (other, model))
    np.testing.assert_array_equal(found.contributions, expected.contributions)


def test_a_keras_file_keeps_everything(model, tmp_path):
    model.save(tmp_path / "graph.keras")
    for load in (keras.saving.load_model, load_keras_file):
        assert_same(model, load(tmp_path / "graph.keras"))


def test_a_preset_keeps_everything(model, preset):
    loaded = ExplainableClassifier.from_preset(preset)
    assert_same(model, loaded)
    assert loaded.trainable
    assert loaded.training_figures == {"epochs": 2}
    renamed = ExplainableClassifier.from_preset(preset, class_names="xyz")
    assert (renamed.class_names, renamed.new_layers) == (tuple("xyz"), ())


def test_a_preset_is_built_with_other_classes_another_dtype_and_size(model, preset):
    last = next(layer for layer in reversed(model.layers) if layer.weights)
    options = {"num_classes": 4, "input_shape": (9, 8, 3), "frozen": ("grouped",)}
    with pytest.warns(NewLayersWarning, match=f"The weights of {last.name} do not fit and are new"):
        other = ExplainableClassifier.from_preset(preset, **options)
    assert (other.num_classes, other.class_names, other.new_layers) == (4, None, (last.name,))
    np.testing.assert_array_equal(other.get_layer("grouped").get_weights(), model.get_layer("grouped").get_weights())
    assert [layer.name for layer in other.layers if layer.weights and not layer.trainable] == ["grouped"]
    assert_complete(other.explain(pixels(2, (9, 8, 3)), top_k=4, jit_compile=False))

    half = ExplainableClassifier.from_preset(preset, dtype="mixed_bfloat16", num_classes=3)
    assert (half.dtype_policy.name, half.new_layers, half.class_names) == ("mixed_bfloat16", (), tuple("abc"))
    layers = [*half.layers, *half.get_layer("nested").layers]
    assert {each.compute_dtype for each in layers if each.weights and each.name != "nested"} == {"bfloat16"}
    assert half.layers[1].compute_dtype == half.layers[-1].compute_dtype == "float32"
    assert {weight.dtype for weight in half.weights} == {"float32"}
    images = pixels(2, SHAPE)
    found, expected = (each.explain(images, 1, jit_compile=False).contributions for each in (half, model))
    np.testing.assert_allclose(found, expected, atol=1e-6)  # explanations are float32
    assert ExplainableClassifier.from_preset(preset, dtype="float32").dtype_policy.name == "float32"


def two_heads():
    images = keras.Input(SHAPE)
    x = keras_coda.AddInverse()(images)
    heads = [keras_coda.LinearConv2D(count, 1, name=f"head_{count}")(x) for count in (1, 2)]
    x = keras_coda.GlobalAveragePooling2D()(keras.layers.Concatenate(name="both")(heads))
    return ExplainableClassifier(images, x)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"temperature": 5},
            r"Of a graph only .*`num_classes`.* Received: overrides=\['temperature'\]. Build the graph",
        ),
        ({"input_shape": (8, 6, 1)}, r"keeps the channels.* Received: input_shape=\(8, 6, 1\), graph=\(8, 6, 3\)"),
        ({"frozen": ["gruped"]}, r"`frozen` must name layers of the graph.* Received: frozen=\['gruped'\]"),
        ({"num_classes": 1}, "`num_classes` must be at least 2"),
        ({"dtype": "float16"}, "float16"),
    ],
)
def test_changes_of_a_graph_that_are_not_defined_are_refused(preset, changes, message):
    with pytest.raises(ValueError, match=message):
        ExplainableClassifier.from_preset(preset, **changes)


def test_only_layers_that_make_class_maps_get_another_number_of_classes(model):
    config = two_heads().get_config()
    with pytest.raises(ValueError, match="whose maps are only pooled, .*Received: layer='both', type='Concatenate'"):
        graph_changes.changed(config, {"num_classes": 4})
    features = keras.Input(SHAPE)
    first = keras_coda.LinearConv2D(3, 1, name="first")(keras_coda.AddInverse()(features))
    joined = keras.layers.Add()([first, keras_coda.LinearConv2D(3, 1, name="second")(first)])
    config = ExplainableClassifier(features, keras_coda.GlobalSumPooling2D()(joined)).get_config()
    with pytest.raises(ValueError, match="Received: layer='first', goes_to='second'"):
        graph_changes.changed(config, {"num_classes": 4})


def test_half_of_the_file_rounds_the_weights(model, tmp_path):
    model.save_to_preset(tmp_path / "half", weights_dtype="float16")
    loaded = ExplainableClassifier.from_preset(tmp_path / "half")
    for found, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def objects(config, name):
    """Return the serialized layers of a class, nested ones included."""
    text = json.dumps(config)
    assert f'"class_name": "{name}"' in text
    found, waiting = [], [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict) and value.get("class_name") == name:
            found.append(value)
        if isinstance(value, (dict, list)):
            waiting += value.values() if isinstance(value, dict) else value
    return found


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "BcosConv2D",
            {"config": {"filters": 4, "kernel_size": 99_999, "strides": 2}},
            r"weights of shape \(99999, 99999, ",
        ),
        ("DAUConv2D", {"config": {"filters": 4, "kernel_size": 3, "rank": 10**9}}, r"weights of shape \("),
        ("DAUConv2D", {"config": {"filters": 10**12, "kernel_size": 3, "rank": 2}}, "."),
        (
            "Rescaling",
            {"module": "os", "class_name": "system", "registered_name": None},
            "must consist of layers of Ke",
        ),
        ("Rescaling", {"module": "elsewhere", "registered_name": "else>where"}, "must consist of layers of Keras"),
        ("Rescaling", {"class_name": "Lambda", "config": {"function": "x"}}, "must not run code"),
        ("Rescaling", {"class_name": "TFSMLayer", "config": {"filepath": "x"}}, "must not run code"),
        ("Rescaling", {"class_name": "Dense", "config": {"units": 10**9}}, "."),
        ("Rescaling", {"config": {"scale": "x"}}, "."),
        ("Rescaling", {"inbound_nodes": []}, "."),
    ],
)
def test_hostile_configurations_are_refused_before_anything_is_built(preset, tmp_path, name, changes, message):
    contents = json.loads((preset / "config.json").read_text())
    objects(contents, name)[0].update(changes)
    (tmp_path / "config.json").write_text(json.dumps(contents))
    (tmp_path / "model.weights.h5").write_bytes((preset / "model.weights.h5").read_bytes())
    with pytest.raises(UnreadableFileError, match=message):
        ExplainableClassifier.from_preset(tmp_path)


def test_variables_of_a_check_are_never_given_values(model, preset, monkeypatch):
    config = json.loads((preset / "config.json").read_text())["config"]
    monkeypatch.setattr(keras.initializers.RandomUniform, "__call__", None)
    shapes = ExplainableClassifier.weight_shapes(config)
    assert sorted(shapes) == sorted(weight.shape for weight in model.get_weights())
    with keras.StatelessScope():  # at its end Keras would give them values
        pass


def test_a_graph_takes_images_of_another_size(model):
    larger = model.with_input_shape((None, None, 3))
    assert larger is model.with_input_shape((None, None, 3))
    assert_same(model, larger)
    assert_complete(larger.explain(pixels(2, (14, 9, 3))))


def test_a_graph_of_one_size_is_refused():
    images = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(keras_coda.AddInverse()(keras.layers.Rescaling(1 / 255)(images)))
    model = ExplainableClassifier(images, keras_coda.DAUDense(3, 2, name="own")(x))
    with pytest.raises(
        ValueError, match=r"images of another size. Received: input_shape=\(8, 8, 1\) \(.*Begin it with"
    ):
        model.with_input_shape((8, 8, 1))


# === Residual networks of B-cos transforms ===


def residual(**options):
    arguments = {"blocks": (1,), "bottleneck": False, "filters": 8, "stem": "small", "temperature": 0.2}
    return BcosResNet(4, **{"input_shape": (4, 4, 1), **arguments, **options})


@pytest.mark.slow
def test_residual_networks_are_trained_with_a_penalty_and_measured(request):
    data = quarters.make_data()
    model = residual()
    model.compile(keras.optimizers.Adam(0.02), penalties={"linear_map": 0.1})
    history = model.fit(data.train, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    request.getfixturevalue("eagerly")  # of the training steps there are so many that tracing them pays
    found = localization(model, data.validation, **quarters.FAST, confidence=0, verbose=False)
    assert found.values.mean() > 0.3  # by chance 0.25
    assert np.isfinite(pixel_removal(model, data.validation, n_images=8, points=4, verbose=False).curve).all()


@pytest.mark.usefixtures("eagerly")
def test_residual_networks_are_trained_to_have_consistent_maps():
    model = residual()
    model.compile(penalties={"map_consistency": 0.1})
    assert np.isfinite(model.train_on_batch(pixels(2, (4, 4, 1)), np.array([0, 3]))).all()
