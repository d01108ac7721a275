"""Images are scaled to cover a size and cut to it, in NumPy: as `keras.layers.Resizing` does it on TensorFlow."""

import numpy as np


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an image bilinearly to cover a size, and cut it evenly on its longer side.

    Keras' layer would be compiled anew by JAX for each size of an image.

    Args:
        pixels: ``(H, W, c)``, any real dtype.
        size: height and width of the result.

    Returns:
        ``(*size, c)`` float32.
    """
    height, width = pixels.shape[:2]
    part = [max(1, min(height, width * size[0] // size[1])), max(1, min(width, height * size[1] // size[0]))]
    top, left = (height - part[0]) // 2, (width - part[1]) // 2
    pixels = pixels[top : top + part[0], left : left + part[1]]
    (above, below, down), (before, after, right) = (_neighbors(*pair) for pair in zip(part, size, strict=True))
    rows = _between(pixels[above], pixels[below], down[:, None, None])
    return _between(rows[:, before], rows[:, after], right[None, :, None])


def _neighbors(old, new):
    """Return the two pixels that each new one lies between, and how far it is from the first, in [0, 1)."""
    places = (np.arange(new, dtype="float32") + 0.5) * np.float32(old / new) - 0.5
    first = np.floor(places)
    share = places - first
    first = first.astype("int32")
    return np.maximum(first, 0), np.minimum(first + 1, old - 1), share


def _between(first, second, share):
    first = first.astype("float32")
    return first + (second.astype("float32") - first) * share
