import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_coda import (
    AddInverse,
    AveragePooling2D,
    BcosConv2D,
    Chain,
    DAUConv2D,
    DAUDense,
    GlobalAveragePooling2D,
    GlobalSumPooling2D,
    LinearConv2D,
    LogitScaling,
    ResidualSum,
    UncenteredBatchNormalization,
)
from keras_coda.layers import LinearGraph, rescaling
from tests.helpers import reference


def layer_and_input(shape, seed=0, **arguments):
    """A built float64 layer and an input for it, so that comparisons are not about rounding."""
    layer = DAUConv2D(dtype="float64", **arguments)
    x = np.random.default_rng(seed).normal(size=shape)
    layer.build(x.shape)
    return layer, x


configurations = st.fixed_dictionaries(
    {
        "kernel_size": st.tuples(st.integers(1, 7), st.integers(1, 7)),
        "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "rank": st.integers(1, 12),
        "filters": st.integers(1, 4),
        "rescaling": st.sampled_from(["l2", "squash"]),
    }
)
sizes = st.tuples(st.integers(1, 2), st.integers(7, 11), st.integers(7, 11), st.integers(1, 3))


@given(configurations, sizes, st.integers(0, 99))
def test_convolution_equals_the_loops_of_the_paper(configuration, shape, seed):
    layer, x = layer_and_input(shape, seed, **configuration)
    outputs, frozen = layer.linearize(ops.convert_to_tensor(x))
    cotangents = np.random.default_rng(seed + 1).normal(size=(shape[0], 3, *outputs.shape[1:]))
    pulled = layer.pullback(frozen, ops.convert_to_tensor(cotangents))
    for i in range(shape[0]):
        matrix = reference.conv_matrix(x[i], layer.projection, layer.kernel, layer.strides, layer.rescaling)
        np.testing.assert_allclose(outputs[i], np.einsum("hwfHWc,HWc->hwf", matrix, x[i]), atol=1e-9)
        np.testing.assert_allclose(pulled[i], np.einsum("hwfHWc,khwf->kHWc", matrix, cotangents[i]), atol=1e-9)


