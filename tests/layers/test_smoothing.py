"""Fixed filters against loops in float64, their transposes, and what they do to the grid of a strided layer."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_coda import AveragePooling2D, Blur2D

blurs = st.builds(lambda size: Blur2D(size, dtype="float64"), st.sampled_from([1, 3, 5]))
pools = st.builds(
    lambda size, strides, share: AveragePooling2D(
        size, strides, tuple(int(share * each / 2) for each in size), dtype="float64"
    ),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([0.0, 1.0]),
)
shapes = st.tuples(st.integers(1, 2), st.integers(5, 9), st.integers(5, 9), st.integers(1, 3))


def loops(layer, x):
    """Weighted sums over windows, one output pixel at a time."""
    if isinstance(layer, Blur2D):
        taps = {1: [1.0], 3: [0.25, 0.5, 0.25], 5: [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]}[layer.size]
        kernel, strides, (top, left) = np.outer(taps, taps), (1, 1), (layer.size // 2,) * 2
    else:
        kernel = np.full(layer.pool_size, 1 / np.prod(layer.pool_size))
        strides, (top, left) = layer.strides, layer.padding
    padded = np.pad(x, [(0, 0), (top, top), (left, left), (0, 0)])
    _, height, width, _ = layer.compute_output_shape(x.shape)
    y = np.zeros((len(x), height, width, x.shape[-1]))
    for row, column in itertools.product(range(height), range(width)):
        window = padded[:, row * strides[0] :, column * strides[1] :][:, : kernel.shape[0], : kernel.shape[1]]
        y[:, row, column] = np.einsum("bhwc,hw->bc", window, kernel)
    return y


@given(blurs | pools, shapes, st.integers(0, 99))
def test_filters_equal_loops_and_their_pullback_is_the_transpose(layer, shape, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=shape)
    y, frozen = layer.linearize(ops.convert_to_tensor(x))
    np.testing.assert_allclose(y, loops(layer, x), atol=1e-12)
    u = random.normal(size=(shape[0], 3, *y.shape[1:]))
    pulled = layer.pullback(frozen, ops.convert_to_tensor(u))
    assert pulled.shape == (shape[0], 3, *shape[1:])
    np.testing.assert_allclose(
        np.einsum("bhwc,bthwc->bt", x, pulled), np.einsum("bhwc,bthwc->bt", y, u), rtol=1e-10, atol=1e-12
    )


def test_a_blur_has_no_response_where_a_stride_of_two_is_blind():
    checkers = np.indices((8, 8)).sum(0)[None, :, :, None] % 2 * 2.0 - 1
    np.testing.assert_allclose(Blur2D()(checkers)[:, 1:-1, 1:-1], 0, atol=1e-7)


@pytest.mark.parametrize("layer", [Blur2D(5), AveragePooling2D((2, 3), 1, (1, 0))])
def test_layers_are_rebuilt_from_their_config(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer)).windows == layer.windows


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Blur2D(4), "`size` must be odd"),
        (lambda: Blur2D(0), "`size` must be a positive integer"),
        (lambda: AveragePooling2D(2, padding=2), "`padding` must be at most half of `pool_size`"),
        (lambda: AveragePooling2D(2, padding=-1), "`padding` must be an integer, at least 0"),
        (lambda: AveragePooling2D(3)(np.ones((1, 2, 9, 1))), "must be at least as large as its kernel"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
