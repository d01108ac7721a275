"""Networks with branches."""

import keras
from keras import layers

import keras_coda
from keras_coda import BcosConv2D, DAUConv2D, GlobalAveragePooling2D, LinearConv2D, LogitScaling

SHAPE = (8, 6, 2)


@keras.saving.register_keras_serializable("tests")
class PositionCode(keras_coda.DynamicLinear):
    """Adds a learned value at each location."""

    def build(self, input_shape):
        """Create the values."""
        self.offset = self.add_weight(name="code", shape=input_shape[1:], initializer="random_normal")

    def linearize(self, inputs):
        """Add the values."""
        return inputs + self.offset, ()

    def pullback(self, frozen, cotangents):
        """Return the cotangents."""
        return cotangents

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape


def encoded(shape=SHAPE):
    """Return images and their encoding."""
    images = keras.Input(shape, name="images")
    return images, keras_coda.AddInverse()(layers.Rescaling(1 / 255)(images))


def head(x, classes=3):
    """Return the logits of class maps made of features."""
    return LogitScaling(0.5, -1.0)(GlobalAveragePooling2D()(LinearConv2D(classes, 1)(x)))


def with_offsets():
    """A network with constants inside."""
    images, x = encoded()
    x = PositionCode()(BcosConv2D(4, 3, name="first")(x))
    x = layers.Add(name="sum")([PositionCode()(BcosConv2D(4, 3)(x)), x, LogitScaling(2.0, 0.5)(x)])
    return keras_coda.ExplainableClassifier(images, head(BcosConv2D(4, 3)(x)), class_names=("cat", "dog", "öl"))


def of_all_kinds(shape=(None, None, 3)):
    """Strides, groups, MaxOut, shared layers, joins, constants, and models inside the model; images of any size."""
    images, x = encoded(shape)
    x = keras_coda.UncenteredBatchNormalization()(BcosConv2D(8, (3, 4), 2, b=1.5, max_out=2)(x))
    shared = BcosConv2D(8, 3, groups=2)
    x = shared(x) + shared(shared(x))
    x = layers.Add()([BcosConv2D(6, 3, 2)(x), LinearConv2D(6, 1, 2)(x)])
    inner = keras.Input((None, None, 6))
    block = keras.Model(inner, layers.Concatenate()([inner, DAUConv2D(3, 3, 2)(inner)]))
    x = LogitScaling(2.0, 0.1)(keras_coda.AveragePooling2D(3, 1, 1)(block(x)))
    return keras_coda.ExplainableClassifier(images, head(x), class_names=("cat", "dog", "öl"))
