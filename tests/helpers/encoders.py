"""A network whose encoder has weights of its own, and the claim about it that holds on every backend."""

import keras
import numpy as np

import keras_coda


def make_model():
    """Return a network whose encoder has trainable weights (a convolution) and others (batch normalization)."""
    inputs = keras.Input((6, 5, 1))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="convolution")(x)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    x = keras_coda.DAUConv2D(3, 3, 2)(x)
    return keras.Model(inputs, keras_coda.GlobalSumPooling2D()(x))


def check_that_maps_follow_the_encoder():
    """Explain, change one kind of weights of the encoder after the other, and compare with a fresh model's maps."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 6, 5, 1), dtype="uint8")
    model = make_model()
    before = keras_coda.explain(model, images, 1).contributions
    convolution, normalization = model.get_layer("convolution"), model.get_layer("normalization")
    for variable in (convolution.kernel, normalization.moving_mean, normalization.moving_variance):
        variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype("float32"))
        after = keras_coda.explain(model, images, 1)
        fresh = make_model()
        fresh.set_weights(model.get_weights())
        expected = keras_coda.explain(fresh, images, 1)
        np.testing.assert_allclose(after.contributions, expected.contributions, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(after.logits, expected.logits, rtol=1e-5, atol=1e-6)
        assert np.abs(after.contributions - before).max() > 1e-3
        before = after.contributions
