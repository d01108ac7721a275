import cv2
import numpy as np
import pytest

from keras_coda import posthoc
from tests.helpers.known_models import linear_model, one_pixel_model, random_digits
from tests.helpers.networks import two_layers

pytestmark = pytest.mark.any_backend


def naive_rise(model, image, c, method):
    """Equation 6 mask by mask, in the paper's words: small masks, enlarged bilinearly, cut out at random."""
    height, width = image.shape[:2]
    rng = np.random.default_rng(method.seed)
    small = (rng.random((method.masks, method.cells, method.cells)) < method.keep).astype("float32")
    cell = [-(-side // method.cells) for side in (height, width)]
    masks = []
    for mask, (y, x) in zip(small, rng.integers(0, cell, (method.masks, 2)), strict=True):
        enlarged = cv2.resize(mask, ((method.cells + 1) * cell[1], (method.cells + 1) * cell[0]))
        masks.append(enlarged[y : y + height, x : x + width])
    logits = model.predict_on_batch(np.stack([image * mask[..., None] for mask in masks]))[:, c]
    return sum(mask / (1 + np.exp(-logit)) for mask, logit in zip(masks, logits, strict=True)) / (
        method.masks * method.keep
    )


def test_rise_is_what_its_equation_says():
    model = two_layers()
    method = posthoc.RISE(12, cells=3, fill=0)
    images = random_digits(2, size=7)[0][:, :, :6].astype("float32")
    expected = [naive_rise(model, image, c, method) for image, c in zip(images, (0, 1), strict=True)]
    np.testing.assert_allclose(method(model, images, np.array([0, 1])), expected, rtol=1e-4)


@pytest.mark.parametrize(("fill", "centered"), [(None, True), (0, False), (50, True)])
def test_rise_of_a_pixel_that_decides_is_largest_there(fill, centered):
    model = one_pixel_model(1, 2, weight=6.0, offset=-3.0)  # whatever the color: of the encoding only
    if fill is not None:
        weights = np.zeros((4, 4, 2, 2))
        weights[1, 2] = 6.0, 0.0  # of the pixel's brightness
        model = linear_model(weights[:, :, :, [0, 0]] * [[[1], [0]]], -3.0)
    images = np.full((1, 4, 4, 1), 250, "uint8")
    method = posthoc.RISE(400, cells=4, fill=fill, centered=centered)
    (values,) = method(model, images, np.array([1]))
    assert np.unravel_index(values.argmax(), (4, 4)) == (1, 2)
    assert (values.min() < 0) == centered
    plain, centered = (posthoc.RISE(400, cells=4, fill=fill, centered=c)(model, images, [1])[0] for c in (False, True))
    mask_mean = np.concatenate(list(posthoc.RISE(400, cells=4)._masks((4, 4)))).mean(axis=0)  # noqa: SLF001
    constant = plain - centered  # but for the noise of the masks
    np.testing.assert_allclose(constant / constant.mean(), mask_mean / mask_mean.mean(), rtol=1e-4)


def test_masks_of_rise_keep_the_share_that_they_should():
    masks = np.concatenate(list(posthoc.RISE(3000, keep=0.3)._masks((10, 9))))  # noqa: SLF001
    assert masks.shape == (3000, 10, 9)
    assert masks.min() >= 0
    assert masks.max() <= 1
    np.testing.assert_allclose(masks.mean(axis=0), 0.3, atol=0.03)
