"""The layers of a CoDA-Net; all but the encoding keep the protocol of :mod:`keras_coda.dynamic_linear`."""

import math
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_coda import rescaling as rescalings
from keras_coda.dynamic_linear import DynamicLinear
from keras_coda.validation import check_finite, check_int, check_pair

_serializable = keras.saving.register_keras_serializable("keras_coda")


class FrozenUnits(NamedTuple):
    """The dynamic weights ``s_j Ã_j z`` of a DAU layer, unexpanded."""

    z: Any  # (batch, *locations, R)
    scale: Any  # (batch, *locations, units): the s_j
    input_shape: tuple  # of the layer's input


class _DynamicAlignmentUnits(DynamicLinear):
    """What dense and convolutional DAU layers share: the factored evaluation.

    With ``z = [B x ; 1]`` and ``Ã_j = [A_j, b_j]``, unit j has the unscaled weight ``v_j = Ã_j z`` and answers
    ``s_j v_jᵀ x = s_j zᵀ(Ã_jᵀ x)``, where ``s_j`` is a factor of ``‖v_j‖² = zᵀ(Ã_jᵀ Ã_j) z``. Neither needs ``v_j``.

    The kernel holds every unit's ``Ã`` as ``(*patch, units, R)``; subclasses supply the linear map that applies a
    kernel to all patches of the input and its transpose.
    """

    def __init__(self, units, rank, rescaling, **kwargs):
        super().__init__(**kwargs)
        self._num_units = units
        self.rank = check_int("rank", rank)
        self.rescaling = rescaling
        self._factor = rescalings.get(rescaling)

    def _patch_shape(self, channels: int) -> tuple[int, ...]:
        raise NotImplementedError

    def _apply(self, inputs, kernel):
        """Kernel ``(*patch, n)`` on every patch: ``(batch, *locations, n)``."""
        raise NotImplementedError

    def _apply_transposed(self, outputs, kernel, input_shape):
        """The transpose of :meth:`_apply` on ``(n_rows, *locations, n)``: ``(n_rows, *input_dims)``."""
        raise NotImplementedError

    def build(self, input_shape):
        """Create ``projection`` (B) and ``kernel`` ([A, b] of every unit) for the input's channels."""
        if input_shape[-1] is None:
            raise ValueError(
                f"{type(self).__name__} needs the last dimension of its input to be defined. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        patch = self._patch_shape(input_shape[-1])
        # Uniform within ±1/√(inputs of the product), for B over a patch and for A and b over the rank.
        self.projection = self.add_weight(
            name="projection", shape=(*patch, self.rank), initializer=_uniform(math.prod(patch))
        )
        self.kernel = self.add_weight(
            name="kernel", shape=(*patch, self._num_units, self.rank + 1), initializer=_uniform(self.rank)
        )

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; ``frozen`` is a :class:`FrozenUnits`."""
        units, R = self._num_units, self.rank + 1
        kernel = ops.cast(self.kernel, inputs.dtype)
        z = self._apply(inputs, ops.cast(self.projection, inputs.dtype))  # B x: (batch, *locations, rank)
        z = ops.concatenate([z, ops.ones_like(z[..., :1])], axis=-1)
        locations = ops.shape(z)[:-1]
        flat = (*kernel.shape[:-2], units * R)
        answers = self._apply(inputs, ops.reshape(kernel, flat))  # Ã_jᵀ x: (batch, *locations, units·R)
        answers = ops.reshape(answers, (*locations, units, R))
        # Sums of products in float32 also under mixed precision: the norm decides the scale of everything after.
        wide = keras.backend.result_type(inputs.dtype, "float32")
        z_wide = ops.cast(z, wide)
        squared_norm = _squared_norm(ops.cast(ops.reshape(kernel, (-1, units, R)), wide), z_wide)
        scale = self._factor(squared_norm)
        outputs = scale * ops.einsum("...ur,...r->...u", ops.cast(answers, wide), z_wide)
        return ops.cast(outputs, inputs.dtype), FrozenUnits(z, scale, ops.shape(inputs))

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`: ``x̄ = Σ_j ȳ_j s_j Ã_j z``, one transposed application."""
        z, scale, input_shape = frozen
        kernel = ops.cast(self.kernel, cotangents.dtype)
        flat = (*kernel.shape[:-2], kernel.shape[-2] * kernel.shape[-1])
        weights = cotangents * ops.expand_dims(scale, 1)  # (batch, targets, *locations, units)
        outer = ops.expand_dims(weights, -1) * ops.expand_dims(ops.expand_dims(z, 1), -2)
        batch, targets, *locations = ops.shape(cotangents)[:-1]
        outer = ops.reshape(outer, (batch * targets, *locations, flat[-1]))
        rows = self._apply_transposed(outer, ops.reshape(kernel, flat), input_shape)
        return ops.reshape(rows, (batch, targets, *input_shape[1:]))

    def get_config(self):
        """Return the constructor's arguments but the number of units, which subclasses name."""
        return {**super().get_config(), "rank": self.rank, "rescaling": self.rescaling}


def _squared_norm(kernel, z):
    """``‖Ã_j z‖²`` for kernel ``(d, units, R)`` and ``z (..., R)``: ``(..., units)``."""
    d, units, R = kernel.shape
    locations = ops.shape(z)[:-1]
    if d <= R:  # the Gram matrix would be larger than Ã, and singular: cancellation would make the norm inexact
        flat = ops.reshape(ops.transpose(kernel, (2, 1, 0)), (R, units * d))
        v = ops.reshape(ops.matmul(z, flat), (*locations, units, d))
        return ops.sum(ops.square(v), axis=-1)
    gram = ops.einsum("dur,dus->rus", kernel, kernel)  # Ã_jᵀ Ã_j
    gram_z = ops.reshape(ops.matmul(z, ops.reshape(gram, (R, units * R))), (*locations, units, R))
    squared_norm = ops.einsum("...ur,...r->...u", gram_z, z)
    # What the terms of zᵀ G z amount to without their signs, up to orthogonality: a norm far below that is rounding
    # error, of either sign, and 1/n would blow it up.
    magnitude = ops.matmul(ops.square(z), ops.transpose(ops.sum(ops.square(kernel), axis=0)))
    return ops.maximum(squared_norm, 8 * _rounding(z.dtype) * magnitude)


def _rounding(dtype) -> float:
    """The distance of one to the next float, for float32 and float64."""
    return 2.0**-52 if keras.backend.standardize_dtype(dtype) == "float64" else 2.0**-23


def _uniform(inputs: int) -> keras.initializers.Initializer:
    return keras.initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5)


