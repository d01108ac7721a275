"""Models, data and maps whose metrics are known."""

import keras
import numpy as np
from keras import ops

import keras_coda
from keras_coda import DynamicLinear

# === Models whose answers are known ===


def channel_model(num_classes=10, size=None):
    """The logit of class k is the mean of channel k divided by 10, less 12.75."""
    inputs = keras.Input((size, size, num_classes))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Rescaling(0.1, offset=-12.75)(x))


def pooled_model(num_classes=10):
    """The logit of class k is the sum of channel k divided by 40, less 12.75, at any size of image."""
    inputs = keras.Input((None, None, num_classes))
    x = keras_coda.GlobalSumPooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras_coda.LogitScaling(40 / 255, -12.75)(x))


def channel_images(labels, brightness, num_classes=10, size=2):
    """Images of which only the channel of their class is lit: confidence above 0.5 if brighter than 127.5."""
    images = np.zeros((len(labels), size, size, num_classes), "float32")
    images[np.arange(len(labels)), :, :, labels] = np.reshape(np.float32(brightness), (-1, 1, 1))
    return images


def channel_data(per_class=4, num_classes=10, batch_size=7):
    labels = np.arange(per_class * num_classes, dtype="int32") % num_classes
    images = channel_images(labels, 130 + np.arange(len(labels)) / 5, num_classes)
    return batches(images, labels, batch_size)


def batches(images, labels, batch_size=7):
    return [(images[i : i + batch_size], labels[i : i + batch_size]) for i in range(0, len(images), batch_size)]


class Weights(DynamicLinear):
    """Logits that are linear in the encoded image, with given weights (H, W, channels, classes)."""

    def __init__(self, weights, offset=0.0):
        super().__init__()
        self.weights_ = np.asarray(weights, "float32")
        self.offset = offset

    def linearize(self, inputs):
        return ops.tensordot(inputs, self.weights_, axes=3) + self.offset, ()

    def pullback(self, frozen, cotangents):
        return ops.tensordot(cotangents, np.moveaxis(self.weights_, -1, 0), axes=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.weights_.shape[-1])


def linear_model(weights, offset=0.0):
    inputs = keras.Input((*weights.shape[:2], weights.shape[2] // 2))
    encoded = keras_coda.AddInverse()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, Weights(weights, offset)(encoded))


def one_pixel_model(row=0, column=2, weight=4.0, offset=-1.0):
    """Both classes have the logit ``weight + offset`` with the pixel, whatever its color, and ``offset`` without."""
    weights = np.zeros((4, 4, 2, 2))
    weights[row, column] = weight
    return linear_model(weights, offset)


def random_digits(count, size=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, size, size, 1), "uint8"), np.arange(count, dtype="int32") % 2


def raster(model, images, classes):
    """A map that is larger for every further pixel, row by row."""
    size = images.shape[1:3]
    return np.broadcast_to(np.arange(np.prod(size), dtype="float32").reshape(size), (len(images), *size))


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def shines(images, classes):
    """Where the channel of the class is lit: its own cell."""
    return images[np.arange(len(classes)), :, :, classes] > 0


class Recorder:
    """An explainer that remembers which images lie in the grids it is shown."""

    def __init__(self):
        self.cells = []  # (class, brightness) of each cell, grid by grid

    def __call__(self, model, images, classes):
        own = shines(images, classes)
        assert (own.reshape(len(own), -1).sum(axis=1) == 4).all()  # the class is there, once
        self.cells += [(int(c), float(image[..., c].max())) for image, c in zip(images, classes, strict=True)]
        return ops.convert_to_tensor(own.astype("float32"))  # tensors will do, too
