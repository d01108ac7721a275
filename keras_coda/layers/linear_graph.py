"""Dynamic-linear layers in branches that are joined by sums and concatenations, as one layer."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_coda.layers.dynamic_linear import DynamicLinear, Window
from keras_coda.utils.checks import require

_serializable = keras.saving.register_keras_serializable("keras_coda")
ADD, CONCATENATE = "add", "concatenate"


@_serializable
class LinearGraph(DynamicLinear):
    """Dynamic-linear layers in branches, joined by sums and concatenations: itself dynamic-linear.

    Both joins are linear: a sum hands its cotangent on to every branch, and a concatenation hands on its parts. Where a
    tensor goes into several branches, what they pull back is added up. :class:`~keras_coda.ExplainableClassifier` makes
    such layers of the branches that it finds in a functional model.

    Args:
        layers: list of :class:`DynamicLinear` layers.
        steps: list of pairs ``(operation, inputs)``. An operation is the index of a layer, ``"add"``, or
            ``"concatenate"`` along the last axis. Inputs are a list of numbers: 0 is the input of this layer, and n the
            output of step n, counted from 1. The last step gives the output.
        **kwargs: ``name``, ``dtype``.

    Raises:
        ValueError: if a step needs something that comes later, or a layer has not one input.

    Example:
        >>> branch = keras_coda.DAUDense(4, rank=2)
        >>> layer = LinearGraph([branch], [(0, [0]), ("concatenate", [0, 1])])
        >>> layer(np.ones((3, 8))).shape
        TensorShape([3, 12])
    """

    def __init__(self, layers: Sequence[DynamicLinear], steps: Sequence[tuple[int | str, Sequence[int]]], **kwargs):
        super().__init__(**kwargs)
        self.layers = list(layers)
        wrong = [layer for layer in self.layers if not isinstance(layer, DynamicLinear)]
        require(not wrong, "`layers` must be DynamicLinear layers", layers=wrong)
        self.steps = tuple((operation, tuple(inputs)) for operation, inputs in steps)
        for number, (operation, inputs) in enumerate(self.steps):
            is_join = operation in (ADD, CONCATENATE)
            is_known = is_join or (isinstance(operation, int) and 0 <= operation < len(self.layers))
            is_fed = (bool(inputs) if is_join else len(inputs) == 1) and all(0 <= i <= number for i in inputs)
            rule = "A step is (index of a layer, 'add' or 'concatenate'; numbers of earlier values, one for a layer)"
            require(is_known and is_fed, rule, step=(operation, inputs), number=number + 1)
        require(self.steps, "`steps` must have one step or more", steps=steps)

    def build(self, input_shape):
        """Build the layers, each for the shape of what it is applied to first."""
        shapes = [tuple(input_shape)]
        for operation, inputs in self.steps:
            if isinstance(operation, int) and not self.layers[operation].built:  # deserialized layers are
                self.layers[operation].build(shapes[inputs[0]])
            shapes.append(self._shape(operation, [shapes[i] for i in inputs]))

    def linearize(self, inputs):
        """See :meth:`DynamicLinear.linearize`; ``frozen`` has one entry for each step."""
        values, frozen = [inputs], []
        for operation, sources in self.steps:
            found = [values[i] for i in sources]
            if isinstance(operation, int):
                value, weights = self.layers[operation].linearize(found[0])
            else:
                value = sum(found[1:], found[0]) if operation == ADD else ops.concatenate(found, axis=-1)
                weights = tuple(each.shape[-1] for each in found)
            values.append(value)
            frozen.append(weights)
        return values[-1], tuple(frozen)

    def pullback(self, frozen, cotangents):
        """See :meth:`DynamicLinear.pullback`."""
        return self._pull(frozen, cotangents)[0]

    @property
    def has_offset(self):
        """Whether one of the layers adds a constant."""
        return any(layer.has_offset for layer in self.layers)

    def offset_share(self, frozen, cotangents):
        """See :meth:`DynamicLinear.offset_share`: the sum over all layers."""
        return self._pull(frozen, cotangents)[1]

    def _pull(self, frozen, cotangents):
        """Return what :meth:`pullback` and what :meth:`offset_share` returns."""
        share = ops.zeros(ops.shape(cotangents)[:2], cotangents.dtype)
        pulled = [None] * len(self.steps) + [cotangents]
        for number in range(len(self.steps), 0, -1):
            (operation, sources), weights = self.steps[number - 1], frozen[number - 1]
            arrived, pulled[number] = pulled[number], None
            if arrived is None:  # nothing depends on this step
                continue
            if isinstance(operation, int):
                layer = self.layers[operation]
                share = share + layer.offset_share(weights, arrived) if layer.has_offset else share
                parts = [layer.pullback(weights, arrived)]
            elif operation == ADD:
                parts = [arrived] * len(sources)
            else:
                ends = [sum(weights[: i + 1]) for i in range(len(weights) - 1)]
                parts = ops.split(arrived, ends, axis=-1) if ends else [arrived]
            for source, part in zip(sources, parts, strict=True):
                before = pulled[source]
                pulled[source] = part if before is None else before + part
        require(pulled[0] is not None, "The output must depend on the input", steps=self.steps)
        return pulled[0], share

    @property
    def windows(self):
        """See :attr:`DynamicLinear.windows`: those of the branch whose windows contain the windows of all others."""
        values: list[tuple[Window, ...] | None] = [()]
        for operation, sources in self.steps:
            found = [values[i] for i in sources]
            if isinstance(operation, int):
                own = self.layers[operation].windows
                values.append(None if own is None or found[0] is None else (*found[0], *own))
            else:
                values.append(_largest(found))
        return values[-1]

    def footprint(self, input_shape, output_shape, targets):
        """See :meth:`DynamicLinear.footprint`."""
        shapes, kept, passing = [tuple(input_shape)], 0, 0
        for operation, sources in self.steps:
            found = [shapes[i] for i in sources]
            shapes.append(self._shape(operation, found))
            if isinstance(operation, int):
                own = self.layers[operation].footprint(found[0], shapes[-1], targets)
                kept, passing = kept + own[0], max(passing, own[1])
            else:
                kept += math.prod(shapes[-1])
        # Cotangents that wait for another branch; all would be too many, since each is freed when it has been used.
        return kept, passing + targets * max(math.prod(shape) for shape in shapes)

    def compute_output_shape(self, input_shape):
        """Return the shape of the last step's output."""
        shapes = [tuple(input_shape)]
        for operation, sources in self.steps:
            shapes.append(self._shape(operation, [shapes[i] for i in sources]))
        return shapes[-1]

    def _shape(self, operation, shapes):
        if isinstance(operation, int):
            return tuple(self.layers[operation].compute_output_shape(shapes[0]))
        if operation == CONCATENATE:
            return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
        require(len({shape[1:] for shape in shapes}) == 1, "Only tensors of one shape are added up", shapes=shapes)
        return shapes[0]

    def get_config(self):
        """Return the constructor's arguments."""
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        steps = [[operation, list(inputs)] for operation, inputs in self.steps]
        return {**super().get_config(), "layers": layers, "steps": steps}

    @classmethod
    def from_config(cls, config):
        """Rebuild the layer and those inside it."""
        layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})


def _largest(branches) -> tuple[Window, ...] | None:
    """Return the windows of the branch that contains those of all others; None if there is no such branch."""
    if None in branches:
        return None
    reaches = [_reach(windows) for windows in branches]
    if len({strides for strides, _ in reaches}) > 1:
        return None
    for windows, (_, reach) in zip(branches, reaches, strict=True):
        if all(mine >= theirs for _, other in reaches for mine, theirs in zip(reach, other, strict=True)):
            return windows
    return None


def _reach(windows):
    """Return the strides of windows applied in turn, and how far they reach: up, down, left and right."""
    strides, reach = [1, 1], []
    for axis in range(2):
        before = after = 0
        for sizes, steps in windows:
            margin = (sizes[axis] - 1) // 2
            before += strides[axis] * margin
            after += strides[axis] * (sizes[axis] - 1 - margin)
            strides[axis] *= steps[axis]
        reach += [before, after]
    return tuple(strides), reach