@_serializable
class DAUDense(_DynamicAlignmentUnits):
    """Dynamic Alignment Units on the last axis: ``y_j = g(A_j B x + b_j)ᵀ x``.

    Args:
        units: int, number of units.
        rank: int, rows of the shared projection ``B``.
        rescaling: ``"squash"`` (default) or ``"l2"``, see :mod:`keras_coda.rescaling`.
        **kwargs: ``name``, ``dtype``, ``trainable``.

    Input: ``(batch, ..., d)``, float. Output: ``(batch, ..., units)``.

    Example:
        >>> layer = DAUDense(4, rank=2)
        >>> layer(np.ones((3, 8))).shape
        TensorShape([3, 4])

    Reference:
        CVPR 2021, equation 1.
    """

    def __init__(self, units, rank, rescaling="squash", **kwargs):
        super().__init__(check_int("units", units), rank, rescaling, **kwargs)
        self.units = self._num_units

    def _patch_shape(self, channels):
        return (channels,)

    def _apply(self, inputs, kernel):
        return ops.matmul(inputs, kernel)

    def _apply_transposed(self, outputs, kernel, input_shape):
        return ops.matmul(outputs, ops.transpose(kernel))

    def compute_output_shape(self, input_shape):
        """Return ``(batch, ..., units)``."""
        return (*input_shape[:-1], self.units)

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}


