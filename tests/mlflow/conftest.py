"""A network logged to MLflow once for all tests of this folder, in a scratch store."""

from types import SimpleNamespace

import pytest

from keras_coda.mlflow import log_model
from tests.helpers.networks import pixels, small


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Send everything to a scratch folder, and nothing to anybody: MLflow counts its users unless told."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("DO_NOT_TRACK", "true")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'runs.db'}")
        mlflow = pytest.importorskip("mlflow")
        # Such a store keeps artifacts in the working folder unless told; changing it would reach all other tests.
        mlflow.create_experiment("tests", artifact_location=(folder / "artifacts").as_uri())
        mlflow.set_experiment("tests")
        yield SimpleNamespace(folder=folder, mlflow=mlflow)


@pytest.fixture(scope="session")
def logged(store):
    model = small(class_names=("cat", "dog", "öl"))
    model.training_figures = {"validation_accuracy": 0.75, "data": "photos", "epochs": 3}
    with store.mlflow.start_run() as run:
        info = log_model(
            model, "photos", top_k=2, images=pixels(5), metrics={"accuracy": 0.5}, registered_model_name="photos"
        )
    return SimpleNamespace(model=model, info=info, run=run.info.run_id)


@pytest.fixture(scope="session")
def loaded(store, logged):
    return store.mlflow.pyfunc.load_model(logged.info.model_uri)
