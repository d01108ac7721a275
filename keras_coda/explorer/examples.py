"""Example images: scanned digits for networks of gray images, photos for networks of color images."""

import functools

from keras_coda.data import all_digits, sample_photos
from keras_coda.explorer.sessions import Picture


@functools.cache
def examples(channels: int) -> tuple[Picture, ...]:
    """Return nine pictures of nine classes: digits of 0 to 8 for one channel, photos for three channels."""
    if channels == 1:
        images, labels = all_digits()
        return tuple(Picture.of(f"digit {digit}", images[labels == digit][0]) for digit in range(9))
    images, labels, class_names = sample_photos()
    return tuple(Picture.of(f"{class_names[label]} photo", images[index]) for index, label in enumerate(labels[:9]))