@_serializable
class DAUConv2D(_DynamicAlignmentUnits):
    """Dynamic Alignment Units on every patch of an image: ``y_j = g(A_j B x + b_j)ᵀ x``.

    The image is padded with ``(k - 1) // 2`` zeros on each side, for every stride: the paper's padding, which is
    not Keras' ``"same"`` when strided. Images are channels last.

    Args:
        filters: int, number of units.
        kernel_size: int or two, height and width of the patch.
        rank: int, rows of the shared projection ``B``.
        strides: int or two.
        rescaling: ``"squash"`` (default) or ``"l2"``, see :mod:`keras_coda.rescaling`.
        **kwargs: ``name``, ``dtype``, ``trainable``.

    Input: ``(batch, height, width, channels)``, float. Output: ``(batch, new_height, new_width, filters)`` with
    ``new = (size + 2 * ((k - 1) // 2) - k) // stride + 1``.

    Example:
        >>> layer = DAUConv2D(16, kernel_size=3, rank=8, strides=2)
        >>> layer(np.ones((1, 9, 9, 6))).shape
        TensorShape([1, 5, 5, 16])

    Reference:
        CVPR 2021, equation 1 and section 3.3.
    """

    def __init__(self, filters, kernel_size, rank, strides=1, rescaling="squash", **kwargs):
        super().__init__(check_int("filters", filters), rank, rescaling, **kwargs)
        self.filters = self._num_units
        self.kernel_size = check_pair("kernel_size", kernel_size)
        self.strides = check_pair("strides", strides)
        self.padding = tuple((size - 1) // 2 for size in self.kernel_size)

    def _patch_shape(self, channels):
        return (*self.kernel_size, channels)

    def _apply(self, inputs, kernel):
        self.compute_output_shape(inputs.shape)  # raises if the image is too small, which a convolution may not
        top, left = self.padding
        padded = ops.pad(inputs, ((0, 0), (top, top), (left, left), (0, 0)))
        return ops.conv(padded, kernel, self.strides, "valid", data_format="channels_last")

    def _apply_transposed(self, outputs, kernel, input_shape):
        # The transposed convolution ends with the last patch; a stride may leave up to stride - 1 rows after it
        # that no patch has seen. Zeros there, then the padding cut off, give the input's size.
        padded = ops.conv_transpose(outputs, kernel, self.strides, "valid", data_format="channels_last")
        unseen = tuple((0, stride - 1) for stride in self.strides)
        padded = ops.pad(padded, ((0, 0), *unseen, (0, 0)))
        (top, left), (_, height, width, _) = self.padding, input_shape
        return padded[:, top : top + height, left : left + width, :]

    def compute_output_shape(self, input_shape):
        """Return ``(batch, new_height, new_width, filters)``; raise if the padded image is below a patch."""
        spatial = []
        for axis in (0, 1):
            size, kernel = input_shape[1 + axis], self.kernel_size[axis]
            if size is None:
                spatial.append(None)
                continue
            rest = size + 2 * self.padding[axis] - kernel
            if rest < 0:
                raise ValueError(
                    f"The padded input must be at least as large as `kernel_size`. Received: "
                    f"kernel_size={self.kernel_size}, input_shape={tuple(input_shape)}. "
                    "Use larger images, a smaller kernel or fewer strides before this layer."
                )
            spatial.append(rest // self.strides[axis] + 1)
        return (input_shape[0], *spatial, self.filters)

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
        }


@_serializable
class AddInverse(keras.layers.Layer):
    """Encode an image ``x`` as ``[x, 1 - x]`` along channels, so that dark pixels can carry evidence too.

    Input: ``(batch, ..., c)``, float in [0, 1]. Output: ``(batch, ..., 2c)``. This is the encoding in front of the
    network; contributions are those of the encoded image.

    Reference:
        CVPR 2021, section 3.3.
    """

    def call(self, inputs):
        """Return ``[inputs, 1 - inputs]``."""
        return ops.concatenate([inputs, 1.0 - inputs], axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the input's shape with twice the channels."""
        channels = input_shape[-1]
        return (*input_shape[:-1], None if channels is None else 2 * channels)


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
        self.temperature = check_finite("temperature", temperature)
        if self.temperature <= 0:
            raise ValueError(f"`temperature` must be positive. Received: temperature={temperature!r}")
        self.logit_bias = self.offset = check_finite("logit_bias", logit_bias)

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
