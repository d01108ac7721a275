"""Batch normalization that keeps a network dynamic-linear: it scales, but does not shift."""

import keras
from keras import ops

from keras_coda.layers.dynamic_linear import DynamicLinear
from keras_coda.utils.checks import check_finite, require

_serializable = keras.saving.register_keras_serializable("keras_coda")


@_serializable
class UncenteredBatchNormalization(DynamicLinear):
    """Divide each channel by its standard deviation, without subtracting its mean: ``γ · x / sqrt(var + ε)``.

    In training ``var`` is the variance of the batch (around its mean, biased), afterwards its moving average. Then the
    layer is a constant scale for each channel, hence linear; there is no bias. Explanations and penalties always take
    the moving average.

    Args:
        momentum: float in [0, 1), of the moving average: ``new = momentum * old + (1 - momentum) * batch``.
        epsilon: float > 0.
        **kwargs: ``name``, ``dtype``, ``trainable``. A frozen layer takes the moving average in training, too.

    Input and output: ``(batch, ..., channels)``, float.

    Example:
        >>> layer = UncenteredBatchNormalization(epsilon=1e-9)
        >>> print(layer(np.array([[1.0], [3.0]]), training=True).numpy().ravel())
        [1. 3.]

    Reference:
        Böhle, Singh, Fritz, Schiele: B-cos Alignment for Inherently Interpretable CNNs and Vision Transformers (arXiv
        2306.10898).
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.momentum = check_finite("momentum", momentum)
        require(0 <= self.momentum < 1, "`momentum` must be in [0, 1)", momentum=momentum)
        self.epsilon = check_finite("epsilon", epsilon)
        require(self.epsilon > 0, "`epsilon` must be positive", epsilon=epsilon)

    def build(self, input_shape):
        """Create ``gamma`` and ``moving_variance``, one entry for each channel."""
        require(input_shape[-1] is not None, "The channels of the input must be known", input_shape=tuple(input_shape))
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        # Statistics stay float32 under every policy: their steps would be rounded away.
        options = {"initializer": "ones", "trainable": False, "dtype": "float32", "autocast": False}
        self.moving_variance = self.add_weight(name="moving_variance", shape=shape, **options)

    def call(self, inputs, training=False):
        """Return the scaled inputs; in training update the moving average."""
        if not training or not self.trainable:
            return self._scaled(inputs, self.moving_variance)
        variance = ops.var(ops.cast(inputs, "float32"), axis=tuple(range(len(inputs.shape) - 1)))
        self.moving_variance.assign(self.moving_variance * self.momentum + variance * (1 - self.momentum))
        return self._scaled(inputs, variance)

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; nothing is frozen, since the scale is that of the moving average."""
        return self._scaled(inputs, self.moving_variance), ()

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`."""
        return self._scaled(cotangents, self.moving_variance)

    def _scaled(self, inputs, variance):
        scale = ops.cast(self.gamma, "float32") * ops.rsqrt(ops.cast(variance, "float32") + self.epsilon)
        return inputs * ops.cast(scale, inputs.dtype)

    @property
    def windows(self):
        """See :attr:`DynamicLinear.windows`."""
        return (((1, 1), (1, 1)),)

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}
