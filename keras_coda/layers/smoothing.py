"""Fixed linear layers that smooth activations where they are sampled, so that no grid is left in contribution maps."""

import math

import keras
from keras import ops

from keras_coda.layers import patches
from keras_coda.layers.dynamic_linear import DynamicLinear
from keras_coda.utils.checks import check_int, check_pair, require

_serializable = keras.saving.register_keras_serializable("keras_coda")


class _FixedFilter2D(DynamicLinear):
    """A kernel without weights, the same for every channel, along both axes; zero padding.

    Args:
        taps: two lists of floats, the kernel along height and width.
        strides: two ints.
        padding: two ints, zeros on each side.
    """

    def __init__(self, taps, strides, padding, **kwargs):
        super().__init__(**kwargs)
        self._axes = tuple(enumerate(zip(taps, strides, padding, strict=True), start=1))

    @property
    def windows(self):
        """See :attr:`DynamicLinear.windows`."""
        (height, down, top), (width, right, left) = ((len(taps), *rest) for _, (taps, *rest) in self._axes)
        is_usual = (top, left) == ((height - 1) // 2, (width - 1) // 2)
        return (((height, width), (down, right)),) if is_usual else None

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; ``frozen`` is the shape of the input."""
        self.compute_output_shape(inputs.shape)  # raises if the image is too small
        outputs = inputs
        for axis, (taps, stride, pad) in self._axes:
            last = (_count(ops.shape(outputs)[axis], taps, stride, pad) - 1) * stride + 1
            padded = ops.pad(outputs, [(pad, pad) if each == axis else (0, 0) for each in range(4)])
            outputs = sum(tap * padded[_along(axis, i, i + last, stride)] for i, tap in enumerate(taps))
        return outputs, ops.shape(inputs)

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`."""
        batch, targets, *shape = ops.shape(cotangents)
        rows = ops.reshape(cotangents, (-1, *shape))
        for axis, (taps, stride, pad) in reversed(self._axes):
            rows = patches.place([tap * rows for tap in taps], axis, ops.shape(rows)[axis], stride)
            rows = rows[_along(axis, pad, pad + frozen[axis])]
        return ops.reshape(rows, (batch, targets, *frozen[1:]))

    def compute_output_shape(self, input_shape):
        """Return ``(batch, new_height, new_width, channels)``; raise if the padded image is below the kernel."""
        spatial = []
        for axis, (taps, stride, pad) in self._axes:
            size = input_shape[axis]
            spatial.append(None if size is None else _count(size, taps, stride, pad))
            rule = f"The padded input of {self.name!r} must be at least as large as its kernel"
            is_large = spatial[-1] is None or spatial[-1] > 0
            require(is_large, rule, "Use larger images", kernel_size=len(taps), input_shape=tuple(input_shape))
        return (input_shape[0], *spatial, input_shape[-1])


@_serializable
class Blur2D(_FixedFilter2D):
    """A binomial blur, to be put before a layer with strides: ``[1, 2, 1] / 4`` along both axes of every channel.

    A strided layer samples its input unevenly, and its transposed pass leaves a grid in contribution maps. This kernel
    has no response at the highest frequency, the one that a stride of 2 cannot tell from a constant, so the grid is
    gone from the maps of whatever comes before. Linear and its own transpose, it keeps maps exact.

    Args:
        size: odd int, number of taps along each axis; more blur more.
        **kwargs: ``name``, ``dtype``.

    Input and output: ``(batch, height, width, channels)``, float.

    Example:
        >>> print(Blur2D()(np.ones((1, 4, 4, 1)))[0, 1, :, 0].numpy())
        [0.75 1.   1.   0.75]

    Reference:
        Zhang: Making Convolutional Networks Shift-Invariant Again, ICML 2019 (arXiv 1904.11486).
    """

    def __init__(self, size=3, **kwargs):
        self.size = check_int("size", size)
        require(self.size % 2, "`size` must be odd", size=size)
        taps = [math.comb(self.size - 1, i) / 2 ** (self.size - 1) for i in range(self.size)]
        super().__init__([taps] * 2, (1, 1), (self.size // 2,) * 2, **kwargs)

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "size": self.size}


@_serializable
class AveragePooling2D(_FixedFilter2D):
    """Means over windows of an image, as a dynamic-linear layer.

    Args:
        pool_size: int or two, height and width of a window.
        strides: int or two; None: the size of a window.
        padding: int or two, zeros on each side, which count: the mean over a window that reaches beyond the edge is
            smaller. At most half a window.
        **kwargs: ``name``, ``dtype``.

    Input: ``(batch, height, width, channels)``, float. Output: ``(batch, new_height, new_width, channels)`` with
    ``new = (size + 2 * padding - pool_size) // stride + 1``.

    Example:
        >>> AveragePooling2D(2)(np.ones((1, 5, 4, 3))).shape
        TensorShape([1, 2, 2, 3])
    """

    def __init__(self, pool_size=2, strides=None, padding=0, **kwargs):
        self.pool_size = check_pair("pool_size", pool_size)
        self.strides = self.pool_size if strides is None else check_pair("strides", strides)
        pads = padding if isinstance(padding, (tuple, list)) else (padding, padding)
        self.padding = tuple(check_int("padding", pad, minimum=0) for pad in pads)
        is_small = len(self.padding) == 2 and all(
            2 * pad <= size for pad, size in zip(self.padding, self.pool_size, strict=True)
        )
        require(is_small, "`padding` must be at most half of `pool_size`", padding=padding, pool_size=self.pool_size)
        super().__init__([[1 / size] * size for size in self.pool_size], self.strides, self.padding, **kwargs)

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; ``frozen`` is the shape of the input."""
        self.compute_output_shape(inputs.shape)  # raises if the image is too small
        top, left = self.padding
        padded = ops.pad(inputs, ((0, 0), (top, top), (left, left), (0, 0))) if top or left else inputs
        return ops.average_pool(padded, self.pool_size, self.strides, "valid", "channels_last"), ops.shape(inputs)

    def get_config(self):
        """Return the constructor's arguments."""
        config = {"pool_size": self.pool_size, "strides": self.strides, "padding": self.padding}
        return {**super().get_config(), **config}


def _count(size, taps, stride, pad):
    return (size + 2 * pad - len(taps)) // stride + 1


def _along(axis, start, stop, step=1):
    return (slice(None),) * axis + (slice(start, stop, step),)
