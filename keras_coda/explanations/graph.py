"""The graph of a functional model: its operations in order, and the tensors that everything passes through."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import keras

from keras_coda.layers.dynamic_linear import DynamicLinear
from keras_coda.layers.linear_graph import ADD, CONCATENATE, LinearGraph

# A tensor of a nested model belongs to one call of that model: the calls that lead to it, and the tensor itself.
_Calls = tuple[tuple[Any, int], ...]
# What to take in place of layers that are not dynamic-linear.
_NEAREST = {
    "Conv2D": "keras_coda.LinearConv2D or BcosConv2D",
    "DepthwiseConv2D": "keras_coda.LinearConv2D with `groups`",
    "Dense": "keras_coda.DAUDense",
    "BatchNormalization": "keras_coda.UncenteredBatchNormalization",
    "LayerNormalization": "keras_coda.UncenteredBatchNormalization",
    "AveragePooling2D": "keras_coda.AveragePooling2D",
    "MaxPooling2D": "keras_coda.AveragePooling2D",
    "GlobalAveragePooling2D": "keras_coda.GlobalAveragePooling2D",
    "GlobalMaxPooling2D": "keras_coda.GlobalAveragePooling2D",
    "Rescaling": "keras_coda.LogitScaling",
    **dict.fromkeys(("ReLU", "LeakyReLU", "PReLU", "ELU", "Activation", "Softmax", "Relu"), "no activation at all"),
    **dict.fromkeys(("Add", "Concatenate"), "Add of tensors of one shape, or Concatenate along the channels"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        tensor: the symbolic tensor.
        calls: the calls of nested models that lead to it, from the outermost on.
        operation: the layer or operation whose output it is.
        inputs: the values it is computed from.
    """

    tensor: Any
    calls: _Calls
    operation: Any
    inputs: tuple["Value", ...]

    @property
    def name(self) -> str:
        """The name of the operation."""
        return self.operation.name

    @property
    def join(self) -> str | None:
        """How the inputs are joined, if this is a linear join."""
        kind, shapes = type(self.operation).__name__, [tuple(value.tensor.shape) for value in self.inputs]
        if kind == "Add" and len(shapes) > 1 and len(set(shapes)) == 1:
            return ADD
        axis = getattr(self.operation, "axis", None)
        return CONCATENATE if kind == "Concatenate" and axis in (-1, len(shapes[0]) - 1) else None

    @property
    def is_cast(self) -> bool:
        """Whether it only has another dtype; older Keras puts such operations between layers of different policies."""
        return type(self.operation).__name__ == "Cast"

    @property
    def is_linear(self) -> bool:
        """Whether it depends linearly on its inputs once dynamic weights are frozen, up to a declared ``offset``."""
        is_layer = isinstance(self.operation, DynamicLinear) and len(self.inputs) == 1
        return is_layer or self.is_cast or self.join is not None

    @property
    def nearest(self) -> str:
        """What would be dynamic-linear in place of the operation, as a sentence; empty if unknown."""
        found = _NEAREST.get(type(self.operation).__name__)
        return f"Use {found} in its place" if found else ""


def values(model: keras.Model) -> list[Value]:
    """Return the values that the output of a model depends on, in the order in which they are computed.

    Models inside the model that contain ``DynamicLinear`` layers are taken apart; others are single operations.

    Args:
        model: a functional or sequential model with one input and one output.
    """
    found: dict[tuple[_Calls, int], Value] = {}
    order: list[Value] = []
    waiting: list[tuple[Any, _Calls]] = [(model.outputs[0], ())]
    while waiting:
        tensor, calls = waiting[-1]
        key = (calls, id(tensor))
        if key in found:
            waiting.pop()
            continue
        operation, number, index = tensor._keras_history  # noqa: SLF001
        before = [(each, calls) for each in operation._inbound_nodes[number].input_tensors]  # noqa: SLF001
        is_nested = _is_taken_apart(operation)
        if is_nested:
            before = [(operation.outputs[index], (*calls, (operation, number)))]
        elif not before and calls:  # an input of a nested model
            before = [(_outer(tensor, calls), calls[:-1])]
        missing = [each for each in before if (each[1], id(each[0])) not in found]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        inputs = tuple(found[of_calls, id(each)] for each, of_calls in before)
        if is_nested or (inputs and isinstance(operation, keras.layers.InputLayer)):
            found[key] = inputs[0]
            continue
        found[key] = Value(tensor, calls, operation, inputs)
        order.append(found[key])
    return order


