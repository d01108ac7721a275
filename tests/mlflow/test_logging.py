"""A logged network predicts and explains as the network itself, wherever MLflow loads it."""

import sys

import numpy as np
import pytest

from keras_coda.mlflow import load_model, log_model, save_model
from tests.helpers.networks import assert_complete, pixels, small, two_layers

pytestmark = pytest.mark.slow

IMAGES = pixels(3, seed=1).astype("float32")


def assert_same(answer, explanation):
    """Check that an answer is the explanation, and complete."""
    np.testing.assert_array_equal(answer["classes"], explanation.classes)
    for name in ("logits", "probabilities", "contributions"):
        np.testing.assert_allclose(answer[name], getattr(explanation, name), atol=1e-5, err_msg=name)
    total = np.sum(answer["contributions"], axis=(2, 3)) + np.asarray(answer["bias"])[:, None]
    np.testing.assert_allclose(total, explanation.explained_logits, atol=1e-5)


@pytest.mark.parametrize(
    ("params", "arguments"),
    [
        (None, {"top_k": 2}),
        ({"top": 1}, {}),
        ({"top": 3}, {"top_k": 3}),
        ({"classes": [2, 0, 1]}, {"classes": np.array([[2, 0, 1]] * 3)}),
        ({"classes": [1]}, {"classes": 1}),
    ],
)
def test_maps_are_those_of_the_network(logged, loaded, params, arguments):
    answer, explanation = loaded.predict(IMAGES, params=params), logged.model.explain(IMAGES, **arguments)
    assert_same(answer, explanation)
    names = np.array(logged.model.class_names)[explanation.classes]
    np.testing.assert_array_equal(answer["class_names"], names)


def test_maps_can_be_left_out_and_images_are_many(logged, loaded):
    many = pixels(70, seed=2).astype("float32")
    answer = loaded.predict(many, params={"maps": False})
    assert set(answer) == {"logits", "probabilities"}
    np.testing.assert_allclose(answer["logits"], logged.model.predict(many, verbose=0), atol=1e-5)


def test_the_model_is_loaded_without_this_package(store, logged, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_coda", None)  # importing it is an error
    answer = store.mlflow.pyfunc.load_model(logged.info.model_uri).predict(IMAGES)
    assert answer["contributions"].shape == (3, 2, 8, 7)
    monkeypatch.undo()
    requirements = store.mlflow.pyfunc.get_model_dependencies(logged.info.model_uri)
    with open(requirements) as file:
        assert [line.partition("==")[0] for line in file] == ["mlflow", "numpy", "tensorflow"]


def test_mlflow_knows_inputs_outputs_parameters_and_an_example(store, logged):
    signature = logged.info.signature
    assert [(tensor.shape, tensor.type.name) for tensor in signature.inputs.inputs] == [((-1, 8, 7, 2), "float32")]
    shapes = {tensor.name: tensor.shape for tensor in signature.outputs.inputs}
    assert shapes["contributions"] == (-1, -1, 8, 7)
    assert shapes["logits"] == (-1, 3)
    assert {param.name: param.default for param in signature.params.params} == {"maps": True, "classes": [], "top": 2}
    example = store.mlflow.models.Model.load(logged.info.model_uri).load_input_example(logged.info.model_uri)
    np.testing.assert_array_equal(example, pixels(5)[:4])


def test_the_run_has_card_picture_and_figures(store, logged):
    client = store.mlflow.MlflowClient()
    metrics = client.get_run(logged.run).data.metrics
    assert metrics.pop("largest_residual") < 1e-4
    assert metrics == {"validation_accuracy": 0.75, "epochs": 3.0, "accuracy": 0.5}
    assert client.get_logged_model(logged.info.model_id).metrics
    assert {"photos/card.md", "photos/maps.png"} <= {item.path for item in client.list_artifacts(logged.run, "photos")}
    card = store.mlflow.artifacts.load_text(f"runs:/{logged.run}/photos/card.md")
    assert "Classes: cat, dog, öl." in card
    assert "| validation_accuracy | 0.75" in card


def test_the_network_itself_is_loaded_from_the_registry(logged):
    model = load_model("models:/photos/1")
    explanation = model.explain(IMAGES, top_k=2)
    np.testing.assert_allclose(
        explanation.contributions, logged.model.explain(IMAGES, top_k=2).contributions, atol=1e-6
    )
    assert_complete(explanation)
    assert model.training_figures["data"] == "photos"


def test_a_folder_is_a_model_too_of_images_of_any_size(store, tmp_path):
    model = two_layers()
    card = tmp_path / "README.md"
    card.write_text("# Mine\n")
    save_model(model, tmp_path / "saved", card=card)
    images = pixels(2, (9, 12, 1)).astype("float32")
    assert_same(store.mlflow.pyfunc.load_model(str(tmp_path / "saved")).predict(images), model.explain(images))
    assert (tmp_path / "saved" / "artifacts" / "card.md").read_text() == "# Mine\n"
    with pytest.raises(FileExistsError, match="must not exist yet"):
        save_model(model, tmp_path / "saved")


@pytest.mark.parametrize(
    ("images", "params", "message"),
    [
        (IMAGES + 200, None, r"pixels in \[0, 255\]. Received: least="),
        (IMAGES * np.nan, None, r"Images must be finite"),
        (IMAGES[:0], None, "Images must have shape"),
        (IMAGES, {"classes": [3]}, r"`classes` must be in \[0, 3\). Received: classes=\[3\]"),
        (IMAGES, {"top": 4}, r"`top` must be in \[1, 3\]. Received: top=4"),
        (IMAGES[:, :, :, :1], None, "does not match expected shape"),
        (IMAGES.astype("uint8"), None, "dtype of input uint8 does not match expected dtype float32"),
    ],
)
def test_bad_input_is_an_error_of_mlflow(store, loaded, images, params, message):
    with pytest.raises(store.mlflow.MlflowException, match=message):
        loaded.predict(images, params=params)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": 9}, "`top_k` must not exceed"),
        ({"images": pixels(2, (8, 9, 2))}, "Images must have"),
        ({"image_size": 9}, "`image_size` must be the network's"),
    ],
)
def test_wrong_arguments_leave_no_run(store, arguments, message):
    before = len(store.mlflow.search_runs())
    with pytest.raises(ValueError, match=message):
        log_model(small(), **arguments)
    assert store.mlflow.active_run() is None
    assert len(store.mlflow.search_runs()) == before


def test_models_of_others_are_refused(store, tmp_path):
    with pytest.raises(ValueError, match="one that keras_coda.mlflow wrote. Received: model_uri="):
        load_model(str(tmp_path))
