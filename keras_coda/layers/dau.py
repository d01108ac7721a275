"""Layers of Dynamic Alignment Units, dense and convolutional; see :mod:`keras_coda.layers.dynamic_linear`."""

import math
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_coda.layers import factored, patches
from keras_coda.layers import rescaling as rescalings
from keras_coda.layers.dynamic_linear import DynamicLinear
from keras_coda.layers.initial import uniform
from keras_coda.utils.checks import check_int, check_pair

_serializable = keras.saving.register_keras_serializable("keras_coda")


class FrozenUnits(NamedTuple):
    """The dynamic weights ``s_j Ã_j z`` of a DAU layer, unexpanded."""

    z: Any  # (batch, *locations, R)
    scale: Any  # (batch, *locations, units): the s_j
    input_shape: tuple  # of the layer's input


class _DynamicAlignmentUnits(DynamicLinear):
    """Base of the dense and the convolutional DAU layer; :mod:`keras_coda.layers.factored` does the computations.

    The kernel holds every unit's ``Ã = [A, b]`` as ``(*patch, units, R)``, ``R = rank + 1``. Subclasses supply the
    patches and two transposes.
    """

    def __init__(self, units, rank, rescaling, **kwargs):
        super().__init__(**kwargs)
        self._num_units = units
        self.rank = check_int("rank", rank)
        self.rescaling = rescaling
        self._factor = rescalings.get(rescaling)

    def _patch_shape(self, channels: int) -> tuple[int, ...]:
        raise NotImplementedError

    def _locations(self, input_shape) -> tuple:
        """``(batch, *locations)`` for an input's shape."""
        raise NotImplementedError

    def _patches(self, inputs):
        """All patches of the input: ``(batch, *locations, d)``."""
        raise NotImplementedError

    def _scatter(self, rows, input_shape):
        """The transpose of :meth:`_patches`: ``(rows, *locations, d)`` summed up to ``(rows, *input_dims)``."""
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
            name="projection", shape=(*patch, self.rank), initializer=uniform(math.prod(patch))
        )
        self.kernel = self.add_weight(
            name="kernel", shape=(*patch, self._num_units, self.rank + 1), initializer=uniform(self.rank)
        )

    def _matrices(self, dtype):
        """``B`` as (d, r) and all ``Ã`` as (d, units, R)."""
        projection = ops.reshape(ops.cast(self.projection, dtype), (-1, self.rank))
        return projection, ops.reshape(ops.cast(self.kernel, dtype), (-1, self._num_units, self.rank + 1))

    def gram(self) -> factored.Gram | None:
        """Return the Gram matrices of the weights in float32, see :func:`keras_coda.layers.factored.gram_matrices`."""
        return factored.gram_matrices(self._matrices("float32")[1])

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; ``frozen`` is a :class:`FrozenUnits`."""
        projection, kernel = self._matrices(inputs.dtype)
        d = kernel.shape[0]
        input_shape = ops.shape(inputs)
        locations = self._locations(input_shape)

        def extract(x):
            return ops.reshape(self._patches(x), (-1, d))

        def scatter(rows):
            return self._scatter(ops.reshape(rows, (*locations, d)), input_shape)

        z, responses = factored.responses(inputs, projection, kernel, extract, scatter)
        scale = self._factor(
            factored.squared_norms(z, kernel, factored.gram_of(self, kernel))
        )  # float32 also under mixed precision
        outputs = ops.cast(scale * ops.cast(responses, scale.dtype), inputs.dtype)
        z, scale, outputs = (ops.reshape(rows, (*locations, rows.shape[-1])) for rows in (z, scale, outputs))
        return outputs, FrozenUnits(z, scale, input_shape)

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`: ``x̄ = Σ_j ȳ_j s_j Ã_j z``."""
        z, scale, input_shape = frozen
        _, kernel = self._matrices(cotangents.dtype)
        d, units, R = kernel.shape
        weights = cotangents * ops.expand_dims(scale, 1)  # (batch, targets, *locations, units)
        batch, targets, *locations = ops.shape(cotangents)[:-1]
        if isinstance(targets, int) and targets == 1:
            # (ȳ_j s_j) ⊗ z, then one transposed application of Ã.
            rows = ops.expand_dims(weights, -1) * ops.expand_dims(ops.expand_dims(z, 1), -2)
            rows = ops.reshape(rows, (batch * targets, *locations, units * R))
            rows = ops.matmul(rows, ops.transpose(ops.reshape(kernel, (d, units * R))))
        else:
            # Several targets: build Ã_j z once, d·f·R operations per location, and each target costs d·f only.
            expanded = ops.matmul(
                ops.reshape(z, (-1, R)), ops.reshape(ops.transpose(kernel, (2, 1, 0)), (R, units * d))
            )
            expanded = ops.reshape(expanded, (-1, units, d))
            weights = ops.reshape(ops.moveaxis(weights, 1, -2), (-1, targets, units))
            rows = ops.reshape(ops.matmul(weights, expanded), (batch, *locations, targets, d))
            rows = ops.reshape(ops.moveaxis(rows, -2, 1), (batch * targets, *locations, d))
        return ops.reshape(self._scatter(rows, input_shape), (batch, targets, *input_shape[1:]))

    def footprint(self, input_shape, output_shape, targets):
        """See :meth:`DynamicLinear.footprint`."""
        N, d = math.prod(output_shape[:-1]), math.prod(self._patch_shape(input_shape[-1]))
        f, R = self._num_units, self.rank + 1
        forward = N * (2 * d + 2 * f * R)  # taps and patches; two products with z before they are contracted
        backward = N * f * (2 * R if targets == 1 else d) + targets * N * (3 * d + 4 * f)
        return N * (2 * f + R), max(forward, backward)

    def get_config(self):
        """Return the constructor's arguments but the number of units, which subclasses name."""
        return {**super().get_config(), "rank": self.rank, "rescaling": self.rescaling}


