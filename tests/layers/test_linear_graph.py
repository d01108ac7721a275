"""Branches of dynamic-linear layers as one layer: linear up to frozen weights, and its transpose."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_coda import BcosConv2D, Blur2D, DAUConv2D, LinearConv2D
from keras_coda.layers import LinearGraph

# Operations that keep height and width, so that all values may be joined. Sums need equal channels.
makers = st.sampled_from(
    [
        lambda channels: LinearConv2D(channels, 3, dtype="float64"),
        lambda channels: BcosConv2D(channels, 1, dtype="float64"),
        lambda channels: DAUConv2D(channels, 3, 2, dtype="float64"),
        lambda _: Blur2D(dtype="float64"),
    ]
)


@st.composite
def graphs(draw):
    """A random graph whose values all reach the output, since the last step concatenates what nothing else used."""
    layers, steps, channels = [], [], [2]
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["layer", "shared", "add", "concatenate"]))
        source = draw(st.integers(0, len(channels) - 1))
        same = [i for i, each in enumerate(channels) if each == channels[source]]
        if kind == "add":
            inputs = draw(st.lists(st.sampled_from(same), min_size=2, max_size=3))
            steps.append(("add", inputs))
            channels.append(channels[source])
        elif kind == "concatenate":
            inputs = draw(st.lists(st.integers(0, len(channels) - 1), min_size=1, max_size=3))
            steps.append(("concatenate", inputs))
            channels.append(sum(channels[i] for i in inputs))
        else:
            number = next((o for o, i in steps if isinstance(o, int) and channels[i[0]] == channels[source]), None)
            if kind == "layer" or number is None:
                layers.append(draw(makers)(channels[source]))
                number = len(layers) - 1
            steps.append((number, [source]))
            channels.append(channels[source])
    used = {i for _, inputs in steps for i in inputs}
    steps.append(("concatenate", [i for i in range(len(channels)) if i not in used] or [0]))
    return LinearGraph(layers, steps, dtype="float64")


@given(graphs(), st.integers(0, 99))
def test_pullback_is_the_transpose_of_what_was_frozen(graph, seed):
    random = np.random.default_rng(seed)
    x = ops.convert_to_tensor(random.normal(size=(2, 4, 3, 2)))
    graph.build(x.shape)
    y, frozen = graph.linearize(x)
    assert tuple(y.shape) == graph.compute_output_shape(x.shape)
    u = random.normal(size=(2, 2, *y.shape[1:]))
    pulled = graph.pullback(frozen, ops.convert_to_tensor(u))
    assert pulled.shape == (2, 2, *x.shape[1:])
    np.testing.assert_allclose(
        np.einsum("bhwc,bthwc->bt", x, pulled), np.einsum("bhwc,bthwc->bt", y, u), rtol=1e-5, atol=1e-6
    )


def test_windows_are_those_of_the_branch_that_contains_the_others():
    convs = [LinearConv2D(4, 3, 2), LinearConv2D(4, 3), LinearConv2D(4, 1, 2), LinearConv2D(4, 3)]
    block = LinearGraph(convs, [(0, [0]), (1, [1]), (2, [0]), ("add", [2, 3])])
    assert block.windows == (((3, 3), (2, 2)), ((3, 3), (1, 1)))
    assert LinearGraph(convs, [(0, [0]), (1, [0]), ("concatenate", [1, 2])]).windows is None  # other strides
    sideways = [LinearConv2D(4, (3, 1)), LinearConv2D(4, (1, 3))]
    assert LinearGraph(sideways, [(0, [0]), (1, [0]), ("add", [1, 2])]).windows is None  # neither contains the other


def test_a_graph_is_rebuilt_from_its_config():
    graph = LinearGraph([LinearConv2D(2, 3)], [(0, [0]), (0, [1]), ("add", [0, 2])])
    graph.build((None, 5, 5, 2))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(graph))
    again.build((None, 5, 5, 2))
    again.set_weights(graph.get_weights())
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 2)).astype("float32")
    np.testing.assert_array_equal(again(x), graph(x))


@pytest.mark.parametrize(
    ("layers", "steps", "message"),
    [
        ([keras.layers.Dense(2)], [(0, [0])], "`layers` must be DynamicLinear layers"),
        ([LinearConv2D(2, 1)], [(1, [0])], "A step is"),
        ([LinearConv2D(2, 1)], [(0, [1])], "A step is"),
        ([LinearConv2D(2, 1)], [(0, [0, 0])], "A step is"),
        ([], [("multiply", [0, 0])], "A step is"),
        ([], [], "`steps` must have one step or more"),
    ],
)
def test_wrong_steps_are_refused(layers, steps, message):
    with pytest.raises(ValueError, match=message):
        LinearGraph(layers, steps)


def test_sums_of_other_shapes_are_refused():
    graph = LinearGraph([LinearConv2D(3, 1)], [(0, [0]), ("add", [0, 1])])
    with pytest.raises(ValueError, match="Only tensors of one shape are added up"):
        graph.build((None, 4, 4, 2))
