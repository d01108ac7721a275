"""Batches of images with labels for the TensorFlow backend of Keras: `tf.data`."""

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_coda.data.augmenting import Plan, augmentation, layer_on_one_image
from keras_coda.data.folders import Files
from keras_coda.data.images import resizing

if TYPE_CHECKING:
    import tensorflow as tf

_FILE_NAMES = 1024  # in the buffer that shuffles the files of an epoch


def batches(parts: Any, counts: tuple[int, int], plan: Plan) -> "tuple[tf.data.Dataset, tf.data.Dataset]":
    """Resize, keep what is small, shuffle and augment the training images, batch.

    Args:
        parts: training and validation: for each images and labels, or a `tf.data.Dataset` of single ones.
        counts: their numbers of images.
        plan: what is done to them.
    """
    import tensorflow as tf

    height, width, _ = plan.shape
    top, left = ((have - want) // 2 for have, want in zip(plan.stored[:2], plan.shape[:2], strict=True))
    resize = resizing(plan.stored[:2])

    def prepare(image, label):
        if image.shape != plan.stored:
            image = resize(tf.cast(image, "float32"))  # Keras' layer gives back the dtype of integers: rounded pixels
        return tf.ensure_shape(image, plan.stored), tf.cast(label, "int32")

    def cut(image, label):
        return image[top : top + height, left : left + width], label

    options = {"seed": plan.seed, "memory": plan.memory}
    datasets = [
        part if hasattr(part, "element_spec") else dataset(*part, is_training=i == 0, **options)
        for i, part in enumerate(parts)
    ]
    train, validation = (part.map(prepare, tf.data.AUTOTUNE) for part in datasets)
    image_bytes = math.prod(plan.stored) * train.element_spec[0].dtype.size
    are_arrays = isinstance(parts[0], tuple) and isinstance(parts[0][0], np.ndarray)
    if not are_arrays and image_bytes * sum(counts) <= plan.memory:
        train, validation = train.cache(), validation.cache()
    train = train.shuffle(min(counts[0], max(1, plan.memory // image_bytes)), seed=plan.seed)
    train = train.map(cut) if plan.augment == "none" else augment_images(train, _layer(plan), plan.seed)
    train, validation = (
        part.batch(plan.batch_size).prefetch(tf.data.AUTOTUNE) for part in (train, validation.map(cut))
    )
    return train, validation


def _layer(plan):
    if plan.is_own_layer:
        return plan.augment
    crop_from = None if plan.padding else plan.stored[:2]
    options = {"flip": plan.flip, "padding": plan.padding, "crop_from": crop_from, "seed": plan.seed}
    return augmentation(plan.shape, rand_augment=plan.augment == "rand_augment", **options)


def dataset(images, labels, *, is_training: bool, seed: int, memory: int) -> "tf.data.Dataset":
    """Return the single images and labels of a part.

    Args:
        images: array `(N, H, W, C)`, or `Files`.
        labels: int32 `(N,)` or `(N, classes)`.
        is_training: whether files are read in another order every epoch.
        seed: of the order of files.
        memory: bytes: limit of the buffer that mixes the classes of validation files.
    """
    import tensorflow as tf

    if not isinstance(images, Files):
        return tf.data.Dataset.from_tensor_slices((images, labels))

    def read(path):
        return images.read(os.fsdecode(path))

    resize = resizing(images.size)

    def load(path, label):
        pixels = tf.ensure_shape(tf.numpy_function(read, [path], tf.float32, stateful=False), (None, None, 3))
        return tf.ensure_shape(resize(pixels), (*images.size, 3)), label

    paths = [os.fsencode(file) for file in images.paths]
    files = tf.data.Dataset.from_tensor_slices((paths, labels))
    if is_training:
        files = files.shuffle(_FILE_NAMES, seed=seed)
    loaded = files.map(load, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    if images.is_sorted:
        buffer = min(len(paths), max(1, memory // (math.prod(images.shape[1:]) * 4)))
        loaded = loaded.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
    return loaded


def augment_images(images, layer, seed):
    """Apply a layer to each image, see :func:`keras_coda.data.augmenting.layer_on_one_image`.

    Args:
        images: `tf.data.Dataset` of `(image, label)`, images `(H, W, C)`.
        layer: Keras layer or model, called on `(1, H, W, C)` with `training=True`.
        seed: int.

    Returns:
        A `tf.data.Dataset` of the augmented images, float32, and their labels.
    """
    import tensorflow as tf

    augment = layer_on_one_image(layer, images.element_spec[0].shape)
    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(images, draws).map(
        lambda image_and_label, draw: (augment(image_and_label[0], draw), image_and_label[1]),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
