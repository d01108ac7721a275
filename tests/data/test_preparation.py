"""Claims about the preparation of photos: the pixels of torchvision and Pillow, in NumPy and in TensorFlow's graphs."""

import numpy as np
import pytest
from PIL import Image

from keras_coda.data.preparation import Preparation

SIZES = [(37, 50), (50, 37), (30, 30), (10, 33), (160, 121), (22, 23), (26, 25), (5, 301), (1, 1)]


def by_pillow(image, resize, crop):
    """As torchvision's Resize and CenterCrop treat an image of Pillow, of integers (H, W, c) or of floats (H, W)."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    size = int(resize * width / shorter), int(resize * height / shorter)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    left, top = (round((side - crop) / 2.0) for side in size)
    return np.asarray(resized.crop((left, top, left + crop, top + crop)))


@pytest.mark.any_backend
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("resize", "crop"), [(25, 22), (25, 21), (24, 24), (13, 7)])
def test_pixels_are_those_of_pillow_before_rounding(size, resize, crop):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), "uint8")
    found = Preparation(resize, crop)(image)
    assert (found.shape, found.dtype) == ((crop, crop, 3), np.float32)
    for channel in range(3):
        expected = by_pillow(image[..., channel].astype("float32"), resize, crop)
        np.testing.assert_allclose(found[..., channel], expected, atol=1e-3)
    assert np.abs(found - by_pillow(image, resize, crop)).max() <= 1.001  # of integers, Pillow rounds twice
    assert 0 <= found.min() <= found.max() <= 255


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_graphs_give_the_same_pixels(size, channels):
    tf = pytest.importorskip("tensorflow")
    from keras_coda.exporters.preparing import prepare

    image = np.random.default_rng(0).integers(0, 256, (*size, channels), "uint8")
    preparation = Preparation(25, 22)
    graph = tf.function(lambda pixels: prepare(pixels, preparation), autograph=False)
    found = graph.get_concrete_function(tf.TensorSpec((None, None, channels)))(tf.constant(image, tf.float32))
    np.testing.assert_allclose(found, preparation(image), atol=1e-4)
    np.testing.assert_array_equal(graph(tf.fill((*size, channels), 255.0)), 255)


@pytest.mark.any_backend
def test_only_the_part_that_is_kept_is_computed():
    image = np.broadcast_to(np.uint8(7), (2, 10**7, 3))  # the shares of all columns would be 2 GB
    np.testing.assert_allclose(Preparation(25, 22)(image), 7, rtol=1e-6)


@pytest.mark.parametrize("values", [(22, 25), (0, 0), (25, 0), (2.5, 2), ("25", 22), (None, 22)])
def test_wrong_sizes_are_refused(values):
    with pytest.raises(ValueError, match="Received: "):
        Preparation(*values)


@pytest.mark.any_backend
@pytest.mark.parametrize("value", [0, 255])
def test_pixels_stay_within_those_of_the_image(value):
    """A white image stays white to the last bit: float32 rounding would make it lighter than white."""
    np.testing.assert_array_equal(Preparation(256, 224)(np.full((301, 517, 3), value, "uint8")), value)
