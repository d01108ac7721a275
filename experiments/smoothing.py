"""A linear layer that learns how to smooth maps before down-sampling; explanations stay exact.

A candidate for the package: ``experiments.downsampling`` compares it.
"""

from keras import ops

import keras_coda


class LearnedBlur(keras_coda.DynamicLinear):
    """``[c, 1/4, 1/2 - 2c, 1/4, c]`` with one learned c per channel, in (-1/8, 1/8), along height and width.

    These are all symmetric kernels of 5 taps that sum to 1 and have no response at the Nyquist frequency; 0, where
    training starts, is the binomial kernel of 3 taps. Zero padding: the layer is its own transpose.
    """

    def build(self, input_shape):
        """Create the parameter of every channel."""
        self.raw = self.add_weight(name="raw", shape=(input_shape[-1],), initializer="zeros")

    def linearize(self, inputs):
        """See ``DynamicLinear.linearize``; nothing is frozen."""
        c = ops.cast(ops.tanh(ops.cast(self.raw, "float32")) / 8, inputs.dtype)
        taps = (c, 0.25, 0.5 - 2 * c, 0.25, c)
        for axis in (1, 2):
            size, margins = inputs.shape[axis], [(0, 0)] * 4
            margins[axis] = (2, 2)
            padded = ops.moveaxis(ops.pad(inputs, margins), axis, 0)
            inputs = ops.moveaxis(sum(tap * padded[i : i + size] for i, tap in enumerate(taps)), 0, axis)
        return inputs, ()

    def pullback(self, frozen, cotangents):
        """See ``DynamicLinear.pullback``: the same blur."""
        batch, targets, *shape = ops.shape(cotangents)
        return ops.reshape(self.linearize(ops.reshape(cotangents, (-1, *shape)))[0], (batch, targets, *shape))

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape
