"""The protocol of layers that compute ``y = W(x) x`` and can return ``W(x)``, and containers that implement it."""

import itertools
import math
from typing import Any

import keras
from keras import ops

# Kernel size and strides (height, width) of a layer whose input is padded with ``(k - 1) // 2`` zeros on each side.
Window = tuple[tuple[int, int], tuple[int, int]]

_serializable = keras.saving.register_keras_serializable("keras_coda")


class DynamicLinear(keras.layers.Layer):
    """A layer that is linear in its input once its input-dependent weights are frozen: ``y = W(x) x``.

    Subclasses implement :meth:`linearize` and :meth:`pullback` with ``keras.ops``; ``call`` follows from them.
    There is no explanation mode: code that needs the frozen weights calls :meth:`linearize`. Both methods must work
    on any float dtype of ``x`` (explanations run in float32 whatever the training policy).

    Attributes:
        offset: A constant that ``call`` adds to ``W(x) x``: a float, the same everywhere, or a tensor that is broadcast
            to ``output_dims``. Explanations report what it adds to a logit beside the map: the last layer's, which must
            be a float, as the bias, and those of inner layers as offsets.

    Reference:
        Böhle, Fritz, Schiele: Convolutional Dynamic Alignment Networks, CVPR 2021, section 3.
    """

    offset: Any = 0.0

    def linearize(self, inputs) -> tuple[Any, Any]:
        """Compute the output, and return the weights that were applied.

        Args:
            inputs: float tensor ``(batch, *input_dims)``.

        Returns:
            ``(outputs, frozen)``: outputs ``(batch, *output_dims)``; ``frozen`` is any nest of tensors from which
            :meth:`pullback` knows ``W(x)``.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `linearize(inputs)`.")

    def pullback(self, frozen, cotangents):
        """Apply the transposed frozen map ``W(x)ᵀ`` to any number of targets at once.

        Args:
            frozen: what :meth:`linearize` returned.
            cotangents: float tensor ``(batch, targets, *output_dims)``.

        Returns:
            Float tensor ``(batch, targets, *input_dims)``.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `pullback(frozen, cotangents)`.")

    def call(self, inputs):
        """Return ``linearize(inputs)[0]``."""
        return self.linearize(inputs)[0]

    @property
    def has_offset(self) -> bool:
        """Whether the layer adds a constant."""
        return not isinstance(self.offset, (int, float)) or self.offset != 0

    def offset_share(self, frozen, cotangents):
        """Return what the constant of the layer adds to each target.

        Args:
            frozen: what :meth:`linearize` returned.
            cotangents: as for :meth:`pullback`.

        Returns:
            Float tensor ``(batch, targets)``.
        """
        added = cotangents * ops.cast(self.offset, cotangents.dtype)
        return ops.sum(added, axis=tuple(range(2, len(cotangents.shape))))

    @property
    def windows(self) -> tuple[Window, ...] | None:
        """How the layer looks at images, so that large ones can be explained in tiles; optional.

        A tuple of ``(kernel_size, strides)`` of windows applied in turn, whose output locations each depend on nothing
        but their window; ``(((1, 1), (1, 1)),)`` for a layer that treats all locations alike and alone. None: unknown.
        """
        return None

    def footprint(self, input_shape, output_shape, targets: int) -> tuple[int, int]:
        """Return about how many floats the layer needs, from which explanations choose how much to do at a time.

        Args:
            input_shape: ``(batch, *input_dims)``, all known.
            output_shape: ``(batch, *output_dims)``.
            targets: int, the number of targets of :meth:`pullback`.

        Returns:
            ``(kept, passing)``: floats of the output and of the frozen weights, and how many more there are at most at
            the same time while the layer computes, either way.
        """
        outputs = math.prod(output_shape)
        return outputs, targets * (math.prod(input_shape) + outputs)


def linearize_chain(layers, inputs) -> tuple[Any, list]:
    """Linearize layers one after the other; return the last output and every layer's frozen weights."""
    frozen = []
    for layer in layers:
        inputs, weights = layer.linearize(inputs)
        frozen.append(weights)
    return inputs, frozen


def pullback_chain(layers, frozen, cotangents):
    """Pull cotangents ``(batch, targets, *output_dims)`` back through layers that :func:`linearize_chain` froze."""
    for layer, weights in zip(reversed(layers), reversed(frozen), strict=True):
        cotangents = layer.pullback(weights, cotangents)
    return cotangents


class _Container(DynamicLinear):
    """A dynamic-linear layer made of others, applied in turn."""

    def __init__(self, layers, **kwargs):
        super().__init__(**kwargs)
        self.layers = list(layers)
        wrong = [layer for layer in self.layers if not isinstance(layer, DynamicLinear) or layer.has_offset]
        if wrong or not self.layers:
            raise ValueError(
                f"`layers` must be one or more DynamicLinear layers without `offset`. Received: {wrong or layers}"
            )

    def build(self, input_shape):
        """Build the layers in turn."""
        for layer in self.layers:
            if not layer.built:  # deserialized layers are
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def get_config(self):
        """Return the constructor's arguments."""
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        return {**super().get_config(), "layers": layers}

    @property
    def windows(self):
        """See :attr:`DynamicLinear.windows`: those of all layers in turn."""
        windows = [layer.windows for layer in self.layers]
        return None if None in windows else tuple(itertools.chain(*windows))

    def footprint(self, input_shape, output_shape, targets):
        """See :meth:`DynamicLinear.footprint`."""
        kept, passing = 0, 0
        for layer in self.layers:
            after = layer.compute_output_shape(input_shape)
            own = layer.footprint(input_shape, after, targets)
            kept, passing, input_shape = kept + own[0], max(passing, own[1]), after
        return kept, passing

    @classmethod
    def from_config(cls, config):
        """Rebuild the container and its layers."""
        layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})


@_serializable
class Chain(_Container):
    """Dynamic-linear layers one after the other, as one: ``W(x) = W_n … W_1``.

    Args:
        layers: list of :class:`DynamicLinear` layers.
        **kwargs: ``name``, ``dtype``.
    """

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`."""
        return linearize_chain(self.layers, inputs)

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`."""
        return pullback_chain(self.layers, frozen, cotangents)

    def compute_output_shape(self, input_shape):
        """Return the last layer's output shape."""
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape


@_serializable
class ResidualSum(_Container):
    """The sum of the input and the output of a chain of layers: ``W(x) = I + W_n … W_1``.

    Args:
        layers: list of :class:`DynamicLinear` layers that keep the shape.
        **kwargs: ``name``, ``dtype``.
    """

    def build(self, input_shape):
        """Build the layers; raise ``ValueError`` if they do not keep the shape."""
        super().build(input_shape)
        shape = input_shape
        for layer in self.layers:
            shape = layer.compute_output_shape(shape)
        if tuple(shape) != tuple(input_shape):
            raise ValueError(
                "The layers of a ResidualSum must keep the shape of their input. "
                f"Received: input_shape={tuple(input_shape)}, output shape {tuple(shape)}"
            )

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`."""
        outputs, frozen = linearize_chain(self.layers, inputs)
        return ops.add(inputs, outputs), frozen

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`."""
        return ops.add(cotangents, pullback_chain(self.layers, frozen, cotangents))

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape
