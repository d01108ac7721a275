import gc
import weakref
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

import keras_coda
from keras_coda import posthoc
from keras_coda.data import all_digits
from keras_coda.explanations.explainers import attributions
from keras_coda.posthoc import gradients
from tests.helpers.known_models import linear_model, random_digits
from tests.helpers.networks import two_layers

GOLDEN = Path(__file__).parents[1] / "golden" / "posthoc.npz"
METHODS = [
    posthoc.GradCAM(),
    posthoc.IntegratedGradients(3),
    posthoc.OcclusionSensitivity(3),
    posthoc.RISE(20, cells=3),
    posthoc.SmoothGrad(3),
    posthoc.VanillaGradients(),
    posthoc.GradientsInputs(),
]
any_backend = pytest.mark.any_backend
every = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)


def linear(num_classes=3, size=6, channels=1):
    weights = np.random.default_rng(1).normal(size=(size, size, 2 * channels, num_classes)).astype("float32")
    return weights, linear_model(weights, offset=-1.0)


# === Known answers ===


@any_backend
@pytest.mark.parametrize(
    "method", [posthoc.GradientsInputs(), posthoc.IntegratedGradients(2)], ids=["GradientsInputs", "Integrated"]
)
def test_of_a_linear_model_attributions_times_inputs_are_the_exact_contributions(method):
    _, model = linear()
    images, _ = random_digits(4, size=6)
    classes = np.array([2, 0, 1, 1])
    exact = keras_coda.explain(model, images, classes).contributions[:, 0]
    np.testing.assert_allclose(method(model, images, classes), exact, rtol=1e-5, atol=1e-6)


@any_backend
@pytest.mark.parametrize("method", [posthoc.VanillaGradients(), posthoc.SmoothGrad(2)], ids=["Vanilla", "Smooth"])
def test_of_a_linear_model_gradients_are_the_weights(method):
    weights, model = linear(channels=2)
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 2))
    expected = np.moveaxis(weights[..., [2, 1]], -1, 0)  # (image, H, W, channel)
    np.testing.assert_allclose(method(model, images, np.array([2, 1])), expected.sum(axis=-1), rtol=1e-5, atol=1e-6)
    absolute = posthoc.VanillaGradients(absolute=True)(model, images, np.array([2, 1]))
    np.testing.assert_allclose(absolute, np.abs(expected).sum(axis=-1), rtol=1e-5)
    # To the pixels: the encoding [x, 1 - x] / 255 in between.
    pixels = posthoc.VanillaGradients(encoded=False)(model, images, np.array([2, 1]))
    slopes = (expected[..., :2] - expected[..., 2:]).sum(axis=-1) / 255
    np.testing.assert_allclose(pixels, slopes, rtol=1e-4, atol=1e-7)


@any_backend
@pytest.mark.parametrize(("size", "strides"), [(2, 2), (3, None), (4, 3), (9, 1)])
def test_of_a_linear_model_occlusion_is_the_contribution_of_the_window(size, strides):
    _, model = linear()
    images, _ = random_digits(2, size=6)
    classes = np.array([2, 0])
    exact = keras_coda.explain(model, images, classes).contributions[:, 0]
    maps = posthoc.OcclusionSensitivity(size, strides=strides)(model, images, classes)
    step = strides or (size + 1) // 2
    starts = [(y, x) for y in range(0, 6, step) for x in range(0, 6, step)]
    for y, x in np.ndindex(6, 6):
        covering = [(a, b) for a, b in starts if 0 <= y - a < size and 0 <= x - b < size]
        drops = [exact[:, a : a + size, b : b + size].sum(axis=(1, 2)) for a, b in covering]
        np.testing.assert_allclose(maps[:, y, x], np.mean(drops, axis=0), rtol=1e-4, atol=1e-5)


