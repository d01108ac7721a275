"""Linear convolutions without a bias, and B-cos transforms, which scale them by a power of a cosine."""

import math

import keras
from keras import ops

from keras_coda.layers import patches
from keras_coda.layers.dynamic_linear import DynamicLinear
from keras_coda.layers.initial import uniform
from keras_coda.utils.checks import check_finite, check_int, check_pair, require

_serializable = keras.saving.register_keras_serializable("keras_coda")
_TINY = 1e-12  # norms of weights are not below it, so that zeros stay zeros
EPSILON = 1e-6  # under the root of squared norms, and beside cosines: that of the published networks


@_serializable
class LinearConv2D(DynamicLinear):
    """A convolution without bias and activation: linear, with the same weights for every input.

    The image is padded with ``(k - 1) // 2`` zeros on each side, for every stride, as by
    :class:`~keras_coda.layers.DAUConv2D`; this is not Keras' ``"same"`` when strided. Images are channels last.

    Args:
        filters: int, number of output channels.
        kernel_size: int or two, height and width of a patch.
        strides: int or two.
        groups: int, by which channels and filters are divided; a filter sees the channels of its group.
        **kwargs: ``name``, ``dtype``, ``trainable``.

    Input: ``(batch, height, width, channels)``, float. Output: ``(batch, new_height, new_width, filters)`` with
    ``new = (size + 2 * ((k - 1) // 2) - k) // stride + 1``.

    Raises:
        ValueError: for arguments out of range, and numbers of channels or filters that ``groups`` does not divide.

    Example:
        >>> LinearConv2D(8, 3, strides=2)(np.ones((1, 9, 9, 4))).shape
        TensorShape([1, 5, 5, 8])
    """

    def __init__(self, filters, kernel_size, strides=1, groups=1, **kwargs):
        super().__init__(**kwargs)
        self.filters = check_int("filters", filters)
        self.kernel_size = check_pair("kernel_size", kernel_size)
        self.strides = check_pair("strides", strides)
        self.groups = check_int("groups", groups)
        fits = self.filters % self.groups == 0
        require(fits, "`filters` must be a multiple of `groups`", filters=filters, groups=groups)

    @property
    def _units(self) -> int:
        """Number of filters of the kernel."""
        return self.filters

    def build(self, input_shape):
        """Create ``kernel (height, width, channels / groups, filters)``."""
        channels = input_shape[-1]
        fits = channels is not None and channels % self.groups == 0
        rule = "The channels of the input must be known, and a multiple of `groups`"
        require(fits, rule, input_shape=tuple(input_shape), groups=self.groups)
        shape = (*self.kernel_size, channels // self.groups, self._units)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=uniform(math.prod(shape[:-1])))

    def _weights(self, dtype):
        """Return the weights that are applied, of the kernel's shape."""
        return ops.cast(self.kernel, dtype)

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; ``frozen`` is the shape of the input."""
        return self._convolve(inputs, self._weights(inputs.dtype)), ops.shape(inputs)

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`."""
        return self._transposed(cotangents, self._weights(cotangents.dtype), frozen)

    @property
    def windows(self):
        """See :attr:`DynamicLinear.windows`."""
        return ((self.kernel_size, self.strides),)

    def footprint(self, input_shape, output_shape, targets):
        """See :meth:`DynamicLinear.footprint`."""
        inputs, locations = math.prod(input_shape), math.prod(output_shape[:-1])
        spread = locations * math.prod(self.strides) * (input_shape[-1] + self.filters)
        return 2 * locations * self._units, max(2 * inputs, targets * (inputs + spread))

    def _convolve(self, inputs, kernel):
        """Convolve the padded input."""
        self.compute_output_shape(inputs.shape)  # raises if the image is too small
        parts = _by_group(self.groups, inputs, kernel)
        return _concatenated([_convolved(*part, self.strides) for part in parts])

    def _transposed(self, cotangents, kernel, input_shape):
        """Apply the transpose of :meth:`_convolve` to ``(batch, targets, rows, columns, filters)``."""
        batch, targets, *shape = ops.shape(cotangents)
        parts = _by_group(self.groups, ops.reshape(cotangents, (-1, *shape)), kernel)
        images = _concatenated([_transposed(*part, self.strides, input_shape[1:3]) for part in parts])
        return ops.reshape(images, (batch, targets, *input_shape[1:]))

    def compute_output_shape(self, input_shape):
        """Return ``(batch, new_height, new_width, filters)``; raise if the padded image is below a patch."""
        return (input_shape[0], *patches.counts(input_shape, self.kernel_size, self.strides), self.filters)

    def get_config(self):
        """Return the constructor's arguments."""
        names = ("filters", "kernel_size", "strides", "groups")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@_serializable
class BcosConv2D(LinearConv2D):
    """A B-cos transform of every patch of an image: ``|cos(p, w)|^(B-1) · wᵀp`` with weights of norm one.

    The scale is the dynamic part: with it frozen, the layer is a linear convolution. The larger B, the more a patch
    must point in the direction of the weights. There is no bias and no activation.

    Args:
        filters: int, number of output channels.
        kernel_size: int or two, see :class:`LinearConv2D`.
        strides: int or two.
        groups: int; each group of channels has a norm of its own.
        b: float >= 1, the exponent B. 1: a linear convolution with weights of norm one.
        max_out: int, number of weights per channel. The largest ``wᵀp`` of a channel's is scaled and returned.
        **kwargs: ``name``, ``dtype``, ``trainable``.

    Input: ``(batch, height, width, channels)``, float. Output: ``(batch, new_height, new_width, filters)``, see
    :class:`LinearConv2D`.

    Example:
        >>> BcosConv2D(8, 3, max_out=2)(np.ones((1, 9, 9, 4))).shape
        TensorShape([1, 9, 9, 8])

    Reference:
        Böhle, Fritz, Schiele: B-cos Networks, CVPR 2022 (arXiv 2205.10268), equations 3 and 9 (MaxOut); B-cos v2, arXiv
        2306.10898.
    """

    def __init__(self, filters, kernel_size, strides=1, groups=1, b=2.0, max_out=1, **kwargs):
        super().__init__(filters, kernel_size, strides, groups, **kwargs)
        self.b = check_finite("b", b)
        require(self.b >= 1, "`b` must be at least 1", b=b)
        self.max_out = check_int("max_out", max_out)

    @property
    def _units(self):
        return self.filters * self.max_out

    def _weights(self, dtype):
        kernel = ops.cast(self.kernel, "float32")
        norms = ops.sqrt(ops.sum(ops.square(kernel), axis=(0, 1, 2), keepdims=True))
        return ops.cast(kernel / ops.maximum(norms, _TINY), dtype)

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; ``frozen`` is the scale, with 0 for units that are not the largest."""
        responses = self._convolve(inputs, self._weights(inputs.dtype))
        chosen = None
        if self.max_out > 1:
            units = ops.reshape(responses, (*ops.shape(responses)[:-1], self.filters, self.max_out))
            largest = ops.top_k(units, 1)[1][..., 0]  # Keras' argmax does not convert to ONNX and LiteRT
            chosen = ops.one_hot(largest, self.max_out, dtype=units.dtype)
            responses = ops.max(units, axis=-1)
        if self.b == 1:
            scale = ops.ones_like(responses)
        else:  # norms and cosines in float32, also under mixed precision
            cosines = ops.abs(ops.cast(responses, "float32")) / ops.sqrt(self._squared_norms(inputs) + EPSILON)
            scale = cosines if self.b == 2 else ops.power(cosines + EPSILON, self.b - 1)
            scale = ops.cast(scale, inputs.dtype)
        outputs = responses * scale
        if chosen is not None:
            scale = ops.reshape(ops.expand_dims(scale, -1) * chosen, (*ops.shape(scale)[:-1], self._units))
        return outputs, (scale, ops.shape(inputs))

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`."""
        scale, input_shape = frozen
        if self.max_out > 1:
            cotangents = ops.repeat(cotangents, self.max_out, axis=-1)
        return self._transposed(cotangents * ops.expand_dims(scale, 1), self._weights(cotangents.dtype), input_shape)

    def _squared_norms(self, inputs):
        """Return the squared norm of each patch, one for each group, for all its filters: float32."""
        squares = ops.square(ops.cast(inputs, "float32"))
        squares = ops.reshape(squares, (*ops.shape(squares)[:-1], self.groups, squares.shape[-1] // self.groups))
        squares = ops.sum(squares, axis=-1)
        if self.kernel_size == (1, 1):
            squares = squares[:, :: self.strides[0], :: self.strides[1]]
        else:
            padded = _pad(squares, self.kernel_size)
            means = ops.average_pool(padded, self.kernel_size, self.strides, "valid", "channels_last")
            squares = means * math.prod(self.kernel_size)
        return squares if self.groups == 1 else ops.repeat(squares, self.filters // self.groups, axis=-1)

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "b": self.b, "max_out": self.max_out}


def _by_group(groups, images, kernel):
    """Return channels and filters of each group, for one convolution each: on CPUs TensorFlow has none of groups."""
    return zip(ops.split(images, groups, axis=-1), ops.split(kernel, groups, axis=-1), strict=True)


def _concatenated(parts):
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def _pad(images, kernel_size):
    top, left = ((size - 1) // 2 for size in kernel_size)
    return ops.pad(images, ((0, 0), (top, top), (left, left), (0, 0))) if top or left else images


def _convolved(images, kernel, strides):
    """Convolve padded images."""
    size = kernel.shape[:2]
    if strides == (1, 1) and size == (1, 1):
        return ops.matmul(images, kernel[0, 0])
    # A convolution pads by itself only as Keras does, which is the same for odd kernels with stride 1.
    if strides == (1, 1) and size[0] % 2 and size[1] % 2:
        return ops.conv(images, kernel, 1, "same", "channels_last")
    return ops.conv(_pad(images, size), kernel, strides, "valid", "channels_last")


def _transposed(rows, kernel, strides, size):
    """Return the transpose of :func:`_convolved`: ``(batch, *size, channels)``."""
    height, width = kernel.shape[:2]
    if strides == (1, 1) and height % 2 and width % 2:
        return _convolved(rows, ops.flip(ops.transpose(kernel, (0, 1, 3, 2)), (0, 1)), strides)
    if (height, width) == (1, 1):
        images = _spread(ops.matmul(rows, ops.transpose(kernel[0, 0])), strides)
    else:
        # In ONNX strides are not larger than kernels.
        missing = [(0, max(0, stride - side)) for stride, side in zip(strides, (height, width), strict=True)]
        weights = ops.pad(kernel, (*missing, (0, 0), (0, 0))) if any(map(any, missing)) else kernel
        images = ops.conv_transpose(rows, weights, strides, "valid", data_format="channels_last")
    # A stride may leave pixels at the end that no patch has seen.
    margins = [(0, min(pair) - 1) for pair in zip(strides, (height, width), strict=True)]
    images = ops.pad(images, ((0, 0), *margins, (0, 0))) if any(map(any, margins)) else images
    top, left = (height - 1) // 2, (width - 1) // 2
    return images[:, top : top + size[0], left : left + size[1], :]  # the last axis for tf2onnx, see `patches`


def _spread(images, strides):
    """Put the pixels of images at every location that is a multiple of the strides, and zeros elsewhere."""
    batch, rows, columns, channels = ops.shape(images)
    down, right = strides
    images = ops.pad(images, ((0, 0), (0, 0), (0, 0), (0, (right - 1) * channels)))
    images = ops.reshape(images, (batch, rows, columns * right * channels))
    images = ops.pad(images, ((0, 0), (0, 0), (0, (down - 1) * columns * right * channels)))
    return ops.reshape(images, (batch, rows * down, columns * right, channels))
