"""Scikit-learn's scanned digits, the embedded data set."""

from typing import NamedTuple

import numpy as np

from keras_coda.utils.checks import check_int, require

_SIDE = 8  # of a digit, in pixels


def all_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return all scanned digits, ``(1797, 8, 8, 1)`` uint8, and their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.rint(digits.images[..., None] * (255 / 16)).astype("uint8"), digits.target  # stored as 0..16


def load_digits(validation_split: float, seed: int) -> tuple:
    """Prepare the scanned digits, split by class (stratified), see `keras_coda.data.load`.

    Returns:
        `(train, validation), class_names, image_shape, (num_train, num_validation)`. Each part is a pair of arrays,
        images and labels.
    """
    from sklearn.model_selection import train_test_split

    images, labels = all_digits()
    x, x_val, y, y_val = train_test_split(
        images, labels, test_size=validation_split, stratify=labels, random_state=seed
    )
    return ((x, y), (x_val, y_val)), tuple("0123456789"), images.shape[1:], (len(x), len(x_val))


class Collages(NamedTuple):
    """Images with several digits, see :func:`digit_collages`.

    Attributes:
        images: ``(N, size, size, 1)`` uint8.
        labels: ``(N, 10)`` uint8, 1 for every digit that is in the image: several labels per image.
        classes: ``(N, n)`` int32, the class of each digit; -1 for no digit.
        boxes: ``(N, n, 4)`` int32, where each digit is: (top, left, bottom, right) in pixels, the last two excluded.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray


def digit_collages(
    count: int, *, size: int = 24, digits: tuple[int, int] = (1, 3), validation: bool = False, seed: int = 0
) -> Collages:
    """Place scanned digits of different classes at random on black images, without overlap.

    Args:
        count: int, the number of images N.
        size: int, at least 16, side of the images in pixels.
        digits: the least and the largest number n of digits in an image, each drawn equally often.
        validation: whether to use the digits that :func:`keras_coda.data.load` uses for validation, not those for
            training.
        seed: int, of all that is drawn.

    Returns:
        :class:`Collages`.

    Raises:
        ValueError: if an argument is out of range, or digits need more than half of the image.

    Example:
        >>> collages = keras_coda.data.digit_collages(100)
        >>> collages.images.shape, collages.labels.shape, collages.boxes.shape
        ((100, 24, 24, 1), (100, 10), (100, 3, 4))
    """
    count, size = check_int("count", count), check_int("size", size, minimum=16)
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    require(len(digits) == 2, "`digits` must be the least and the largest number of digits", digits=digits)
    least, most = (check_int("digits", number) for number in digits)
    fits = least <= most <= min(10, (size // _SIDE) ** 2 // 2)
    rule = "`digits` must be (least, most), at most 10, and they may fill half of the image"
    require(fits, rule, "Make it larger", digits=digits, size=size)
    scans, true = load_digits(0.2, 0)[0][int(validation)]
    by_class = [np.flatnonzero(true == class_) for class_ in range(10)]
    images = np.zeros((count, size, size, 1), "uint8")
    labels = np.zeros((count, 10), "uint8")
    classes = np.full((count, most), -1, "int32")
    boxes = np.zeros((count, most, 4), "int32")
    for image, label, own, places in zip(images, labels, classes, boxes, strict=True):
        number = rng.integers(least, most + 1)
        own[:number] = rng.permutation(10)[:number]
        corners = _corners(rng, number, size - _SIDE)
        places[:number] = np.hstack([corners, corners + _SIDE])
        label[own[:number]] = 1
        for class_, (top, left) in zip(own[:number], corners, strict=True):
            image[top : top + _SIDE, left : left + _SIDE] = scans[rng.choice(by_class[class_])]
    return Collages(images, labels, classes, boxes)


def _corners(rng, number, last):
    """Draw corners of digits, ``(number, 2)`` in [0, last], until none overlap."""
    while True:
        corners = rng.integers(0, last + 1, (number, 2))
        distances = np.abs(corners[:, None] - corners).max(axis=-1) + _SIDE * np.eye(number, dtype=int)
        if distances.min() >= _SIDE:
            return corners
