"""What may be explained: arrays, one image or several, files, and images of Pillow."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_coda.data.images import check_channels, fitting, pillow_pixels, read_image
from keras_coda.data.preparation import Preparation
from keras_coda.utils.checks import require, to_numpy


def as_batch(
    images,
    input_shape: tuple[int | None, int | None, int],
    window: tuple[float, float] | None = None,
    preparation: Preparation | None = None,
) -> tuple[np.ndarray, bool]:
    """Return images as one array, and whether they were one image without a batch axis.

    Args:
        images: an array ``(B, H, W, c)``; one image, which is an array ``(H, W, c)``, the path of an image file or an
            image of Pillow; or a list of such images.
        input_shape: height, width and channels that the network takes; None for a size that is not fixed.
        window: of files with 16 bits per channel, see :func:`~keras_coda.data.read_image`.
        preparation: how files and images of Pillow are brought to the network's size; None: as usual.

    Returns:
        ``(array, is_one_image)``. Files and images of Pillow have the channels and size of the network; everything else
        is as it was given, and has not been checked.

    Raises:
        TypeError: for data sets, and whatever else holds no images.
        ValueError: for files that cannot be read, and lists of images of several sizes.
    """
    if _is_picture(images):
        return _loader(input_shape, window, preparation)(images)[None], True
    if isinstance(images, (list, tuple)) and len(images):
        load = _loader(input_shape, window, preparation) if any(map(_is_picture, images)) else None
        arrays = [load(each) if load and _is_picture(each) else to_numpy(each) for each in images]
        shapes = list(dict.fromkeys(array.shape for array in arrays))
        has_labels = any(len(shape) < 3 for shape in shapes)
        fix = "Pass the images without the labels" if has_labels else "Resize them, or explain them one by one"
        rule = "The images of a list must be of one size and have equal channels"
        require(len(shapes) == 1, rule, fix, shapes=shapes[:5])
        return np.stack(arrays), False
    if not hasattr(images, "dtype") and not isinstance(images, (list, tuple)):
        fix = "For a data set: `explain_batches`" if _is_dataset(images) else "Pass an array (batch, H, W, channels)"
        raise TypeError(
            "Images must be an array, an image file, an image of Pillow or a list of these. Received: "
            f"{type(images).__name__}. {fix}."
        )
    array = to_numpy(images)
    is_one = array.ndim == 3 and array.shape[-1] == input_shape[-1]
    return (array[None], True) if is_one else (array, False)


def file_names(images) -> tuple[str, ...] | None:
    """Return a name for each image, that of its file; None if none is a file."""
    group = images if isinstance(images, (list, tuple)) else [images]
    names = [Path(image).name if isinstance(image, (str, os.PathLike)) else None for image in group]
    return tuple(name or f"image {index}" for index, name in enumerate(names)) if any(names) else None


def pixel_reader(
    input_shape: tuple[int | None, int | None, int],
    max_side: int | None = None,
    window: tuple[float, float] | None = None,
    preparation: Preparation | None = None,
) -> tuple[Callable[..., np.ndarray], bool]:
    """Return the function that reads one image file as a network takes it, and whether that has a fixed image size.

    Args:
        input_shape: ``(H, W, c)`` of the network; H and W may be None.
        max_side: if the size is not fixed, larger images are reduced to this longer side; None: never.
        window: of files with 16 bits per channel, see :func:`~keras_coda.data.read_image`.
        preparation: how images are brought to the network's size; None: as usual.

    Returns:
        ``(read, is_fixed)``: ``read(source, **options)`` returns ``(H, W, c)`` float32; ``source`` and ``options`` are
        those of :func:`~keras_coda.data.read_image`.
    """
    *size, channels = input_shape
    check_channels(channels)
    is_fixed, fit = preparation is not None or None not in size, fitting(size, preparation)
    shared: dict[str, Any] = {"max_side": None if is_fixed else max_side, "animated": False, "window": window}
    return lambda source, **options: fit(read_image(source, channels, **shared, **options)), is_fixed


def _is_picture(image):
    """Return whether this is a path or an image of Pillow."""
    if isinstance(image, (str, os.PathLike)):
        return True
    from PIL import Image

    return isinstance(image, Image.Image)


def _is_dataset(images):
    return any(hasattr(images, name) for name in ("__iter__", "__getitem__", "validation"))


def _loader(input_shape, window, preparation):
    """Return the function that reads a file, or an image of Pillow, as the network takes it."""
    *size, channels = input_shape
    check_channels(channels)
    fit = fitting(size, preparation)

    def load(image):
        if isinstance(image, (str, os.PathLike)):
            return fit(read_image(Path(image).expanduser(), channels, animated=False, window=window))
        return fit(pillow_pixels(image, channels, window))

    return load
