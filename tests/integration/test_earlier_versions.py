"""Files that earlier versions wrote are still read, and give the same maps."""

from pathlib import Path

import keras
import numpy as np
import pytest

import keras_coda
from tests.helpers import golden_exports

FOLDER = Path(__file__).parents[1] / "golden" / "written_by_0_1_0"


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as file:
        return dict(file)


def assert_same(explanation, expected):
    np.testing.assert_array_equal(explanation.classes, expected["classes"])
    for name in ("logits", "contributions", "linear_map"):
        if name in expected:
            scale = np.abs(expected[name]).max()
            np.testing.assert_allclose(getattr(explanation, name), expected[name], atol=1e-5 * scale, err_msg=name)
    assert explanation.residual.max() < 1e-4


@pytest.mark.slow
def test_a_keras_file_loads_with_its_maps_and_its_training(expected):
    model = keras.models.load_model(FOLDER / "model.keras")
    assert isinstance(model, keras_coda.CoDANet)
    assert model.class_names == ("a", "b", "c")
    assert_same(model.explain(expected["images"], top_k=3, linear_map=True), expected)
    before = int(model.optimizer.iterations)
    history = model.fit(expected["images"], np.array([0, 1, 2, 0]), epochs=1, verbose=0).history
    assert int(model.optimizer.iterations) == before + 1 == 2
    assert np.isfinite(history["linear_map"]).all()  # the penalty that it was compiled with


def test_a_preset_folder_loads_with_its_maps(expected):
    model = keras_coda.CoDANet.from_preset(FOLDER / "preset")
    assert model.training_figures == {"validation_accuracy": 0.5}
    assert_same(model.explain(expected["images"], top_k=3, linear_map=True), expected)


@pytest.mark.slow
def test_a_saved_model_agrees_with_the_network(expected):
    model = keras_coda.CoDANet.from_preset(FOLDER / "preset")
    images = expected["images"].astype("float32")
    assert keras_coda.exporters.compare_saved_model(model, FOLDER / "saved_model" / "1", images) < 1e-4


def test_a_chain_of_layers_loads_with_its_maps():
    with np.load(FOLDER / "expected_chain.npz") as file:
        expected = dict(file)
    model = keras.models.load_model(FOLDER / "chain.keras")
    assert_same(keras_coda.explain(model, expected["images"], top_k=3), expected)


def test_an_explanation_is_read(expected):
    explanation = keras_coda.Explanation.load(FOLDER / "explanation.npz")
    np.testing.assert_array_equal(explanation.contributions, expected["contributions"])
    assert explanation.class_names == ("a", "b", "c")


# === Networks in every format, as `tests.helpers.golden_exports` wrote them for a version ===

WRITTEN = sorted((Path(__file__).parents[1] / "golden").glob("written_by_*/model.onnx"))


def served(path, images):
    """Return the maps of an exported network, run without this package's classes."""
    if path.suffix == ".onnx":
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {"images": images}), strict=True))
    if path.suffix == ".tflite":
        reader = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_path=str(path))
        return reader.get_signature_runner("contributions")(images=images)
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return {name: each.numpy() for name, each in loaded.signatures["contributions"](images=tf.constant(images)).items()}


@pytest.mark.slow
@pytest.mark.parametrize("folder", [path.parent for path in WRITTEN], ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", ["saved_model/1", "model.onnx", "model.tflite"])
def test_exports_give_the_maps_that_they_gave(folder, name):
    with np.load(folder / "expected.npz") as file:
        expected = dict(file)
    found = served(folder / name, expected["images"].astype("float32"))
    np.testing.assert_array_equal(found["classes"], expected["classes"])
    for key in ("logits", "contributions"):
        scale = np.abs(expected[key]).max()
        np.testing.assert_allclose(found[key], expected[key], atol=1e-5 * scale, err_msg=key)
    total = found["contributions"].sum((2, 3)) + expected["bias"]
    np.testing.assert_allclose(total, np.take_along_axis(found["logits"], found["classes"], 1), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("folder", [path.parent for path in WRITTEN], ids=lambda folder: folder.name)
@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("model.keras", "expected"),
        ("preset", "expected"),
        ("branched.keras", "expected_branched"),
        ("branched_preset", "expected_branched"),
    ],
)
def test_networks_give_the_maps_that_they_gave(folder, name, arrays):
    with np.load(folder / f"{arrays}.npz") as file:
        expected = dict(file)
    if name.endswith(".keras"):
        model = keras.models.load_model(folder / name)
    else:
        model = keras_coda.ExplainableClassifier.from_preset(folder / name)
    assert_same(keras_coda.explain(model, expected["images"], top_k=golden_exports.TOP_K), expected)
