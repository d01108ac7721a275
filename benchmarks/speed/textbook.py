"""The textbook evaluation of Dynamic Alignment Units: it builds the weights of every unit at every location.

It is for comparison only, and uses the variables of a :class:`keras_coda.CoDANet`. Its steps are:

* patches: the padded image cut into patches ``x`` (batch, h, w, d), as the package itself does;
* ``B x``: a convolution of the padded image;
* ``v_j = A_j (B x) + b_j``: one matrix product for all units and locations, (batch, h, w, f, d);
* ``w_j = g(v_j)``: the squared norm summed over d, the weights multiplied by the factor of ``g``;
* ``y_j = w_jᵀ x``: the weights of a location times its patch, as a matrix-vector product.

Training is Keras' own, through automatic differentiation. A contribution map is the gradient of a logit with the
weights ``w`` frozen by ``stop_gradient`` (one forward pass, one gradient for every class), times the encoded image.
Everything runs in graph mode, as in the package. It is plain code, neither tuned nor slowed down: of two plain ways to
write the last line, it uses the faster one (multiplying and summing takes 5 to 10 % longer).
"""

import keras
import tensorflow as tf
from keras import ops

from keras_coda.layers import patches
from keras_coda.layers import rescaling as rescalings
from keras_coda.layers.dau import DAUConv2D


class TextbookDAUConv2D(keras.layers.Layer):
    """A DAU convolution in its textbook form, with the variables of another layer.

    Args:
        units: the built :class:`keras_coda.DAUConv2D`.
        frozen: bool, whether gradients stop at the weights ``w``.
        **kwargs: ``name``, ``dtype``.
    """

    def __init__(self, units: DAUConv2D, frozen: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.units, self.frozen = units, frozen

    def call(self, inputs):
        """Return ``y`` (batch, h, w, f)."""
        units = self.units
        f, r = units.filters, units.rank
        x = patches.extract(inputs, units.kernel_size, units.strides)
        batch, h, w, d = ops.shape(x)
        margins = [((size - 1) // 2,) * 2 for size in units.kernel_size]
        padded = ops.pad(inputs, ((0, 0), *margins, (0, 0)))
        Bx = ops.conv(padded, ops.convert_to_tensor(units.projection), strides=units.strides, padding="valid")
        kernel = ops.transpose(ops.reshape(units.kernel, (d, f, r + 1)), (2, 1, 0))  # (R, f, d)
        A, b = ops.reshape(kernel[:-1], (r, f * d)), ops.reshape(kernel[-1], (f * d,))
        v = ops.reshape(ops.matmul(Bx, A) + b, (batch, h, w, f, d))
        squared_norms = ops.sum(ops.square(v), axis=-1, keepdims=True)
        weights = v * rescalings.get(units.rescaling)(squared_norms)
        if self.frozen:
            weights = ops.stop_gradient(weights)
        return ops.squeeze(ops.matmul(weights, ops.expand_dims(x, -1)), axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the shape of the original layer's output."""
        return self.units.compute_output_shape(input_shape)


def textbook(model: keras.Model) -> keras.Model:
    """Return a model of the same variables that trains and predicts by the textbook, compiled alike."""
    images, encoded = _encoder(model)
    twin = keras.Model(images, _classify(model, encoded, frozen=False))
    twin.compile(keras.optimizers.Adam(1e-3), loss=model.loss, metrics=["accuracy"], jit_compile=False)
    return twin


def explainer(model: keras.Model):
    """Return ``explain(images, top_k)``: logits, classes and maps by the textbook, in graph mode."""
    images, encoded = _encoder(model)
    encode = keras.Model(images, encoded)
    activations = keras.Input(encoded.shape[1:])
    classify = keras.Model(activations, _classify(model, activations, frozen=True))

    @tf.function(reduce_retracing=True)
    def explain(images, top_k):
        x = encode(images)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            logits = classify(x)
            values, classes = tf.math.top_k(logits, top_k)
            explained = tf.unstack(values, axis=1)
        maps = [tf.reduce_sum(tape.gradient(logit, x) * x, axis=-1) for logit in explained]
        return logits, classes, tf.stack(maps, axis=1)

    return explain


def _encoder(model):
    return model.inputs[0], model.get_layer("add_inverse").output


def _classify(model, x, frozen):
    for layer in model.layers:
        if isinstance(layer, DAUConv2D):
            x = TextbookDAUConv2D(layer, frozen)(x)
    return model.get_layer("logits")(model.get_layer("sum_pooling")(x))
