"""Images to arrays, and maps to pictures for a page."""

import base64
import dataclasses
from pathlib import Path

import numpy as np

from keras_coda.data.images import fitting, png, read_image
from keras_coda.utils.checks import require
from keras_coda.visualization import maps

MAX_PIXELS = 40_000_000  # of a file; a telephone's have 12 to 24 million
MAX_SIDE = 256  # of what a network for images of any size is given: maps of larger ones take seconds
CELL_SIDE = 96  # the same for a cell of a grid
STYLES = ("contributions", "linear map in color")


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image file in memory.

    Attributes:
        name: of the file, without folders.
        data: its bytes.
    """

    name: str
    data: bytes

    @classmethod
    def take(cls, path) -> "Picture":
        """Read a file and delete it, with its folder if that is empty then."""
        path = Path(path)
        try:
            return cls(path.name, path.read_bytes())
        finally:
            path.unlink(missing_ok=True)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()

    @classmethod
    def of(cls, name: str, pixels: np.ndarray) -> "Picture":
        """Return pixels ``(H, W, c)`` uint8 as a picture."""
        return cls(name, png(pixels))

    def image(self, size: tuple[int | None, int | None], channels: int, *, max_side: int = MAX_SIDE) -> np.ndarray:
        """Return what a network is given of it, ``(H, W, channels)`` float32 in [0, 255].

        Args:
            size: height and width that the network takes: images are cut to its proportions, then resized. Where one
                of them is None, an image stays as it is, unless a side is longer than ``max_side``.
            channels: 1 or 3.
            max_side: int.

        Raises:
            UnreadableImageError: for files that are no image, are animated, or have more than ``MAX_PIXELS``.
        """
        side = max_side if None in size else None
        pixels = read_image(self.data, channels, name=self.name, max_pixels=MAX_PIXELS, animated=False, max_side=side)
        return fitting(size)(pixels)


def data_uri(data: bytes) -> str:
    """Return a PNG file as an address that a page can show without any request."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def limit_of(contributions: np.ndarray, percentile: float) -> float:
    """Return where the colors of a map ``(H, W)`` end, in units of the logit, as the package's figures have it."""
    is_percentile = 0 <= percentile <= 100
    require(is_percentile, "The cut is a percentile, in [0, 100]", percentile=percentile)
    return float(maps.color_limit(np.abs(contributions), percentile))


def map_pixels(explanation, percentile: float, style: str) -> np.ndarray:
    """Draw the first map of the first image of an explanation.

    Args:
        explanation: a :class:`~keras_coda.Explanation`, with its linear map for that style.
        percentile: float in [0, 100]; colors, or opacities, end there.
        style: one of ``STYLES``.

    Returns:
        ``(H, W, 3)`` uint8. Of contributions red is for the class, blue against it; the linear map stands on white,
        for gray images on light blue.
    """
    from matplotlib import colormaps, colors

    require(style in STYLES, f"The rendering is one of {STYLES}", style=style)
    if style == STYLES[0]:
        contributions = explanation.contributions[0, 0]
        place = (np.clip(contributions / limit_of(contributions, percentile), -1, 1) + 1) / 2
        return colormaps[maps.COLORS](place, bytes=True)[..., :3]
    rgba = explanation[0].to_rgba(percentile=percentile)[0, 0]
    ground = colors.to_rgb(maps.TINT if explanation.images.shape[-1] == 1 else "white")
    blended = rgba[..., :3] * rgba[..., 3:] + np.array(ground) * (1 - rgba[..., 3:])
    return np.rint(255 * blended).astype("uint8")
