"""Example images: scanned digits for networks of gray images, drawings for networks of color images."""

import functools
from importlib import resources

from keras_coda.data.digits import all_digits
from keras_coda.explorer.sessions import Picture

DRAWINGS = ("airplane", "automobile", "ship", "truck", "horse", "deer", "frog", "bird", "cat")  # 32x32 PNG files


@functools.cache
def examples(channels: int) -> tuple[Picture, ...]:
    """Return nine pictures: for one channel one digit each of 0 to 8, for three channels the drawings."""
    if channels == 1:
        images, labels = all_digits()
        return tuple(Picture.of(f"digit {digit}", images[labels == digit][0]) for digit in range(9))
    folder = resources.files("keras_coda.explorer") / "static"
    return tuple(Picture(f"{name}, drawn", (folder / f"example-{name}.png").read_bytes()) for name in DRAWINGS)
