"""A few photos of CIFAR-10, embedded: what tutorials and the explorer show of a network for color images."""

from importlib import resources

import numpy as np

from keras_coda.data.images import read_image

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SIDE = 32  # of a photo, in pixels; the file has a column for each class


def sample_photos() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return three photos of each class of CIFAR-10 that no network of this package was trained on.

    They are the first three of each class in the validation part, right or wrong: nothing was selected. They are too
    few to measure anything.

    Returns:
        Images, ``(30, 32, 32, 3)`` uint8 in [0, 255]; their labels, ``(30,)`` int64 in [0, 10): one photo of every
        class, then the next of every class; the names of the classes.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    Example:
        >>> photos, labels, class_names = keras_coda.data.sample_photos()
        >>> photos.shape, class_names[labels[2]]
        ((30, 32, 32, 3), 'bird')
    """
    sheet = read_image((resources.files("keras_coda.data") / "sample_photos.png").read_bytes(), channels=3)
    cells = sheet.reshape(-1, _SIDE, len(CLASSES), _SIDE, 3).swapaxes(1, 2)
    images = cells.reshape(-1, _SIDE, _SIDE, 3).copy()
    return images, np.arange(len(images)) % len(CLASSES), CLASSES
