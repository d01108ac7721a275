import keras
import numpy as np
import pytest

import keras_coda
from keras_coda.layers.encoding import PixelDropout
from keras_coda.models import LinearMapPenalty


def network(**changes):
    arguments = {"num_classes": 3, "input_shape": (8, 8, 1), "filters": (4, 3), "ranks": 2, **changes}
    return keras_coda.CoDANet(**arguments)


def test_training_removes_all_channels_of_a_pixel_and_no_more_than_the_largest_share():
    images = np.ones((200, 16, 16, 6), "float32")
    outputs = np.asarray(PixelDropout(0.5, seed=0)(images, training=True))
    assert set(np.unique(outputs)) == {0, 1}
    removed = outputs[..., 0] == 0
    assert (outputs == outputs[..., :1]).all()
    shares = removed.mean(axis=(1, 2))
    assert abs(shares.mean() - 0.25) < 0.03
    assert shares.min() < 0.05  # nearly whole images stay common
    assert shares.max() < 0.5 + 4 * 0.5 / 16  # four standard deviations of a share of one half


def test_every_step_draws_other_pixels():
    layer, images = PixelDropout(0.5, seed=0), np.ones((4, 8, 8, 2), "float32")
    first, second = (np.asarray(layer(images, training=True)) for _ in range(2))
    assert (first != second).any()


def test_predictions_and_maps_see_whole_images():
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype("float32")
    plain, dropping = network(), network(pixel_dropout=0.9)
    dropping.set_weights(_weights_for(dropping, plain))
    np.testing.assert_array_equal(dropping.predict(images, verbose=0), plain.predict(images, verbose=0))
    explanation = dropping.explain(images, top_k=2)
    assert explanation.residual.max() < 1e-5
    np.testing.assert_array_equal(explanation.contributions, plain.explain(images, top_k=2).contributions)


def _weights_for(model, plain):
    """The weights of a network without dropout in the order of one that also has the state of its draws."""
    values = {variable.path: variable.numpy() for variable in plain.weights}
    return [values.get(variable.path, variable.numpy()) for variable in model.weights]


@pytest.mark.parametrize("regularization", [0.0, 0.1])
def test_a_network_trains_with_it_and_its_linear_map_is_regularized_on_what_it_sees(regularization):
    model = network(pixel_dropout=0.5)
    model.compile(penalties=[LinearMapPenalty(regularization)])
    x, y = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1)), np.arange(8) % 3
    assert np.isfinite(model.fit(x, y, epochs=2, verbose=0).history["loss"]).all()


def test_presets_keep_it_and_load_with_or_without(tmp_path):
    model = network(pixel_dropout=0.25)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1)).astype("float32")
    model.save_to_preset(tmp_path / "preset")
    for changes in ({}, {"pixel_dropout": 0.0}, {"pixel_dropout": 0.5}):
        loaded = keras_coda.CoDANet.from_preset(tmp_path / "preset", **changes)
        assert loaded.pixel_dropout == changes.get("pixel_dropout", 0.25)
        np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))


def test_its_configuration_makes_the_same_layer():
    for seed in (3, keras.random.SeedGenerator(3)):
        layer = PixelDropout(0.5, seed=seed)
        config = keras.saving.serialize_keras_object(layer)
        again = keras.saving.deserialize_keras_object(config)
        assert again.largest_share == 0.5
        images = np.ones((2, 4, 4, 2), "float32")
        np.testing.assert_array_equal(layer(images, training=True), again(images, training=True))


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan"), "half"])
def test_shares_outside_zero_and_one_are_refused(share):
    with pytest.raises((ValueError, TypeError), match="pixel_dropout"):
        network(pixel_dropout=share)
