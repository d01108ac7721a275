import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import keras_coda
from keras_coda import CoDANet, DAUConv2D
from keras_coda.utils.errors import PixelRangeWarning
from tests.helpers import reference
from tests.helpers.networks import assert_complete, pixels, small


@st.composite
def networks(draw):
    """Arguments of a random network and the size of its images."""
    depth = draw(st.integers(1, 4))
    num_classes = draw(st.integers(2, 5))
    channels = draw(st.integers(1, 4))
    per_layer = [
        (
            draw(st.integers(1, 6)),
            draw(st.integers(1, 12)),
            draw(st.sampled_from([1, 2, 3, 5])),
            draw(st.integers(1, 3)),
        )
        for _ in range(depth)
    ]
    filters, ranks, kernel_sizes, strides = zip(*per_layer, strict=True)
    size = smallest = draw(st.integers(9, 15))
    downsampling = draw(st.sampled_from(["strided", "blurred", "pooled"]))
    for kernel, stride in zip(kernel_sizes, strides, strict=True):
        everywhere = smallest + 2 * ((kernel - 1) // 2) - kernel + 1
        assume(everywhere >= 1)
        smallest = everywhere // stride if downsampling == "pooled" else (everywhere - 1) // stride + 1
        assume(smallest >= 1)
    arguments = {
        "num_classes": num_classes,
        "input_shape": (None, None, channels),
        "filters": (*filters[:-1], num_classes),
        "ranks": ranks,
        "kernel_sizes": kernel_sizes,
        "strides": strides,
        "downsampling": downsampling,
        "rescaling": draw(st.sampled_from(["l2", "squash"])),
        "temperature": draw(st.sampled_from([1.0, 10.0, 500.0])),
        "logit_bias": draw(st.sampled_from([0.0, -2.2])),
    }
    return arguments, (size, size + draw(st.integers(0, 3)), channels)


@pytest.mark.usefixtures("eagerly")
@settings(max_examples=8)
@given(networks(), st.integers(0, 9))
def test_contributions_sum_to_logit_for_any_architecture(network, seed):
    arguments, shape = network
    model = CoDANet(**arguments)
    images = pixels(2, shape, seed)
    for wrt in [None, *(layer.name for layer in model.layers if isinstance(layer, DAUConv2D))]:
        explanation = model.explain(images, top_k=2, wrt=wrt)
        assert_complete(explanation)
        np.testing.assert_allclose(explanation.logits, model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rescaling", ["l2", "squash"])
def test_contributions_sum_to_logit_after_training_and_through_xla(rescaling):
    model = small(rescaling=rescaling, input_shape=(9, 9, 1))
    images, labels = pixels(24, (9, 9, 1)), np.arange(24) % 3
    model.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=True)
    before = model.explain(images)
    losses = model.fit(images, labels, epochs=15, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for jit_compile in (True, False):
        after = model.explain(images, top_k=3, jit_compile=jit_compile)
        assert_complete(after)
        np.testing.assert_allclose(after.logits, model.predict(images, verbose=0), rtol=1e-4, atol=1e-4)
    assert np.abs(after.logits - before.logits).max() > 0.1  # explanations follow the weights, compiled or not


@pytest.mark.parametrize("rescaling", ["l2", "squash"])
def test_logits_and_linear_map_equal_the_loops_of_the_paper(rescaling):
    model = small(rescaling=rescaling, kernel_sizes=(3, 2, 1), strides=(1, (2, 1), 1))
    images = pixels()
    explanation = model.explain(images, top_k=3, linear_map=True)
    for i, image in enumerate(images):
        logits, linear_map = reference.network(
            image, reference.model_layers(model), rescaling, model.temperature, model.logit_bias
        )
        np.testing.assert_allclose(explanation.logits[i], logits, atol=1e-5)
        linear_map = linear_map[explanation.classes[i]]
        np.testing.assert_allclose(explanation.linear_map[i], linear_map, atol=1e-5 * np.abs(linear_map).max())
        encoded = np.concatenate([image / 255, 1 - image / 255], axis=-1)
        maps = (linear_map * encoded).sum(-1)
        np.testing.assert_allclose(explanation.contributions[i], maps, atol=1e-5 * np.abs(maps).max())


@pytest.mark.usefixtures("eagerly")
def test_classes_can_be_chosen_in_every_form():
    model, images = small(), pixels()
    everything = model.explain(images, np.tile([0, 1, 2], (2, 1)))
    predicted = everything.logits.argmax(1)
    assert model.explain(images).classes.tolist() == predicted[:, None].tolist()
    assert model.explain(images, top_k=3).classes.tolist() == np.argsort(-everything.logits, axis=1).tolist()
    for classes, expected in [(1, [[1], [1]]), ([2, 0], [[2], [0]]), ([[0, 1], [2, 2]], [[0, 1], [2, 2]])]:
        explanation = model.explain(images, classes)
        assert explanation.classes.tolist() == expected
        chosen = np.take_along_axis(everything.contributions, np.array(expected)[..., None, None], axis=1)
        np.testing.assert_allclose(explanation.contributions, chosen, atol=1e-6)


def test_explanation_fields_are_float32_numpy_arrays_of_documented_shapes():
    explanation = small(dtype="mixed_bfloat16").explain(pixels(), top_k=2, linear_map=True)
    shapes = {name: value.shape for name, value in vars(explanation).items() if isinstance(value, np.ndarray)}
    assert shapes == {
        "images": (2, 8, 7, 2),
        "logits": (2, 3),
        "probabilities": (2, 3),
        "classes": (2, 2),
        "contributions": (2, 2, 8, 7),
        "residual": (2, 2),
        "linear_map": (2, 2, 8, 7, 4),
    }
    dtypes = {str(value.dtype) for name, value in vars(explanation).items() if name in shapes and name != "classes"}
    assert dtypes == {"float32"}
    assert len(explanation) == 2
    assert explanation[1].contributions.shape == (1, 2, 8, 7)
    np.testing.assert_array_equal(explanation[-1].logits, explanation.logits[1:])


def test_explanation_survives_a_file(tmp_path):
    explanation = small(class_names=["a", "b", "ç"]).explain(pixels(), top_k=2, wrt="dau_2")
    explanation.save(tmp_path / "maps.npz")
    loaded = keras_coda.Explanation.load(tmp_path / "maps.npz")
    assert (loaded.wrt, loaded.class_names, loaded.linear_map) == ("dau_2", ("a", "b", "ç"), None)
    np.testing.assert_array_equal(loaded.contributions, explanation.contributions)
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npz"]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_explanations_are_float32_exact_under_every_policy(policy):
    mixed, exact = small(dtype=policy), small()
    exact.set_weights(mixed.get_weights())
    a, b = mixed.explain(pixels(), top_k=3), exact.explain(pixels(), top_k=3)
    np.testing.assert_allclose(a.contributions, b.contributions, atol=1e-7)
    assert_complete(a)
    assert mixed.predict(pixels(), verbose=0).dtype == "float32"
    assert np.isfinite(mixed.fit(pixels(), np.array([0, 1]), verbose=0).history["loss"][0])


def test_batches_of_explain_do_not_change_it_and_a_repeated_shape_is_not_traced_again():
    from keras_coda.explanations.compiled import compiled_explainer

    model, images = small(), pixels(7)
    whole = model.explain(images)
    parts = model.explain(images, batch_size=3)
    np.testing.assert_allclose(parts.contributions, whole.contributions, atol=1e-6)
    for batch in (1, 7, 5):
        model.explain(images[:batch])
    assert compiled_explainer(model).traces == 1


def test_fit_takes_a_dataset_of_uint8_images_and_int_labels_as_it_comes():
    data = tf.data.Dataset.from_tensor_slices((pixels(12), np.arange(12) % 3)).batch(5)
    model = small()
    history = model.fit(data, verbose=0).history
    assert set(history) == {"accuracy", "loss"}
    assert set(model.evaluate(data, verbose=0, return_dict=True)) == {"accuracy", "loss"}


def test_int_and_one_hot_labels_give_the_same_loss():
    labels = np.array([0, 2, 1, 1])
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    loss = keras_coda.OneVsAllCrossentropy()
    forms = [labels, labels[:, None], labels.astype("uint8"), np.eye(3)[labels], np.eye(3, dtype="int64")[labels]]
    values = [float(loss(form, logits)) for form in forms]
    one_hot = np.eye(3)[labels]
    probabilities = 1 / (1 + np.exp(-logits))
    expected = -(one_hot * np.log(probabilities) + (1 - one_hot) * np.log(1 - probabilities)).mean()
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert np.isnan(float(loss(np.array([0, 1, 2, 3]), logits)))
    with pytest.raises(ValueError, match=r"one-hot \(batch, 3\). Received: labels of shape \(4, 2\)"):
        loss(np.ones((4, 2)), logits)


def test_training_is_deterministic_under_a_seed():
    def losses():
        keras.utils.set_random_seed(5)
        model = small()
        return model.fit(pixels(12), np.arange(12) % 3, batch_size=4, epochs=2, verbose=0).history["loss"]

    assert losses() == losses()


@pytest.mark.slow
def test_any_image_size_any_dtype_and_one_channel_give_one_function():
    model = CoDANet(4, input_shape=(None, None, 1))
    image = pixels(1, (13, 11, 1))
    logits = model.predict(image, verbose=0)
    for dtype in ("float16", "float32", "float64", "int32", "int64", "uint8"):
        np.testing.assert_allclose(model.explain(image.astype(dtype)).logits, logits, atol=1e-6)
        np.testing.assert_allclose(model.predict(image.astype(dtype), verbose=0), logits, atol=1e-6)
    np.testing.assert_allclose(model.explain(tf.constant(image)).logits, logits, atol=1e-6)
    assert model.explain(pixels(2, (32, 20, 1))).contributions.shape == (2, 1, 32, 20)


def test_model_is_functional():
    model = small()
    features = keras.Model(model.inputs, model.get_layer("dau_2").output)
    assert features.predict(pixels(), verbose=0).shape == (2, 4, 4, 5)
    assert [layer.name for layer in model.layers][:3] == ["images", "pixel_scaling", "add_inverse"]


def test_keras_file_keeps_everything(tmp_path):
    model = small(class_names="abc", dtype="mixed_bfloat16", rescaling="l2", name="mine")
    model.fit(pixels(), np.array([0, 1]), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert loaded.optimizer.iterations == 1
    np.testing.assert_array_equal(loaded.explain(pixels()).contributions, model.explain(pixels()).contributions)


def test_one_convolution_and_a_user_chain_are_explained_too():
    class Mean(keras_coda.DynamicLinear):
        def linearize(self, x):
            return keras.ops.mean(x, (1, 2)), keras.ops.shape(x)[1:3]

        def pullback(self, frozen, cotangents):
            h, w = frozen
            return keras_coda.GlobalSumPooling2D().pullback(frozen, cotangents) / (h * w)

    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Rescaling(1 / 255),
            keras_coda.ResidualSum([DAUConv2D(2, 3, 4), DAUConv2D(2, 3, 4)]),
            keras_coda.Chain([DAUConv2D(5, 3, 4, 2), DAUConv2D(3, 1, 4)]),
            Mean(),
        ]
    )
    explanation = keras_coda.explain(model, pixels(2, (6, 6, 2)), top_k=2)
    assert_complete(explanation)
    np.testing.assert_allclose(explanation.logits, model.predict(pixels(2, (6, 6, 2)), verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "`num_classes` must be at least 2"),
        ({"num_classes": 2.5}, "`num_classes` must be a positive integer. Received: num_classes=2.5"),
        ({"filters": (4, 5, 4)}, "The last entry of `filters` must equal `num_classes`."),
        ({"filters": 16}, "`filters` must be a list of integers"),
        ({"filters": ()}, "`filters` must be a list of integers"),
        ({"ranks": (3, 3)}, "`ranks` must be one value, or one for each of the 3 entries of `filters`."),
        ({"ranks": (3, 0, 3)}, "`ranks` must be a positive integer. Received: ranks=0"),
        ({"kernel_sizes": (3, 3)}, "`kernel_sizes` must be one value, or one for each of the 3"),
        ({"downsampling": "nearest"}, "`downsampling` must be one of ('strided', 'blurred', 'pooled')"),
        ({"downsampling": ("pooled", "blurred")}, "`downsampling` must be one value, or one for each of the 3"),
        ({"strides": (1, 2, 1, 1)}, "`strides` must be one value, or one for each of the 3"),
        ({"temperature": -1}, "`temperature` must be positive. Received: temperature=-1"),
        ({"temperature": "hot"}, "`temperature` must be a finite number. Received: temperature='hot'"),
        ({"rescaling": "relu"}, "`rescaling` must be one of ['l2', 'squash']. Received: rescaling='relu'"),
        ({"input_shape": (8, 8)}, "`input_shape` must be (height, width, channels)"),
        ({"input_shape": (8, 8, None)}, "`input_shape` must be (height, width, channels)"),
        ({"class_names": ["a", "b"]}, "`class_names` must have one name per class. Received: 2 names"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        CoDANet(**{"num_classes": 3, "filters": (4, 5, 3), **arguments})


@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (pixels()[0, 0], {}, "Images must have shape (batch, 8, 7, 2). Received: shape=(7, 2)."),
        (pixels()[..., 0], {}, "For grayscale images, add the channel axis: `images[..., None]`."),
        (pixels(2, (8, 7, 3)), {}, "Images must have shape (batch, 8, 7, 2). Received: shape=(2, 8, 7, 3)."),
        (pixels(2, (2, 8, 7)), {}, "Images are channels last."),
        (pixels(2, (9, 7, 2)), {}, "Resize them"),
        (pixels(0), {}, "Images must not be empty. Received: shape=(0, 8, 7, 2)"),
        (np.full((2, 8, 7, 2), np.nan), {}, "Pixels must be finite. Received: NaN or infinite values in images [0, 1]"),
        (np.full((2, 8, 7, 2), np.inf), {}, "Pixels must be finite."),
        (pixels(), {"classes": 3}, "`classes` must be in [0, 2]. Received: classes=[3]"),
        (pixels(), {"classes": [-1, 0]}, "`classes` must be in [0, 2]. Received: classes=[-1]"),
        (pixels(), {"classes": [0, 1, 2]}, "`classes` must be an int, or of shape (batch,) or (batch, K)."),
        (pixels(), {"classes": 1, "top_k": 2}, "Give `classes` or `top_k`, not both."),
        (pixels(), {"top_k": 4}, "`top_k` must not exceed the 3 classes. Received: top_k=4"),
        (pixels(), {"top_k": 0}, "`top_k` must be a positive integer. Received: top_k=0"),
        (pixels(), {"wrt": "dau_9"}, "`wrt` must name a layer with a spatial output, one of ['add_inverse', 'dau_1',"),
        (pixels(), {"batch_size": 0}, "`batch_size` must be a positive integer. Received: batch_size=0"),
    ],
)
def test_wrong_images_and_classes_are_named(images, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        small().explain(images, **arguments)


def test_wrong_dtypes_are_named():
    with pytest.raises(TypeError, match="Images must have a real dtype"):
        small().explain(pixels().astype("complex64"))
    with pytest.raises(TypeError, match="`classes` must be integers"):
        small().explain(pixels(), [0.0, 1.0])


@pytest.mark.slow
def test_pixels_scaled_to_one_are_warned_of():
    scaled = pixels() / 255
    with pytest.warns(PixelRangeWarning, match=r"expected in \[0, 255\], and these float images never exceed 1.0"):
        small().explain(scaled)
    for data in [(scaled, np.array([0, 1])), (tf.data.Dataset.from_tensors((scaled, np.array([0, 1]))),)]:
        with pytest.warns(PixelRangeWarning, match=r"never exceed 1.0"):
            small().fit(*data, verbose=0)
    with pytest.warns(PixelRangeWarning, match=r"Undo the normalization"):
        small().explain(scaled * 2 - 1)


def test_labels_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"Labels must be in \[0, 2\]. Received: labels from 1 to 3."):
        small().fit(pixels(), np.array([1, 3]), verbose=0)


def test_models_that_cannot_be_explained_are_named():
    plain = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(
        ValueError,
        match="Received: input .* the last layer .* is .dense.* of type Dense. Use keras_coda.DAUDense in",
    ):
        keras_coda.explain(plain, pixels(1, (4, 4, 1)))
    mixed = keras.Sequential(
        [keras.Input((4, 4, 1)), DAUConv2D(2, 3, 2), keras.layers.ReLU(), keras_coda.GlobalSumPooling2D()]
    )
    with pytest.raises(ValueError, match="Received: layer 're_lu.*' of type ReLU inside it"):
        keras_coda.explain(mixed, pixels(1, (4, 4, 1)))
    image = keras.Input((4, 4, 1))
    branches = keras.layers.Add()([DAUConv2D(2, 3, 2)(image), keras.layers.Conv2D(2, 3, padding="same")(image)])
    with pytest.raises(ValueError, match=r"layer 'conv2d.*' of type Conv2D inside it. Use keras_coda.LinearConv2D"):
        keras_coda.explain(keras.Model(image, keras_coda.GlobalSumPooling2D()(branches)), pixels(1, (4, 4, 1)))