def test_integrated_gradients_sum_to_the_logit_less_that_of_nothing():
    model, (images, classes) = keras_coda.CoDANet.from_preset("coda_digits"), all_digits()
    images, classes = images[:8], classes[:8].astype("int32")
    maps = posthoc.IntegratedGradients(40)(model, images, classes)
    own = model.predict(images, verbose=0)[np.arange(8), classes]
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), own - model.logit_bias, rtol=0.01)
    black = model.predict(np.zeros_like(images), verbose=0)[np.arange(8), classes]
    maps = posthoc.IntegratedGradients(40, encoded=False)(model, images, classes)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), own - black, rtol=0.01)


@any_backend
def test_gradients_agree_with_finite_differences():
    model, image = keras_coda.CoDANet.from_preset("coda_digits"), all_digits()[0][:1].astype("float32")
    gradients = posthoc.VanillaGradients(encoded=False)(model, image, np.array([3]))[0]
    steps = np.eye(64, dtype="float32").reshape(64, 8, 8, 1)
    up, down = (model.predict(image + sign * steps, verbose=0)[:, 3] for sign in (1, -1))
    np.testing.assert_allclose(gradients.ravel(), (up - down) / 2, atol=0.01 * np.abs(gradients).max())


@any_backend
def test_grad_cam_is_what_its_equations_say():
    rng = np.random.default_rng(0)
    inputs = keras.Input((None, None, 2))
    first = keras.layers.Conv2D(3, 2, strides=2, activation="tanh", name="first")
    last = keras.layers.Conv2D(4, 1, activation="tanh", name="last")
    x = keras.layers.GlobalAveragePooling2D()(last(first(inputs)))
    dense = keras.layers.Dense(3)
    model = keras.Model(inputs, dense(x))
    model.set_weights([rng.normal(size=w.shape, scale=0.02 if w.ndim == 4 else 1) for w in model.get_weights()])
    images, classes = rng.integers(0, 256, (2, 8, 6, 2)).astype("float32"), np.array([2, 0])
    outputs = keras.Model(inputs, last.output).predict(images, verbose=0)  # (2, 4, 3, 4)
    # The logit is the mean of the outputs times the dense weights: its gradient is these weights over 4 * 3 places.
    weights = np.asarray(dense.kernel)[:, classes].T / 12
    cams = np.einsum("bhwk,bk->bhw", outputs, weights)
    expected = [cv2.resize(cam, (6, 8)) for cam in cams]
    np.testing.assert_allclose(posthoc.GradCAM()(model, images, classes), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(
        posthoc.GradCAM("last")(model, images, classes), posthoc.GradCAM()(model, images, classes)
    )
    hidden = keras.Model(inputs, first.output).predict(images, verbose=0)
    slopes = (1 - np.tanh(hidden @ np.asarray(last.kernel)[0, 0] + np.asarray(last.bias)) ** 2)[..., None, :] * weights[
        :, None, None, None
    ]
    gradients = (slopes * np.asarray(last.kernel)[0, 0]).sum(axis=-1)  # (2, 4, 3, 3)
    cams = (hidden * gradients.mean(axis=(1, 2), keepdims=True)).sum(axis=-1)
    expected = [cv2.resize(cam, (6, 8)) for cam in cams]
    np.testing.assert_allclose(posthoc.GradCAM("first")(model, images, classes), expected, rtol=1e-3, atol=1e-6)


def test_grad_cam_of_the_class_maps_is_their_contributions_enlarged():
    model = two_layers(strides=(2, 1))
    images, _ = random_digits(2, size=8)
    coarse = model.explain(images, [0, 1], wrt="dau_2").contributions[:, 0]
    expected = [cv2.resize(cam, (8, 8)) for cam in coarse]
    np.testing.assert_allclose(posthoc.GradCAM()(model, images, np.array([0, 1])), expected, rtol=1e-4, atol=1e-7)


# === Every method ===


@any_backend
def test_maps_are_those_that_tensorflow_made():
    """``tests/golden/posthoc.npz`` was written by this function's loop on TensorFlow."""
    model = two_layers(strides=(2, 1))
    golden = np.load(GOLDEN)
    model.set_weights([golden[f"weight_{number}"] for number in range(len(model.weights))])
    images = random_digits(2, size=7)[0][:, :, :6]
    for method in METHODS:
        maps = method.of_classes(model, images, np.array([[0, 1], [1, 0]]))
        expected = golden[type(method).__name__]
        np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=repr(method))


