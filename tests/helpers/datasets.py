"""Folders of images to load, and the arrays that a data set holds."""

import keras
import numpy as np
from PIL import Image

from keras_coda.data import numpy_batches, tensorflow_batches


def arrays(dataset):
    """All the images and labels of a batched data set."""
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def picture(seed, size=(24, 20)):
    """A smooth random color image, (height, width)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype("uint8")
    return Image.fromarray(pixels).resize(size[::-1])


def fill(folder, classes=("cat", "dog"), count=5, suffix="png", **kwargs):
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(100 * index + i, **kwargs).save(folder / name / f"{i}.{suffix}")
    return folder


def augmented(layer, images, seed=0):
    """One batch of images that a layer augments, as `data.load` does it on this backend."""
    labels = np.arange(len(images))
    if keras.backend.backend() != "tensorflow":
        change = numpy_batches.layer_calls(layer, images.shape[1:])
        return numpy_batches.Batches(images, labels, len(images), change=change, seed=seed)
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    return tensorflow_batches.augment_images(dataset, layer, seed).batch(len(images))
