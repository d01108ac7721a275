"""Tiny networks and data to train them, and the log of a training."""

import csv

import keras
import numpy as np
import tensorflow as tf

from keras_coda import CoDANet, training
from keras_coda.data.load import Data


def make_data(num_train=16, num_validation=8, channels=1, num_classes=2, batch_size=8):
    rng = np.random.default_rng(0)

    def part(count):
        images = rng.integers(0, 256, (count, 6, 6, channels), dtype="uint8")
        labels = np.arange(count, dtype="int32") % num_classes
        images[labels == 1, :3] //= 4  # the upper half tells
        return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size)

    names = tuple("ab")[:num_classes]
    return Data("stripes", part(num_train), part(num_validation), names, (6, 6, channels), num_train, num_validation)


def make_model(**options):
    keras.utils.set_random_seed(0)
    return CoDANet(2, **{"input_shape": (6, 6, 1), "filters": (2,), "ranks": 2, **options})


def read_log(out):
    with (out / training.LOG).open(newline="") as file:
        return list(csv.DictReader(file))