def _is_taken_apart(operation) -> bool:
    if not isinstance(operation, keras.Model) or not getattr(operation, "inputs", None):
        return False
    return any(isinstance(layer, DynamicLinear) or _is_taken_apart(layer) for layer in operation.layers)


def _outer(tensor, calls):
    """Return the tensor that a nested model was called with for an input of its own."""
    model, number = calls[-1]
    names = [id(each) for each in model.inputs]
    return model._inbound_nodes[number].input_tensors[names.index(id(tensor))]  # noqa: SLF001


def cuts(order: Sequence[Value]) -> list[int]:
    """Return the positions of the values that all later ones depend on: there the graph can be cut in two."""
    place = {id(value): position for position, value in enumerate(order)}
    found, furthest = [], 0  # the last position that an earlier value goes to
    last_use = [0] * len(order)
    for position, value in enumerate(order):
        for each in value.inputs:
            last_use[place[id(each)]] = position
    for position in range(len(order)):
        if furthest <= position:
            found.append(position)
        furthest = max(furthest, last_use[position])
    return found


def stages(order: Sequence[Value], first: int) -> list[tuple[DynamicLinear, Value]]:
    """Return the dynamic-linear layers after a cut, one after the other, each with its output.

    Branches between two cuts become one :class:`LinearGraph`, with the name of their last operation.

    Args:
        order: all values, linear after the cut.
        first: position of the cut.
    """
    positions = [position for position in cuts(order) if position >= first]
    found: list[tuple[DynamicLinear, Value]] = []
    for start, end in itertools.pairwise(positions):
        part = order[start + 1 : end + 1]
        layer = part[0].operation if len(part) == 1 else None
        if isinstance(layer, DynamicLinear):
            found.append((layer, part[0]))
        elif not all(value.is_cast for value in part):
            found.append((_joined(order[start], part), part[-1]))
    return found


def _joined(source, part):
    """Return one layer that computes the last of some values from a value."""
    numbers, layers, steps = {id(source): 0}, [], []
    for value in part:
        inputs = [numbers[id(each)] for each in value.inputs]
        if value.is_cast:
            numbers[id(value)] = inputs[0]
            continue
        operation = value.join
        if operation is None:
            known = [id(layer) for layer in layers]
            if id(value.operation) not in known:
                layers.append(value.operation)
                known.append(id(value.operation))
            operation = known.index(id(value.operation))
        steps.append((operation, inputs))
        numbers[id(value)] = len(steps)
    joined = LinearGraph(layers, steps, name=part[-1].name, dtype="float32")
    joined.built = True  # as its layers are
    return joined


def nested_inputs(value: Value) -> list[tuple[keras.Model, list]]:
    """Return the nested models that a value lies in, the outermost first, each with the tensors of its call."""
    return [
        (model, model._inbound_nodes[number].input_tensors)  # noqa: SLF001
        for model, number in value.calls
    ]


def encoder(model: keras.Model, value: Value) -> keras.Model:
    """Return the model from the input of a model to one of its values."""
    tensor = value.tensor
    for nested, tensors in reversed(nested_inputs(value)):
        tensor = keras.Model(_one(nested.inputs), tensor)(_one(tensors))
    return keras.Model(_one(model.inputs), tensor, name="encoder")


def _one(tensors):
    return tensors[0] if len(tensors) == 1 else tensors
