"""Linear and B-cos convolutions, and normalization, against loops in float64; their transposes."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_coda import BcosConv2D, GlobalAveragePooling2D, LinearConv2D, UncenteredBatchNormalization

convolutions = st.builds(
    lambda kind, kernel, strides, groups, b, max_out: kind(
        2 * groups,
        kernel,
        strides,
        groups,
        dtype="float64",
        **({"b": b, "max_out": max_out} if kind is BcosConv2D else {}),
    ),
    st.sampled_from([LinearConv2D, BcosConv2D]),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.just(1),
    st.sampled_from([1, 1.25, 2, 3]),
    st.integers(1, 2),
)
shapes = st.tuples(st.integers(1, 2), st.integers(4, 8), st.integers(4, 8), st.sampled_from([2, 4]))


def loops(layer, x):
    """One patch and one output channel at a time, by the equations of the paper."""
    kernel = np.asarray(layer.kernel)
    height, width, per_group, _ = kernel.shape
    is_bcos = isinstance(layer, BcosConv2D)
    units = layer.max_out if is_bcos else 1
    top, left = (height - 1) // 2, (width - 1) // 2
    padded = np.pad(x, [(0, 0), (top, top), (left, left), (0, 0)])
    y = np.zeros(layer.compute_output_shape(x.shape))
    for image, row, column, channel in itertools.product(*map(range, y.shape)):
        group = channel // (layer.filters // layer.groups)
        patch = padded[image, row * layer.strides[0] :, column * layer.strides[1] :][:height, :width]
        patch = patch[..., group * per_group : (group + 1) * per_group]
        weights = [kernel[..., channel * units + unit] for unit in range(units)]
        if not is_bcos:
            y[image, row, column, channel] = np.sum(patch * weights[0])
            continue
        response = max(np.sum(patch * w) / np.sqrt(np.sum(w**2)) for w in weights)
        cosine = abs(response) / np.sqrt(np.sum(patch**2) + 1e-6)
        scale = cosine if layer.b == 2 else (cosine + 1e-6) ** (layer.b - 1)
        y[image, row, column, channel] = response * (1 if layer.b == 1 else scale)
    return y


def check(layer, shape, seed, atol=1e-6):
    random = np.random.default_rng(seed)
    x = random.normal(size=shape)
    layer(x)
    y, frozen = layer.linearize(ops.convert_to_tensor(x))
    np.testing.assert_allclose(y, loops(layer, x), atol=atol)
    u = random.normal(size=(shape[0], 3, *y.shape[1:]))
    pulled = layer.pullback(frozen, ops.convert_to_tensor(u))
    assert pulled.shape == (shape[0], 3, *shape[1:])
    np.testing.assert_allclose(
        np.einsum("bhwc,bthwc->bt", x, pulled), np.einsum("bhwc,bthwc->bt", y, u), rtol=1e-5, atol=1e-6
    )


@settings(max_examples=25)
@given(convolutions, shapes, st.integers(0, 99))
def test_convolutions_equal_loops_and_their_pullback_is_the_transpose(layer, shape, seed):
    check(layer, shape, seed)


@pytest.mark.any_backend
@pytest.mark.parametrize("layer", [LinearConv2D(4, 3, 2, groups=2), BcosConv2D(4, (3, 2), 2, groups=2, max_out=2)])
def test_grouped_convolutions_equal_loops(layer):
    check(layer, (2, 7, 6, 4), 0, atol=1e-5)


def test_a_patch_in_the_direction_of_the_weights_gives_its_length():
    layer = BcosConv2D(1, 1, b=5)
    layer.build((None, 1, 1, 4))
    along = np.asarray(layer.kernel)[0, 0, :, 0]
    outputs = np.asarray(layer(np.stack([along, -along])[:, None, None] / np.linalg.norm(along) * 3))
    np.testing.assert_allclose(outputs.ravel(), [3, -3], rtol=1e-4)


@pytest.mark.any_backend
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_normalization_divides_by_the_deviation_and_keeps_the_mean(dtype):
    layer = UncenteredBatchNormalization(momentum=0.9, epsilon=1e-3, dtype=dtype)
    x = np.random.default_rng(0).normal(3, 2, (4, 5, 5, 3)).astype("float32")
    trained = np.asarray(ops.cast(layer(x, training=True), "float32"))
    variance = x.var((0, 1, 2))
    tolerance = 1e-5 if dtype == "float32" else 1e-2
    np.testing.assert_allclose(trained, x / np.sqrt(variance + 1e-3), rtol=tolerance)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * variance, rtol=1e-4 if dtype == "float32" else 1e-2)
    layer.gamma.assign([1.0, 2.0, 3.0])
    expected = x * [1, 2, 3] / np.sqrt(np.asarray(layer.moving_variance) + 1e-3)
    y, frozen = layer.linearize(ops.convert_to_tensor(x))
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(layer.pullback(frozen, ops.convert_to_tensor(x[:, None]))[:, 0], expected, rtol=1e-5)


def test_a_frozen_normalization_keeps_its_statistics():
    layer = UncenteredBatchNormalization()
    layer.build((None, 4, 4, 2))
    layer.trainable = False
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype("float32")
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    np.testing.assert_array_equal(layer.moving_variance, 1)


@pytest.mark.any_backend
def test_means_over_space_have_their_transpose():
    layer = GlobalAveragePooling2D(dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    y, frozen = layer.linearize(ops.convert_to_tensor(x))
    np.testing.assert_allclose(y, x.mean((1, 2)), rtol=1e-5)
    pulled = layer.pullback(frozen, ops.ones((2, 1, 5), "float64"))
    np.testing.assert_allclose(pulled, np.full((2, 1, 3, 4, 5), 1 / 12))


@pytest.mark.parametrize(
    "layer", [LinearConv2D(4, 3, 2), BcosConv2D(4, 3, 2, 1, 1.5, 2), UncenteredBatchNormalization(0.5)]
)
def test_layers_are_rebuilt_from_their_config(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    assert again.windows == layer.windows


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: LinearConv2D(3, 3, groups=2), "`filters` must be a multiple of `groups`"),
        (lambda: LinearConv2D(4, 3, groups=2)(np.ones((1, 4, 4, 3))), "must be known, and a multiple of `groups`"),
        (lambda: LinearConv2D(4, 5)(np.ones((1, 0, 4, 3))), "must be at least as large as `kernel_size`"),
        (lambda: BcosConv2D(4, 3, b=0.5), "`b` must be at least 1"),
        (lambda: BcosConv2D(4, 3, max_out=0), "`max_out` must be a positive integer"),
        (lambda: UncenteredBatchNormalization(momentum=1), "`momentum` must be in"),
        (lambda: UncenteredBatchNormalization(epsilon=0), "`epsilon` must be positive"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
