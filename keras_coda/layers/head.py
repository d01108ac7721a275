"""The end of a network: class maps summed over space, and sums scaled to logits."""

import keras
from keras import ops

from keras_coda.layers.dynamic_linear import DynamicLinear
from keras_coda.utils.checks import check_float32

_serializable = keras.saving.register_keras_serializable("keras_coda")


@_serializable
class GlobalSumPooling2D(DynamicLinear):
    """Sum class maps over space: ``(batch, height, width, channels)`` to ``(batch, channels)``."""

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; ``frozen`` is the input's height and width."""
        return ops.sum(inputs, axis=(1, 2)), ops.shape(inputs)[1:3]

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`: every location receives the whole cotangent."""
        height, width = frozen
        batch, targets, channels = ops.shape(cotangents)
        everywhere = ops.reshape(cotangents, (batch, targets, 1, 1, channels))
        return ops.broadcast_to(everywhere, (batch, targets, height, width, channels))

    def compute_output_shape(self, input_shape):
        """Return ``(batch, channels)``."""
        return (input_shape[0], input_shape[-1])


@_serializable
class GlobalAveragePooling2D(GlobalSumPooling2D):
    """Means of class maps over space: ``(batch, height, width, channels)`` to ``(batch, channels)``.

    Maps of a network that ends so do not grow with the size of the images, unlike those of
    :class:`GlobalSumPooling2D`.
    """

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; ``frozen`` is the input's height and width."""
        return ops.mean(inputs, axis=(1, 2)), ops.shape(inputs)[1:3]

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`: every location receives an equal part of the cotangent."""
        height, width = frozen
        return super().pullback(frozen, cotangents / ops.cast(height * width, cotangents.dtype))


@_serializable
class LogitScaling(DynamicLinear):
    """Turn summed class maps into logits: ``x / temperature + logit_bias``.

    A larger temperature forces larger raw outputs for the same loss, hence stronger alignment.

    Args:
        temperature: float > 0.
        logit_bias: float, the same for all classes; a logit's contributions sum to ``logit - logit_bias``.
        **kwargs: ``name``, ``dtype``.

    Reference:
        CVPR 2021, section 3.2 (temperature) and equation 9 (bias).
    """

    def __init__(self, temperature=1.0, logit_bias=0.0, **kwargs):
        super().__init__(**kwargs)
        self.temperature = check_float32("temperature", temperature)
        if self.temperature <= 0:
            raise ValueError(f"`temperature` must be positive. Received: temperature={temperature!r}")
        self.logit_bias = self.offset = check_float32("logit_bias", logit_bias)

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; nothing is frozen. The output is linear up to ``offset``."""
        return inputs / self.temperature + self.logit_bias, ()

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`."""
        return cotangents / self.temperature

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "temperature": self.temperature, "logit_bias": self.logit_bias}
