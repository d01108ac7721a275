import json
import warnings

import keras
import numpy as np
import pytest

from keras_coda import CoDANet, ExplainableClassifier, evaluation
from keras_coda.data.images import png
from keras_coda.evaluation.calibration import fit_calibration, halves
from keras_coda.explanations import Calibration
from keras_coda.explanations.explanation import sigmoid
from keras_coda.exporters import lint_saved_model
from keras_coda.exporters.signatures import Signatures
from keras_coda.serving.requests import predict_request
from keras_coda.serving.responses import read_prediction
from tests.helpers.commands import run
from tests.helpers.networks import pixels, small

SLOPES, INTERCEPTS = np.array([0.5, 2.0, 0.1]), np.array([-1.0, 0.5, 0.0])


def drawn(count=20000):
    """Logits, and labels that their calibrated probabilities say."""
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(count, 3)).astype("float32") * [2, 1, 20]
    return draw.random((count, 3)) < sigmoid(logits * SLOPES + INTERCEPTS), logits


def test_the_fit_finds_the_probabilities_that_labels_were_drawn_with():
    labels, logits = drawn()
    found = fit_calibration(labels, logits)
    np.testing.assert_allclose(found.slopes, SLOPES, rtol=0.06)
    np.testing.assert_allclose(found.intercepts, INTERCEPTS, atol=0.06)


def test_calibration_lowers_the_error_of_images_that_it_was_not_fitted_to():
    labels, logits = drawn()
    before, after = halves(labels, logits)
    assert len(before.confidences) == 10000
    assert after.class_error < 0.02 < 0.1 < before.class_error
    assert after.error < before.error
    np.testing.assert_array_equal(after.is_right, before.is_right)  # decisions stay those of the logits


