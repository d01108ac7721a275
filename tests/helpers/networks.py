"""Small networks and random images, and the check that maps sum to the logits."""

import keras
import numpy as np

import keras_coda
from keras_coda import CoDANet
from keras_coda.models import ExplainableClassifier


def small(**arguments):
    """Build a network of three layers for 8x7 images of two channels; arguments replace the defaults."""
    defaults = {"input_shape": (8, 7, 2), "filters": (4, 5, 3), "ranks": 3, "strides": (1, 2, 1), "temperature": 2.0}
    return CoDANet(3, **{**defaults, **arguments})


def two_layers(**arguments):
    """Build a network of two layers and two classes for gray images of any size; arguments replace the defaults."""
    defaults = {"input_shape": (None, None, 1), "filters": (3, 2), "ranks": 2, "temperature": 1.0}
    return CoDANet(2, **{**defaults, **arguments})


def pixels(batch=2, shape=(8, 7, 2), seed=0):
    """Draw random images, uint8."""
    return np.random.default_rng(seed).integers(0, 256, (batch, *shape), dtype="uint8")


def assert_complete(explanation):
    """Check that contributions and bias sum to the explained logits, and that `residual` reports the difference."""
    total = explanation.contributions.sum((2, 3)) + np.float32(explanation.bias)
    total += 0 if explanation.offsets is None else explanation.offsets
    error = np.abs(total - explanation.explained_logits)
    assert (error <= 1e-5 * np.maximum(1, np.abs(explanation.explained_logits))).all(), error.max()
    np.testing.assert_allclose(explanation.residual, error, atol=1e-5)


def branched(shape=(8, 6, 3), **options):
    """Build a classifier with residual sums, a shared layer, a nested model, MaxOut, groups and strides."""
    images = keras.Input(shape, name="images")
    x = keras_coda.AddInverse()(keras.layers.Rescaling(1 / 255)(images))
    inner = keras.Input(x.shape[1:])
    branches = [keras_coda.LinearConv2D(4, 1)(inner), keras_coda.BcosConv2D(4, 3, max_out=2)(inner)]
    x = keras.Model(inner, keras.layers.Add()(branches), name="nested")(x)
    shared = keras_coda.DAUConv2D(4, 3, 2)
    x = shared(x) + shared(shared(x))
    y = keras_coda.BcosConv2D(4, 3, 2, groups=2, name="grouped")(x)
    x = keras.layers.Add(name="sum")([y, keras_coda.BcosConv2D(4, 1, 2)(x)])
    x = keras.layers.Concatenate()([x, keras_coda.UncenteredBatchNormalization()(x)])
    x = keras_coda.GlobalAveragePooling2D()(keras_coda.LinearConv2D(3, 1)(x))
    return ExplainableClassifier(images, keras_coda.LogitScaling(0.5, -1.0)(x), **options)