@every
def test_a_batch_is_what_its_images_are_and_each_has_its_class(method, monkeypatch):
    model = two_layers()
    images = random_digits(3, size=7)[0]
    classes = np.array([0, 1, 1])
    batch = method(model, images, classes)
    assert batch.shape == (3, 7, 7)
    assert batch.dtype == "float32"
    tolerance = {"rtol": 1e-3, "atol": 1e-5 * np.abs(batch).max()}
    for image, c, expected in zip(images, classes, batch, strict=True):
        np.testing.assert_allclose(method(model, image[None], np.array([c]))[0], expected, **tolerance)
    assert np.abs(method(model, images, 1 - classes) - batch).max() > 0.01 * np.abs(batch).max()
    monkeypatch.setattr(gradients, "GRADIENT_PIXELS", 60)  # an image at a time
    monkeypatch.setattr(gradients, "LOGIT_PIXELS", 60)
    np.testing.assert_allclose(method(model, images, classes), batch, **tolerance)
    several = method.of_classes(model, images, np.stack([1 - classes, classes], axis=1))
    assert several.shape == (3, 2, 7, 7)
    np.testing.assert_allclose(several[:, 1], batch, **tolerance)
    np.testing.assert_allclose(several[:, 0], method(model, images, 1 - classes), **tolerance)


@every
def test_grids_of_another_shape_are_explained_by_the_same_model(method):
    images = random_digits(2, size=6)[0][:, :, :5]
    maps = method(two_layers(), images, np.array([0, 1]))
    assert maps.shape == (2, 6, 5)
    assert np.isfinite(maps).all()
    assert maps.std() > 0


@any_backend
def test_occlusion_does_not_remember_what_has_changed():
    model, method = two_layers(), posthoc.OcclusionSensitivity(3)
    images = random_digits(2, size=6)[0].astype("float32")
    classes = np.array([0, 1])
    before = method(model, images, classes)
    images[0] = 255 - images[0]
    assert not np.allclose(method(model, images, classes)[0], before[0])
    model.set_weights([2 * weight for weight in model.get_weights()])
    images[0] = 255 - images[0]
    assert not np.allclose(method(model, images, classes)[1], before[1])


