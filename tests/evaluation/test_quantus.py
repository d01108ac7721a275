import sys

import keras
import numpy as np
import pytest

from keras_coda import CoDANet, evaluation, posthoc
from keras_coda.evaluation.quantus import _Rounded
from tests.helpers.known_models import raster


@pytest.fixture
def batch(digits):
    """A trained network, and eight digits with their classes."""
    model, data = digits
    images, labels = next(iter(data.take(1).as_numpy_iterator()))
    return model, images[:8], labels[:8].astype("int32")


def small_network(**options):
    return CoDANet(2, input_shape=(None, None, 1), filters=(3, 2), ranks=2, temperature=1.0, **options)


def own(logits, classes):
    return logits[np.arange(len(classes)), classes]


def test_the_network_of_encoded_images_gives_the_logits_and_the_maps_of_the_model(batch, eagerly):
    model, images, labels = batch
    network, x_batch = evaluation.quantus_inputs(model, images)
    logits = network.predict(x_batch)
    np.testing.assert_allclose(x_batch, np.stack([images[..., 0] / 255, 1 - images[..., 0] / 255], 1), atol=1e-6)
    np.testing.assert_allclose(logits, model.predict(images, verbose=0), rtol=1e-4, atol=1e-5)
    explanation = model.explain(images, labels)
    attributions = evaluation.quantus_explainer()(network, x_batch, labels)
    assert attributions.shape == x_batch.shape
    np.testing.assert_allclose(attributions.sum(axis=1), explanation.contributions[:, 0], rtol=1e-4, atol=1e-5)
    # Complete: an image of zeros has the bias as all its logits.
    nothing = network.predict(np.zeros_like(x_batch))
    np.testing.assert_allclose(nothing, model.logit_bias, rtol=1e-6)
    total = attributions.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(total, own(logits, labels) - own(nothing, labels), rtol=1e-4, atol=1e-4)


def test_maps_of_other_methods_are_those_of_the_model():
    model, images = small_network(), np.random.default_rng(0).integers(0, 256, (2, 6, 5, 1), "uint8")
    network, x_batch = evaluation.quantus_inputs(model, images)
    for name in ("GradCAM", "VanillaGradients"):
        explain_func = evaluation.quantus_explainer(name)
        assert explain_func.__name__ == name
        found = explain_func(model=network, inputs=x_batch, targets=np.array([1, 0]), method="ignored")
        assert found.shape == (2, 2, 6, 5)
        expected = posthoc.get(name)(model, images, np.array([1, 0]))
        np.testing.assert_allclose(found.sum(axis=1), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_networks_of_mixed_precision_are_scored_in_float32(eagerly):
    model = small_network(dtype="mixed_bfloat16")
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 5, 1), "uint8")
    network, x_batch = evaluation.quantus_inputs(model, images)
    np.testing.assert_allclose(network.predict(x_batch), model.explain(images).logits, rtol=1e-4, atol=1e-6)


def test_copies_have_the_weights_and_maps_follow_a_change_of_them(batch, eagerly):
    model, images, labels = batch
    network, x_batch = evaluation.quantus_inputs(model, images)
    explain_func, before = evaluation.quantus_explainer(), model.get_weights()
    copy = keras.models.clone_model(network)  # as Quantus does, before it randomizes layers
    np.testing.assert_array_equal(copy.predict(x_batch), network.predict(x_batch))
    maps = explain_func(copy, x_batch, labels)
    last = [layer for layer in copy.layers if layer.weights][-1]
    last.set_weights([2 * weight for weight in last.get_weights()])
    assert not np.allclose(explain_func(copy, x_batch, labels), maps)
    np.testing.assert_array_equal(explain_func(network, x_batch, labels), maps)
    for kept, weight in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, weight)


def test_sums_that_differ_by_rounding_are_equal():
    np.testing.assert_array_equal(np.array([1.0, 5.001, 1.1]) == _Rounded(np.array([1.0004, 5.0, 1.0])), [1, 1, 0])


def test_without_quantus_the_error_names_the_extra(batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "quantus", None)
    with pytest.raises(ImportError, match=r"Scoring maps by Quantus' metrics needs Quantus\. .*keras-coda\[quantus\]"):
        evaluation.quantus_scores(*batch)


# === With Quantus: `pip install "keras-coda[quantus]"` ===


def test_scores_at_known_extremes(batch):
    quantus = pytest.importorskip("quantus", reason="needs keras-coda[quantus]")
    metrics = evaluation.quantus_metrics(evaluation.quantus_inputs(*batch[:2])[0])
    chosen = {name: metrics[name] for name in ("PixelFlipping", "Sparseness", "Completeness", "FaithfulnessEstimate")}
    state = np.random.get_state()[1].copy()
    scores = evaluation.quantus_scores(*batch, [raster], metrics=chosen, verbose=False)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    exact, other = (dict(zip(scores.results, each, strict=True)) for each in zip(*scores.results.values(), strict=True))
    assert exact["Completeness"].mean == 1  # maps sum to the logit less the bias
    assert other["Completeness"].mean == 0
    assert exact["PixelFlipping"].mean < other["PixelFlipping"].mean
    assert exact["FaithfulnessEstimate"].mean > other["FaithfulnessEstimate"].mean
    np.testing.assert_allclose(other["Sparseness"].values, 1 / 3, atol=0.02)  # the Gini index of evenly spaced values
    assert [exact[name].direction for name in chosen] == ["lower", "higher", "higher", "higher"]
    head, _, first = scores.table().splitlines()[:3]
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["metric", "better", "contribution maps", "raster"]
    assert first.count("**") == 2
    summed = {"SensitivityN": quantus.SensitivityN(features_in_step=16, disable_warnings=True)}
    with pytest.raises(ValueError, match="'SensitivityN' must give a score, or a curve, for each image.*aggregate"):
        evaluation.quantus_scores(*batch, [], metrics=summed, verbose=False)


@pytest.mark.slow
def test_twelve_metrics_score_exact_maps_and_another_method(batch):
    pytest.importorskip("quantus", reason="needs keras-coda[quantus]")
    model, images, labels = batch
    scores = evaluation.quantus_scores(model, images[:4], labels[:4], ["GradientsInputs"], verbose=False)
    assert len(scores.results) == 12
    for name, results in scores.results.items():
        assert all(np.isfinite(result.values).all() and len(result.values) == 4 for result in results), name


def test_evaluate_of_quantus_takes_network_and_explainers(batch):
    quantus = pytest.importorskip("quantus", reason="needs keras-coda[quantus]")
    model, images, labels = batch
    network, x_batch = evaluation.quantus_inputs(model, images)
    found = quantus.evaluate(
        metrics={"Complexity": quantus.Complexity(), "MaxSensitivity": quantus.MaxSensitivity(nr_samples=2)},
        xai_methods={name or "exact": evaluation.quantus_explainer(name) for name in (None, "GradCAM")},
        model=network,
        x_batch=x_batch,
        y_batch=labels,
        explain_func_kwargs={},
        call_kwargs={"logits": {"softmax": False, "channel_first": True}},
    )
    assert list(found) == ["exact", "GradCAM"]
    assert np.isfinite([score for scores in found.values() for score in scores.values()]).all()
