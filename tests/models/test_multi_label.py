"""Claims about networks whose images may have any number of labels: training, metrics, guards and files."""

import json

import keras
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import keras_coda
from keras_coda.models import (
    Conventions,
    InvalidLabelsError,
    NewLayersWarning,
    UnreadableFileError,
    multi_label_metrics,
)
from keras_coda.models.files import load_network
from keras_coda.utils.labels import check_multi_hot
from tests.helpers.networks import pixels, small

LABELS = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 1, 1]])
WRONG = {
    "class indices": np.array([0, 2, 1, 1]),
    "column": np.array([[0], [2], [1], [1]]),
    "soft": LABELS / 2,
    "counts": LABELS * 2,
    "NaN": np.where(LABELS == 1, np.nan, LABELS),
    "other columns": np.ones((4, 4)),
    "text": LABELS.astype(str),
}


def multi_label(**arguments):
    model = small(**arguments)
    model.compile(multi_label=True)
    return model


@pytest.fixture(scope="module")
def trained():
    model = multi_label()
    history = model.fit(pixels(4), LABELS, validation_data=[pixels(4), LABELS], epochs=2, verbose=0).history
    return model, history


def test_training_logs_loss_and_the_three_metrics(trained):
    _, history = trained
    names = {"loss", "binary_accuracy", "auroc", "mean_average_precision"}
    assert set(history) == names | {f"val_{name}" for name in names}


@pytest.mark.any_backend
def test_metrics_are_those_of_the_logits():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 2, (400, 3)), rng.normal(0, 2, (400, 3)).astype("float32")
    found = {}
    for metric in multi_label_metrics(3):
        metric = type(metric).from_config(metric.get_config())
        for part in (slice(0, 250), slice(250, 400)):
            metric.update_state(labels[part], logits[part])
        found[metric.name] = float(metric.result())
    assert found["binary_accuracy"] == pytest.approx(((logits > 0) == labels).mean())
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, logits), abs=2e-3)
    assert found["mean_average_precision"] == pytest.approx(average_precision_score(labels, logits), abs=5e-3)


@pytest.mark.any_backend
@pytest.mark.parametrize("dtype", [bool, "uint8", "int64", "float32"])
def test_labels_of_0_and_1_are_taken_in_every_dtype(dtype):
    np.testing.assert_array_equal(check_multi_hot(LABELS.astype(dtype), 3), LABELS == 1)


@pytest.mark.any_backend
@pytest.mark.parametrize("kind", WRONG)
def test_other_labels_are_refused(kind):
    with pytest.raises(InvalidLabelsError, match="Received: "):
        check_multi_hot(WRONG[kind], 3)


@pytest.mark.parametrize("kind", ["class indices", "soft", "other columns"])
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
def test_training_and_evaluation_refuse_other_labels(kind):
    model = multi_label()
    model.compile(run_eagerly=True)  # there is no step to compile
    assert model.multi_label
    for method in (model.fit, model.evaluate):
        with pytest.raises(InvalidLabelsError, match=r"must be \(batch, 3\): 0 or 1 for each class. Received: "):
            method(pixels(4), WRONG[kind], verbose=0)
        with pytest.raises(InvalidLabelsError, match="Received: "):
            method((pair for pair in [(pixels(4), WRONG[kind])]), verbose=0)


def test_files_and_copies_keep_labels_thresholds_and_window(trained, tmp_path):
    model, _ = trained
    conventions = Conventions(True, (0.25, 0.5, 0.125), (100, 4095))
    model.conventions = conventions
    model.save(tmp_path / "a.keras")
    model.save_to_preset(tmp_path / "preset")
    loaded = [keras.models.load_model(tmp_path / "a.keras"), load_network(tmp_path / "a.keras")]
    loaded += [load_network(tmp_path / "preset"), model.with_input_shape((None, None, 2))]
    loaded += [keras.models.load_model(tmp_path / "a.keras", compile=False)]
    for each in loaded:
        assert each.conventions == conventions
    assert [metric.name for metric in loaded[2].metrics] == [metric.name for metric in model.metrics]
    with pytest.warns(NewLayersWarning):
        other = keras_coda.CoDANet.from_preset(tmp_path / "preset", num_classes=4)
    assert (other.multi_label, other.thresholds, other.window) == (True, None, (100, 4095))


def test_networks_with_one_label_are_stored_as_before(tmp_path):
    model = small()
    model.save_to_preset(tmp_path / "preset")
    assert set(json.loads((tmp_path / "preset" / "config.json").read_text())) == {
        "class", "config", "pixels", "weights_sha256", "training_figures"
    }  # fmt: skip
    assert set(model.get_compile_config()["optimizer"]["keras_coda"]) == {"penalties", "optimizer_is_built"}


@pytest.mark.parametrize(
    "changed",
    [{"multi_label": "yes"}, {"thresholds": [0.5, 0.5]}, {"thresholds": [0.5, 0.5, 0]}, {"thresholds": 0.5},
     {"thresholds": ["a", "b", "c"]}, {"thresholds": {"a": 1}}, {"window": [5, 5]}, {"window": [0, "x"]},
     {"window": [0, 70000]}, {"preparation": {"resize": 7, "crop": 8}}, {"preparation": [9, 8]},
     {"preparation": {"crop": 8}}, {"preparation": {"resize": 9, "crop": "8"}},
     {"multi_label": False, "thresholds": [0.5, 0.5, 0.5]}],
)  # fmt: skip
def test_damaged_conventions_of_a_preset_are_named(trained, changed, tmp_path):
    trained[0].save_to_preset(tmp_path / "preset")
    file = tmp_path / "preset" / "config.json"
    contents = {**json.loads(file.read_text()), **changed}
    file.write_text(json.dumps(contents))
    with pytest.raises(UnreadableFileError, match="as `save_to_preset` wrote them. Received: "):
        load_network(tmp_path / "preset")


def test_thresholds_and_window_are_checked_when_they_are_set():
    model = small()
    with pytest.raises(ValueError, match=r"Received: multi_label=False. compile\(multi_label=True\)"):
        model.thresholds = (0.5, 0.5, 0.5)
    model.compile(multi_label=True)
    with pytest.raises(ValueError, match="one threshold for each class. Received: thresholds=2, classes=3"):
        model.thresholds = (0.5, 0.5)
    with pytest.raises(ValueError, match="`window` must be .* Received: window="):
        model.window = (4000, 100)
    model.thresholds, model.window = np.array([0.5, 0.25, 0.75]), (100, 4000)
    model.compile(multi_label=False)
    assert model.conventions == Conventions(window=(100, 4000))
