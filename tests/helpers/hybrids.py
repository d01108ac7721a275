"""A small conventional network, and hybrids on its features."""

import keras

from keras_coda.models import hybrid


def trunk(shape=(8, 8, 1)):
    """Build a network of two convolutions with pooling between them, whose features are half as large as images."""
    images = keras.Input(shape)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(images)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    x = keras.layers.MaxPooling2D(name="pool")(x)
    x = keras.layers.Conv2D(5, 1, activation="relu", name="second")(x)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D(name="mean")(x), name="trunk")


def make(**options):
    """Build a hybrid of four classes from "pool" on; arguments replace the defaults."""
    keras.utils.set_random_seed(0)
    arguments = {"layer": "pool", "filters": (6, 4), "ranks": 2, "temperature": 2.0, "class_names": "abcd"}
    own = options.pop("trunk", None) or trunk()
    return hybrid(own, 4, **{**arguments, "preprocessing": keras.layers.Rescaling(1 / 255), **options})


def color(shape=(8, 8, 3)):
    """Build a hybrid for color images, prepared as those of ResNet50 are, whose head is a single layer."""
    return make(trunk=trunk(shape), filters=(4,), preprocessing=keras.applications.resnet50.preprocess_input)