@_serializable
class DAUDense(_DynamicAlignmentUnits):
    """Dynamic Alignment Units on the last axis: ``y_j = g(A_j B x + b_j)ᵀ x``.

    Args:
        units: int, number of units.
        rank: int, rows of the shared projection ``B``.
        rescaling: ``"squash"`` (default) or ``"l2"``, see :mod:`keras_coda.layers.rescaling`.
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

    def _patches(self, inputs):
        return inputs

    def _scatter(self, rows, input_shape):
        return rows

    def _locations(self, input_shape):
        return input_shape[:-1]

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
        rescaling: ``"squash"`` (default) or ``"l2"``, see :mod:`keras_coda.layers.rescaling`.
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

    @property
    def windows(self):
        """See :attr:`DynamicLinear.windows`."""
        return ((self.kernel_size, self.strides),)

    def footprint(self, input_shape, output_shape, targets):
        """See :meth:`DynamicLinear.footprint`."""
        kept, passing = super().footprint(input_shape, output_shape, targets)
        # The images into which patches are added up; strides may make them much larger than the input.
        return kept, passing + targets * math.prod(output_shape[:-1]) * math.prod(self.strides) * input_shape[-1]

    def _patch_shape(self, channels):
        return (*self.kernel_size, channels)

    def _locations(self, input_shape):
        sizes = zip(input_shape[1:3], self.kernel_size, self.strides, strict=True)
        return (input_shape[0], *(patches.count(*size) for size in sizes))

    def _patches(self, inputs):
        self.compute_output_shape(inputs.shape)  # raises if the image is too small
        return patches.extract(inputs, self.kernel_size, self.strides)

    def _scatter(self, rows, input_shape):
        return patches.scatter(rows, self.kernel_size, self.strides, input_shape)

    def compute_output_shape(self, input_shape):
        """Return ``(batch, new_height, new_width, filters)``; raise if the padded image is below a patch."""
        return (input_shape[0], *patches.counts(input_shape, self.kernel_size, self.strides), self.filters)

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
        }