@any_backend
@pytest.mark.parametrize(
    ("method", "function", "count"),
    [
        (posthoc.OcclusionSensitivity(3), "covered_logits", 1),
        (posthoc.RISE(20), "masked_probabilities", 2),  # one call for each image
        (posthoc.IntegratedGradients(3), "logit_gradients", 3),
        (posthoc.GradCAM(), "class_activation_maps", 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_all_classes_share_predictions(method, function, count, monkeypatch):
    calls, original = [], getattr(gradients, function)
    monkeypatch.setattr(
        gradients, function, lambda *arguments, **options: calls.append(1) or original(*arguments, **options)
    )
    images = random_digits(2, size=6)[0].astype("float32")
    maps = attributions(method, two_layers(), images, np.array([[0, 1], [0, 1]]))
    assert len(calls) == count
    assert not np.allclose(maps[:, 0], maps[:, 1])


@pytest.mark.slow
def test_models_are_not_kept_alive():
    model, more = two_layers(), [posthoc.VanillaGradients(encoded=False), posthoc.OcclusionSensitivity(3, fill=0)]
    for method in METHODS + more:
        method(model, random_digits(1, size=5)[0], np.array([0]))
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_noise_is_that_of_the_seed():
    model, images, classes = two_layers(), random_digits(1, size=6)[0], np.array([0])
    first, again, other = (posthoc.SmoothGrad(2, seed=seed)(model, images, classes) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    little = posthoc.SmoothGrad(2, noise=1e-3)(model, images, classes)
    np.testing.assert_allclose(little, posthoc.VanillaGradients()(model, images, classes), rtol=1e-2, atol=1e-4)


@any_backend
def test_names_tell_what_differs_from_the_default():
    assert posthoc.GradCAM().__name__ == "GradCAM"
    assert posthoc.IntegratedGradients(20).__name__ == "IntegratedGradients(steps=20)"
    assert posthoc.OcclusionSensitivity(5).__name__ == "OcclusionSensitivity(patch_size=5)"
    for name in posthoc.methods():
        assert posthoc.get(name).__name__ == name
    with pytest.raises(ValueError, match=r"Did you mean 'GradCAM'\?$"):
        posthoc.get("Grad-CAM")


# === Wrong input ===


@any_backend
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: posthoc.IntegratedGradients(1), "`steps` must .*at least 2.*steps=1"),
        (lambda: posthoc.SmoothGrad(0), "`samples` must"),
        (lambda: posthoc.SmoothGrad(noise=0), "`noise` must be positive"),
        (lambda: posthoc.OcclusionSensitivity(0), "`patch_size` must"),
        (lambda: posthoc.OcclusionSensitivity(3, strides=4), "never be covered.*strides=4, patch_size=3"),
        (lambda: posthoc.OcclusionSensitivity(3, fill=256), r"in \[0, 255\]"),
        (lambda: posthoc.RISE(0), "`masks` must"),
        (lambda: posthoc.RISE(cells=1), "`cells` must .*at least 2"),
        (lambda: posthoc.RISE(keep=1), "`keep` must be between 0 and 1. Received: keep=1"),
        (lambda: posthoc.RISE(fill=-1), r"in \[0, 255\]"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@every
@pytest.mark.parametrize(
    ("images", "classes", "message"),
    [
        (np.zeros((2, 6, 6)), np.zeros(2, int), "Images must have shape"),
        (np.zeros((2, 6, 6, 3)), np.zeros(2, int), "Images must have shape"),
        (np.full((2, 6, 6, 1), np.nan), np.zeros(2, int), "Pixels must be finite"),
        (np.zeros((2, 6, 6, 1)), np.zeros(3, int), "`classes` must be"),
        (np.zeros((2, 6, 6, 1)), np.zeros((2, 1), int), "one class for each image"),
        (np.zeros((2, 6, 6, 1)), None, "one class for each image"),
        (np.zeros((2, 6, 6, 1)), np.array([0, 2]), r"`classes` must be in \[0, 1\]"),
    ],
)
def test_images_and_classes_that_do_not_fit_are_refused(method, images, classes, message):
    with pytest.raises(ValueError, match=message):
        method(two_layers(), images, classes)


@any_backend
def test_models_that_a_method_cannot_explain_are_refused():
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    images, classes = random_digits(2, size=6)
    with pytest.raises(ValueError, match="must name a layer with an output .*layer_name=None, layers=\\[\\]"):
        posthoc.GradCAM()(model, images, classes)
    with pytest.raises(ValueError, match="layer_name='nonsense', layers=.*'dau_2'"):
        posthoc.GradCAM("nonsense")(two_layers(), images, classes)
    for method in (posthoc.VanillaGradients, posthoc.GradientsInputs, posthoc.IntegratedGradients):
        with pytest.raises(ValueError, match="explainable model"):
            method()(model, images, classes)
        assert method(encoded=False)(model, images, classes).shape == (2, 6, 6)
    assert posthoc.OcclusionSensitivity(3, fill=0)(model, images, classes).shape == (2, 6, 6)