def test_the_error_is_that_of_a_slow_loop_and_of_known_extremes():
    draw = np.random.default_rng(1)
    shares, right = draw.random(500), draw.random(500) < 0.3
    expected = 0.0
    for low in range(15):
        inside = (shares >= low / 15) & (shares < (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - shares[inside].mean())
    assert evaluation.calibration_error(shares, right) == pytest.approx(expected)
    assert evaluation.calibration_error(np.ones(3), np.ones(3, bool)) == 0
    assert evaluation.calibration_error(np.ones(3), np.zeros(3, bool)) == 1


def test_reliability_knows_one_and_several_labels():
    shares = np.array([[0.9, 0.2], [0.4, 0.3]])
    one = evaluation.Reliability.of(shares, np.array([0, 1]))
    assert (one.confidences.tolist(), one.is_right.tolist()) == ([0.9, 0.4], [True, False])
    several = evaluation.Reliability.of(shares, np.array([[1, 1], [1, 0]]))
    assert several.is_right.tolist() == [True, True]
    assert several.class_error == pytest.approx((np.mean([0.1, 0.6]) + np.mean([0.8, 0.3])) / 2)
    figure = one.plot()
    assert figure.axes[0].get_ylabel() == "share of right predictions"


def test_what_cannot_be_calibrated_is_refused():
    labels, logits = drawn(200)
    with pytest.raises(ValueError, match=r"images with it and images without it.*classes_without_both=\[1\]"):
        fit_calibration(labels & [True, False, True], logits)
    with pytest.raises(ValueError, match=r"larger logits of it than others.*classes=\[0\]"):
        fit_calibration(labels, logits * [-1, 1, 1])
    with pytest.raises(ValueError, match="`slopes` must be one finite number above 0"):
        Calibration((0.0,), (1.0,))
    with pytest.raises(ValueError, match="one slope of the calibration for each class.*slopes=2, classes=3"):
        small().calibration = Calibration((1, 1), (0, 0))


def test_separable_classes_and_fits_need_no_warning():
    logits = np.array([[-5.0, 5.0], [5.0, -5.0]] * 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_calibration(logits > 0, logits)
    assert np.isfinite(found.slopes).all()


@pytest.fixture
def calibrated():
    model = small(class_names=("a", "b", "c"))
    model.calibration = Calibration(tuple(SLOPES), tuple(INTERCEPTS))
    return model


def test_files_keep_the_calibration(calibrated, tmp_path):
    calibrated.save_to_preset(tmp_path / "preset")
    assert CoDANet.from_preset(tmp_path / "preset").calibration == calibrated.calibration
    assert CoDANet.from_preset(tmp_path / "preset", temperature=9.0).calibration is None
    calibrated.compile()
    calibrated.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").calibration == calibrated.calibration
    config = json.loads((tmp_path / "preset" / "config.json").read_text())
    assert config["calibration"] == {"slopes": SLOPES.tolist(), "intercepts": INTERCEPTS.tolist()}
    small().save_to_preset(tmp_path / "plain")
    assert "calibration" not in json.loads((tmp_path / "plain" / "config.json").read_text())


def test_training_removes_the_calibration(calibrated, eagerly):
    calibrated.compile()
    calibrated.fit(pixels(2), np.array([0, 1]), verbose=0)
    assert calibrated.calibration is None


def test_exported_networks_have_calibrated_probabilities_that_clients_read(calibrated):
    images = pixels(4).astype("float32")
    signatures = Signatures.of(calibrated)
    outputs = {name: np.asarray(value) for name, value in signatures.serving_default(images).items()}
    outputs["top_class_names"] = outputs["top_class_names"].astype(object)
    expected = calibrated.calibration(outputs["logits"])
    np.testing.assert_allclose(outputs["calibrated_probabilities"], expected, rtol=1e-5)
    np.testing.assert_allclose(outputs["probabilities"], sigmoid(outputs["logits"]), rtol=1e-5)
    prediction = read_prediction(predict_request(images), outputs)
    np.testing.assert_allclose(prediction.calibrated_probabilities, expected, rtol=1e-5)
    assert "calibrated_probabilities" in signatures.contributions(images)
    assert "calibrated_probabilities" not in Signatures.of(small()).contributions(images)


@pytest.mark.slow
def test_a_calibrated_saved_model_passes_the_check(tmp_path):
    import tensorflow as tf

    model = CoDANet(2, input_shape=(4, 4, 2), filters=(2,), ranks=1)
    model.calibration = Calibration((0.5, 2.0), (1.0, -1.0))
    model.export(tmp_path / "1", warmup=False)
    assert [finding for finding in lint_saved_model(tmp_path / "1") if finding.is_error] == []
    loaded = tf.saved_model.load(tmp_path / "1")
    served = loaded.signatures["contributions"](images=pixels(3, (4, 4, 2)).astype("float32"))
    expected = model.calibration(served["logits"].numpy())
    np.testing.assert_allclose(served["calibrated_probabilities"], expected, rtol=1e-5)


@pytest.mark.slow
def test_the_command_writes_a_calibrated_preset(tmp_path, capsys):
    model = CoDANet(2, input_shape=(8, 7, 1), filters=(2,), ranks=2, class_names=("cat", "dog"))
    model.compile(multi_label=True)
    model.save_to_preset(tmp_path / "model")
    images = pixels(40, (8, 7, 1))
    logits = model.predict_on_batch(images)
    labels = (logits > np.median(logits, axis=0)) ^ (np.arange(40) % 8 == 0)[:, None]
    lines = [f"{index}.png,{int(dog)},{int(cat)}" for index, (cat, dog) in enumerate(labels)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,dog,cat", *lines]))
    for index, image in enumerate(images):
        (tmp_path / f"{index}.png").write_bytes(png(image))
    source = ["--model", tmp_path / "model", "--data", tmp_path / "labels.csv"]
    assert run("calibrate", *source, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "fitted to all 40 images. The figures above are of 20" in shown
    expected = fit_calibration(labels, logits)
    found = ExplainableClassifier.from_preset(tmp_path / "out").calibration
    np.testing.assert_allclose(found.slopes, expected.slopes, rtol=1e-3)
    np.testing.assert_allclose(found.intercepts, expected.intercepts, rtol=1e-3)
    assert run("calibrate", *source, "--out", tmp_path / "out") == 1
    assert "must not exist yet" in capsys.readouterr().err
