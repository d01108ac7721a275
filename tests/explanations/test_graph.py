"""Any functional model that ends in dynamic-linear layers is explained; any other is refused by name."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

import keras_coda
from keras_coda import BcosConv2D, DAUConv2D, GlobalAveragePooling2D, LinearConv2D
from tests.helpers.graphs import SHAPE, PositionCode, encoded, head, of_all_kinds, with_offsets
from tests.helpers.networks import assert_complete, pixels

pytestmark = pytest.mark.any_backend


def check(model, images=None, **options):
    images = pixels(2, SHAPE) if images is None else images
    explanation = keras_coda.explain(model, images, top_k=2, linear_map=True, **options)
    assert_complete(explanation)
    np.testing.assert_allclose(explanation.logits, model.predict(images, verbose=0), rtol=1e-4, atol=1e-5)
    return explanation


@st.composite
def tails(draw):
    """A function that grows random branches on a tensor."""
    choices = draw(st.lists(st.sampled_from(["conv", "residual", "dense", "shared", "nested", "dau"]), max_size=3))

    def grow(x):
        for kind in choices:
            channels = x.shape[-1]
            if kind == "conv":
                x = BcosConv2D(4, 3, 2)(x)
            elif kind == "dau":
                x = DAUConv2D(3, 3, 2)(x)
            elif kind == "residual":
                x = layers.Add()([x, keras_coda.UncenteredBatchNormalization()(BcosConv2D(channels, 3)(x))])
            elif kind == "dense":
                x = layers.Concatenate()([x, BcosConv2D(3, 3)(x), x])
            elif kind == "shared":
                conv = BcosConv2D(channels, 3)
                x = conv(x) + conv(conv(x))
            else:
                inner = keras.Input(x.shape[1:])
                x = keras.Model(inner, layers.Add()([LinearConv2D(2, 1)(inner), BcosConv2D(2, 3)(inner)]))(x)
        return x

    return grow


@settings(max_examples=6)
@given(tails())
def test_maps_of_random_graphs_sum_to_the_logits(grow):
    images, x = encoded()
    check(keras.Model(images, head(grow(x))))


def test_a_network_of_all_kinds_is_explained():
    check(of_all_kinds(), pixels(2, (13, 11, 3)))


def test_the_map_is_the_gradient_with_frozen_scales():
    # B = 1 and a linear convolution: the whole network is linear, so the linear map is its gradient.
    images, x = encoded()
    y = layers.Concatenate()([BcosConv2D(2, 3, 2, b=1)(x), LinearConv2D(2, 1, 2)(x)])
    y = layers.Add()([y, BcosConv2D(4, 3, b=1)(y)])
    model = keras.Model(images, head(y))
    explanation = check(model)
    shifted = pixels(2, SHAPE).astype("float32")
    shifted[:, 3, 2, 1] += 10
    change = model.predict(shifted, verbose=0) - explanation.logits
    for image in range(2):
        for k in range(2):
            weights = explanation.linear_map[image, k, 3, 2]
            expected = 10 / 255 * (weights[1] - weights[3])
            np.testing.assert_allclose(change[image, explanation.classes[image, k]], expected, atol=1e-5)


def test_encoders_may_be_any_graph_and_nested_models_are_taken_apart():
    images, x = encoded()
    trunk = layers.Conv2D(4, 3, 2, activation="relu")(x)
    trunk = layers.Concatenate()([trunk, layers.ReLU()(trunk)])
    inner = keras.Input(trunk.shape[1:])
    block = keras.Model(inner, layers.Add()([BcosConv2D(8, 3)(inner), inner]), name="block")
    features = keras.Input(trunk.shape[1:])
    tail = keras.Model(features, head(block(block(features))), name="tail")
    model = keras.Sequential([keras.Input(SHAPE), layers.RandomFlip(), keras.Model(images, tail(trunk))])
    explanation = check(model)
    assert explanation.contributions.shape == (2, 2, 3, 2)


def test_inner_layers_have_names_and_maps():
    images, x = encoded()
    x = BcosConv2D(4, 3, 2, name="first")(x)
    x = layers.Add(name="sum")([x, BcosConv2D(4, 3, name="branch")(x)])
    model = keras.Model(images, head(x))
    for name, shape in (("first", (4, 3)), ("sum", (4, 3))):
        assert check(model, wrt=name).contributions.shape[2:] == shape
    with pytest.raises(ValueError, match=r"one of \['add_inverse.*', 'first', 'sum', .*Received: wrt='branch'"):
        keras_coda.explain(model, pixels(1, SHAPE), wrt="branch")


def test_constants_of_inner_layers_are_reported_beside_the_map(tmp_path):
    model = with_offsets()
    explanation = check(model)
    assert explanation.offsets.shape == (2, 2)
    assert np.abs(explanation.offsets).min() > 1e-4
    assert check(model, wrt="sum").offsets is None  # they are part of the activations there
    np.testing.assert_allclose(explanation.contrast().residual, 0, atol=1e-5)
    explanation.save(tmp_path / "maps.npz")
    np.testing.assert_array_equal(keras_coda.Explanation.load(tmp_path / "maps.npz").offsets, explanation.offsets)


def test_a_last_layer_adds_one_number_to_all_classes():
    images, x = encoded()
    x = GlobalAveragePooling2D()(LinearConv2D(3, 1)(x))
    with pytest.raises(ValueError, match="The `offset` of the last layer must be a number"):
        keras_coda.explain(keras.Model(images, PositionCode()(x)), pixels(1, SHAPE))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda x: layers.ReLU(name="act")(x), "layer 'act' of type ReLU inside it. Use no activation at all"),
        (
            lambda x: layers.Add()([x, layers.Conv2D(4, 1, name="c")(x)]),
            "'c' of type Conv2D inside it. Use keras_coda.Li",
        ),
        (
            lambda x: layers.MaxPooling2D(name="m")(x),
            "'m' of type MaxPooling2D inside it. Use keras_coda.AveragePooling2D",
        ),
        (
            lambda x: layers.BatchNormalization(name="n")(x),
            "'n' of type BatchNormalization .* Use keras_coda.Uncentered",
        ),
        (lambda x: x + 1.0, "of type Add inside it"),
        (lambda x: x * x, "of type Multiply inside it"),
        (
            lambda x: layers.Add(name="a")([x, ops.mean(x, (1, 2), keepdims=True)]),
            "'a' of type Add inside it. Use Add of",
        ),
        (
            lambda x: layers.Concatenate(1, name="k")([x, x]),
            "'k' of type Concatenate inside it. Use Add of tensors of one",
        ),
    ],
)
def test_models_that_are_not_dynamic_linear_are_refused_by_name(break_it, message):
    images, x = encoded()
    model = keras.Model(images, head(break_it(BcosConv2D(4, 3)(x))))
    with pytest.raises(ValueError, match=message):
        keras_coda.explain(model, pixels(1, SHAPE))


def test_several_inputs_or_outputs_are_refused():
    images, x = encoded()
    logits = head(x)
    for model in (keras.Model(images, [logits, x]), keras.Model([images, keras.Input((3,), name="other")], logits)):
        with pytest.raises(ValueError, match="with one input and one output"):
            keras_coda.explain(model, pixels(1, SHAPE))
