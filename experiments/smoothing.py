"""Linear layers that smooth maps before or after down-sampling; they keep explanations exact.

Candidates for the package: ``experiments.downsampling`` compares them.
"""

import numpy as np
from keras import ops

import keras_coda

BINOMIAL = (0.25, 0.5, 0.25)


class Blur(keras_coda.DynamicLinear):
    """A fixed symmetric kernel along both axes of every channel, zero padding: a linear, self-adjoint layer."""

    def __init__(self, taps=BINOMIAL, **kwargs):
        super().__init__(**kwargs)
        self.taps = taps

    def kernel(self, dtype):
        """The taps from one end to the other; numbers, or tensors ``(channels,)``."""
        return self.taps

    def linearize(self, inputs):
        """See ``DynamicLinear.linearize``; nothing is frozen."""
        taps = self.kernel(inputs.dtype)
        reach = len(taps) // 2
        for axis in (1, 2):
            size = inputs.shape[axis]
            margins = [(0, 0)] * 4
            margins[axis] = (reach, reach)
            padded = ops.pad(inputs, margins)
            shifted = [padded[:, i : i + size] if axis == 1 else padded[:, :, i : i + size] for i in range(len(taps))]
            inputs = sum(tap * image for tap, image in zip(taps, shifted, strict=True))
        return inputs, ()

    def pullback(self, frozen, cotangents):
        """See ``DynamicLinear.pullback``: the same blur."""
        batch, targets, *shape = ops.shape(cotangents)
        return ops.reshape(self.linearize(ops.reshape(cotangents, (-1, *shape)))[0], (batch, targets, *shape))

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape


class LearnedBlur(Blur):
    """``[c, 1/4, 1/2 - 2c, 1/4, c]`` with one learned c per channel, in (-1/8, 1/8).

    These are all symmetric kernels of 5 taps that sum to 1 and have no response at the Nyquist frequency; 0, where
    training starts, is the binomial kernel of 3 taps.
    """

    def build(self, input_shape):
        """Create the parameter of every channel."""
        self.raw = self.add_weight(name="raw", shape=(input_shape[-1],), initializer="zeros")

    def kernel(self, dtype):
        """See ``Blur.kernel``."""
        c = ops.cast(ops.tanh(ops.cast(self.raw, "float32")) / 8, dtype)
        return c, 0.25, 0.5 - 2 * c, 0.25, c


class MeanPool(keras_coda.DynamicLinear):
    """Means over 2x2 pixels, for even heights and widths: the kernel [1, 1] / 2 along both axes with stride 2."""

    def linearize(self, inputs):
        """See ``DynamicLinear.linearize``; nothing is frozen."""
        _, height, width, channels = inputs.shape
        cells = ops.reshape(inputs, (-1, height // 2, 2, width // 2, 2, channels))
        return ops.mean(cells, axis=(2, 4)), ()

    def pullback(self, frozen, cotangents):
        """See ``DynamicLinear.pullback``: every pixel of a cell gets a quarter of its cotangent."""
        return ops.repeat(ops.repeat(cotangents / 4, 2, axis=2), 2, axis=3)

    def compute_output_shape(self, input_shape):
        """Return the shape with half the height and width."""
        batch, height, width, channels = input_shape
        return batch, height // 2, width // 2, channels


def check_transpose(layer) -> None:
    """Raise AssertionError unless ``<W x, u> = <x, Wᵀ u>`` for random ``x`` and ``u``; the layer must be in a model."""
    random = np.random.default_rng(0)
    x = random.random((2, *layer.input.shape[1:]), dtype="float32")
    u = random.random((2, *layer.output.shape[1:]), dtype="float32")
    y, frozen = layer.linearize(ops.convert_to_tensor(x))
    x_bar = layer.pullback(frozen, ops.convert_to_tensor(u[:, None]))[:, 0]
    np.testing.assert_allclose(np.vdot(y, u), np.vdot(x, x_bar), rtol=1e-5)
