import json
import random

import keras
import numpy as np
import pytest
from scipy import stats

from keras_coda.evaluation import RandomizationResult, randomization
from keras_coda.evaluation.layer_randomization import rank_correlations
from keras_coda.visualization import metrics
from tests.helpers.known_models import one_pixel_model, random_digits, raster

OPTIONS = {"n_images": 16, "verbose": False}


def test_randomizing_layers_destroys_contribution_maps_but_not_a_map_of_the_image_alone(digits):
    model, data = digits
    weights, state = model.get_weights(), random.getstate()
    result = randomization(model, data, **OPTIONS)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert random.getstate() == state
    dynamic = [layer.name for layer in model.layers if layer.weights]
    assert result.layers == tuple(reversed(dynamic))
    assert result.similarities.shape == result.absolute_similarities.shape == (len(dynamic), 16)
    assert result.similarities.mean(axis=1)[0] < 0.8
    assert abs(result.mean) < 0.35
    edges = randomization(model, data, explainer=raster, **OPTIONS)
    np.testing.assert_allclose(edges.similarities, 1)
    figure = metrics.plot_randomization([result, edges])
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["none", *result.layers]
    assert "quartile" in figure.axes[0].get_legend().get_title().get_text()


def test_layers_are_randomized_from_the_top_and_stay_so():
    images, labels = random_digits(3, size=4)
    inputs = keras.Input((4, 4, 1))
    first = keras.layers.Dense(2, use_bias=False, name="first")
    last = keras.layers.Dense(2, use_bias=False, name="last")
    inner = keras.Sequential([keras.Input((4, 4, 1)), first])
    inner.trainable = False
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(last(inner(inputs))))
    seen = []

    def explainer(network, images, classes):
        seen.append(network.get_weights())
        return raster(network, images, classes)

    result = randomization(model, [(images, labels)], explainer=explainer, **OPTIONS)
    assert result.layers == ("last", "first")
    trained = model.get_weights()
    same = [[np.array_equal(a, b) for a, b in zip(trained, weights, strict=True)] for weights in seen]
    assert same == [[True, True], [True, False], [False, False]]
    np.testing.assert_array_equal(seen[1][1], seen[2][1])
    for seed in (0, 1):
        randomization(model, [(images, labels)], explainer=explainer, seed=seed, **OPTIONS)
    np.testing.assert_array_equal(seen[2][0], seen[5][0])  # the same seed
    assert not np.array_equal(seen[2][0], seen[8][0])


def test_correlations_are_spearmans():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, (2, 4, 6, 5))  # with ties
    first[3] = 7  # no order
    expected = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first[:3], second[:3], strict=True)]
    np.testing.assert_allclose(rank_correlations(first, second), [*expected, 0], atol=1e-12)


def test_results_are_kept_and_shown(tmp_path):
    result = RandomizationResult("mine", 3, ("b", "a"), np.array([[0.5, 0.7], [0.1, 0.3]]), np.zeros((2, 2)))
    assert result.mean == pytest.approx(0.2)
    summary = json.loads(result.to_json(tmp_path / "result.json"))["summary"]
    assert summary["similarities_by_layer"] == {"b": pytest.approx(0.6), "a": pytest.approx(0.2)}
    read = RandomizationResult.from_json(tmp_path / "result.json")
    assert read.layers == ("b", "a")
    np.testing.assert_array_equal(read.similarities, result.similarities)
    assert result.plot().axes[0].get_ylabel().startswith("rank correlation")
    with pytest.raises(ValueError, match="of the same layers"):
        metrics.plot_randomization([result, RandomizationResult("x", 3, ("a",), np.ones((1, 2)), np.ones((1, 2)))])


class Unsaved(keras.layers.Layer):
    def __init__(self, size):
        super().__init__()
        self.dense = keras.layers.Dense(size)

    def call(self, inputs):
        return self.dense(inputs)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2)


def test_models_that_cannot_be_checked_are_refused():
    images, labels = random_digits(2)
    data = [(images, labels)]
    with pytest.raises(ValueError, match="layers with weights. Received: model="):
        randomization(
            keras.Sequential([keras.Input((4, 4, 1)), keras.layers.GlobalAveragePooling2D()]), data, **OPTIONS
        )
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(Unsaved(2)(inputs)))
    with pytest.raises(ValueError, match="needs a copy of the model.*get_config"):
        randomization(model, data, explainer=raster, **OPTIONS)
    with pytest.raises(ValueError, match="`explainer` must be"):
        randomization(one_pixel_model(), data, explainer=3, **OPTIONS)
    with pytest.raises(ValueError, match="`n_images` must be"):
        randomization(model, data, n_images=0)