@given(configurations, sizes, st.integers(0, 99))
def test_pullback_equals_automatic_differentiation_with_frozen_weights(configuration, shape, seed):
    layer, x = layer_and_input(shape, seed, **configuration)
    x = tf.constant(x)
    outputs, frozen = layer.linearize(x)
    cotangents = tf.random.normal(outputs.shape, seed=seed, dtype="float64")
    units, R = layer.filters, layer.rank + 1
    with tf.GradientTape() as tape:
        tape.watch(x)
        padding = [(0, 0), *[((k - 1) // 2,) * 2 for k in layer.kernel_size], (0, 0)]
        kernel = tf.reshape(layer.kernel, (*layer.kernel.shape[:3], units * R))
        answers = tf.nn.conv2d(tf.pad(x, padding), kernel, (1, *layer.strides, 1), "VALID")
        answers = tf.reshape(answers, (*outputs.shape, R))
        frozen_outputs = frozen.scale * tf.einsum("...ur,...r->...u", answers, frozen.z)
    np.testing.assert_allclose(frozen_outputs, outputs, atol=1e-9)
    expected = tape.gradient(frozen_outputs, x, cotangents)
    np.testing.assert_allclose(layer.pullback(frozen, cotangents[:, None])[:, 0], expected, atol=1e-9)


@pytest.mark.parametrize("name", ["l2", "squash"])
def test_dense_units_equal_the_paper(name):
    layer = DAUDense(5, rank=3, rescaling=name, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 4, 7))
    outputs, frozen = (layer.build(x.shape), layer.linearize(ops.convert_to_tensor(x)))[1]
    B, A, b = (np.array(a) for a in (layer.projection, layer.kernel[..., :-1], layer.kernel[..., -1]))
    rows = np.stack([[reference.weights_of_patch(p, B, A, b, name) for p in image] for image in x])
    np.testing.assert_allclose(outputs, np.einsum("bnfd,bnd->bnf", rows, x), atol=1e-12)
    cotangents = np.random.default_rng(1).normal(size=(2, 6, 4, 5))
    pulled = layer.pullback(frozen, ops.convert_to_tensor(cotangents))
    np.testing.assert_allclose(pulled, np.einsum("bnfd,bknf->bknd", rows, cotangents), atol=1e-12)


@pytest.mark.parametrize("name", ["l2", "squash"])
def test_rescaling_bounds_the_norm_by_one(name):
    norms = np.geomspace(1e-3, 1e6, 50)
    bounded = norms * np.array(rescaling.get(name)(ops.convert_to_tensor(norms**2)))
    assert (bounded <= 1 + 1e-6).all()
    expected = np.ones(50) if name == "l2" else norms**2 / (1 + norms**2)
    np.testing.assert_allclose(bounded, expected, rtol=1e-6)


@pytest.mark.parametrize("rescaling", ["l2", "squash"])
@pytest.mark.parametrize("rank", [2, 30])  # 30 exceeds the patch of 9: the Gram matrix is singular
@pytest.mark.parametrize("pixels", ["zero", "white", "random"])
def test_gradients_are_finite(rescaling, rank, pixels):
    x = {"zero": np.zeros, "white": np.ones, "random": lambda s: np.random.default_rng(0).normal(size=s)}[pixels]
    x = tf.constant(x((2, 6, 6, 1)), "float32")
    for zero_bias in (False, True):
        layer = DAUConv2D(4, 3, rank, rescaling=rescaling)
        layer.build(x.shape)
        if zero_bias:  # v = 0 exactly where the patch is zero
            layer.kernel.assign(np.array(layer.kernel) * ([1.0] * rank + [0.0]))
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        gradients = tape.gradient(loss, [x, *layer.trainable_variables])
        assert all(np.isfinite(g).all() for g in [loss, *gradients])


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_norms_are_accumulated_in_float32(dtype):
    # 4096 entries of one: a sum of squares in bfloat16 would stop growing at 256.
    layer = DAUDense(1, rank=1, rescaling="l2", dtype=dtype)
    layer.build((None, 4096))
    layer.projection.assign(np.zeros((4096, 1)))
    layer.kernel.assign(np.ones((4096, 1, 2)))
    output = layer(np.full((1, 4096), 1 / 64))
    assert output.dtype == layer.compute_dtype
    np.testing.assert_allclose(np.array(output, "float32"), 1.0, rtol=1e-2)


def test_layers_are_float32_exact_outside_their_policy():
    layer = DAUConv2D(3, 3, 4, dtype="mixed_bfloat16")
    x = np.random.default_rng(0).random((1, 5, 5, 2), "float32")
    layer.build(x.shape)
    same = DAUConv2D(3, 3, 4)
    same.build(x.shape)
    same.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer.linearize(ops.convert_to_tensor(x))[0], same(x))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (DAUConv2D(3, (3, 2), 4, (2, 1), "l2"), (2, 7, 6, 2)),
        (DAUDense(3, 4), (2, 5)),
        (GlobalSumPooling2D(), (2, 4, 3, 5)),
        (LogitScaling(10.0, -2.0), (2, 5)),
        (AddInverse(), (2, 4, 4, 3)),
        (LinearConv2D(4, (3, 2), 2), (2, 7, 6, 2)),
        (BcosConv2D(3, 3, 2, 1, 1.5, 2), (2, 7, 6, 2)),
        (UncenteredBatchNormalization(), (2, 4, 3, 5)),
        (GlobalAveragePooling2D(), (2, 4, 3, 5)),
        (AveragePooling2D(3, 2, 1), (2, 6, 5, 3)),
        (LinearGraph([DAUConv2D(2, 3, 2)], [(0, [0]), ("add", [0, 1]), ("concatenate", [2, 0])]), (2, 5, 5, 2)),
        (Chain([DAUConv2D(4, 3, 2), DAUConv2D(3, 1, 2)]), (2, 5, 5, 2)),
        (ResidualSum([DAUConv2D(4, 3, 2), DAUConv2D(2, 3, 2)]), (2, 5, 5, 2)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.layers.Layer) else "",
)
def test_layer_contract(layer, shape):
    """Config round trip, symbolic and eager shapes, training, mixed precision, and the protocol's own identities."""
    x = np.random.default_rng(0).random(shape, "float32")
    symbolic = layer(keras.Input(shape[1:]))
    copy = type(layer).from_config(layer.get_config())
    copy.build(shape)
    copy.set_weights(layer.get_weights())
    outputs = layer(x)
    np.testing.assert_allclose(copy(x), outputs, atol=1e-6)
    assert tuple(outputs.shape) == (shape[0], *symbolic.shape[1:]) == tuple(layer.compute_output_shape(shape))
    model = keras.Sequential([keras.Input(shape[1:]), layer, keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert np.isfinite(model.fit(x, np.ones(shape[0]), verbose=0).history["loss"][0])
    half = type(layer).from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})
    if not isinstance(layer, (Chain, LinearGraph, ResidualSum)):  # their parts carry policies of their own
        assert half(x).dtype == "bfloat16"
    if isinstance(layer, AddInverse):
        return
    outputs, frozen = layer.linearize(ops.convert_to_tensor(x))
    cotangents = np.random.default_rng(1).normal(size=(shape[0], 4, *outputs.shape[1:])).astype("float32")
    pulled = np.array(layer.pullback(frozen, ops.convert_to_tensor(cotangents)))
    assert pulled.shape == (shape[0], 4, *shape[1:])
    axes = tuple(range(2, pulled.ndim))
    left = (pulled * x[:, None]).sum(axes)  # ⟨W(x)ᵀ ȳ, x⟩ = ⟨ȳ, W(x) x⟩
    right = (cotangents * (np.array(outputs) - layer.offset)[:, None]).sum(tuple(range(2, cotangents.ndim)))
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DAUConv2D(4, 3, rank=0), "`rank` must be a positive integer. Received: rank=0"),
        (lambda: DAUConv2D(4, 3, rank=2.5), "`rank` must be a positive integer. Received: rank=2.5"),
        (lambda: DAUConv2D(-1, 3, 2), "`filters` must be a positive integer. Received: filters=-1"),
        (lambda: DAUConv2D(4, (3, 3, 3), 2), "`kernel_size` must be one integer or a pair of integers."),
        (lambda: DAUConv2D(4, 3, 2, strides=0), "`strides` must be a positive integer. Received: strides=0"),
        (lambda: DAUConv2D(4, 3, 2, rescaling="l1"), "`rescaling` must be one of ['l2', 'squash']."),
        (lambda: DAUDense(True, 2), "`units` must be a positive integer. Received: units=True"),
        (lambda: LogitScaling(0.0), "`temperature` must be positive. Received: temperature=0.0"),
        (lambda: LogitScaling(float("nan")), "`temperature` must be a finite number."),
        (lambda: Chain([keras.layers.Dense(2)]), "`layers` must be one or more DynamicLinear layers"),
        (lambda: Chain([]), "`layers` must be one or more DynamicLinear layers"),
        (lambda: ResidualSum([DAUConv2D(5, 3, 2)])(np.ones((1, 4, 4, 2))), "must keep the shape"),
        (lambda: DAUConv2D(4, 7, 2)(np.ones((1, 0, 5, 2))), "at least as large as `kernel_size`"),
        (lambda: DAUConv2D(4, 3, 2)(keras.Input((8, 8, None))), "needs the last dimension of its input"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
