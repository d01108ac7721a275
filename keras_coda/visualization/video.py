"""Pictures of a video: every frame beside its contribution map."""

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_coda.visualization.colors import COLORS

if TYPE_CHECKING:
    from PIL import ImageFont

GAP = 8  # pixels between frame and map
NARROWEST = 160  # pixels; captions do not fit above narrower panels
_FADED = 0.25  # contrast of the gray frame outside the region that the network sees
_FRAME = 90  # gray value of the line around that region


class Panels:
    """Draws pictures with a fixed layout and color scale: the frame on the left, its map on the right.

    The map is enlarged to the resolution of the video without smoothing, at the place of the region that the network
    sees. Around it is the rest of the frame, gray and with low contrast. Red is evidence for the class, blue against
    it. Each half has a line of text above it if it is wide enough.

    Args:
        size: height and width of the frames, in pixels.
        seen: x, y, width and height of the region that the network sees, in pixels.
        limit: float, the contribution at which the color scale ends, in units of the logit.

    Attributes:
        shape: height and width of the pictures, even numbers.
        frame: where the frame is in a picture: a slice of rows and one of columns.
        map: where the map is, a pair of slices too.
    """

    def __init__(self, size: tuple[int, int], seen: tuple[int, int, int, int], limit: float):
        from matplotlib import colormaps

        (height, width), (x, y, seen_width, seen_height) = size, seen
        self._font: ImageFont.FreeTypeFont | None
        self._font, top = _font(height) if width >= NARROWEST else (None, 0)
        right = width + GAP
        self.shape = _even(top + height), _even(right + width)
        self.frame = slice(top, top + height), slice(0, width)
        self.map = slice(top + y, top + y + seen_height), slice(right + x, right + x + seen_width)
        self._all = slice(top, top + height), slice(right, right + width)
        self._colors = colormaps[COLORS](np.arange(256), bytes=True)[:, :3]  # (256, 3)
        self._limit, self._width = limit, width

    def draw(self, frame: np.ndarray, contributions: np.ndarray, captions: tuple[str, str] = ("", "")) -> np.ndarray:
        """Draw one picture.

        Args:
            frame: ``(H, W, 3)`` uint8.
            contributions: ``(h, w)``, in units of the logit.
            captions: for the frame and for the map; shortened if they are too long.

        Returns:
            ``(*shape, 3)`` uint8.
        """
        picture = np.full((*self.shape, 3), 255, "uint8")
        picture[self.frame] = frame
        gray = frame @ np.array([0.299, 0.587, 0.114], "float32")
        picture[self._all] = (255 - _FADED * (255 - gray)).astype("uint8")[..., None]
        rows, columns = self.map
        around = slice(max(rows.start - 1, self._all[0].start), min(rows.stop + 1, self._all[0].stop))
        beside = slice(max(columns.start - 1, self._all[1].start), min(columns.stop + 1, self._all[1].stop))
        picture[around, beside] = _FRAME
        picture[rows, columns] = self._render(contributions, rows.stop - rows.start, columns.stop - columns.start)
        if self._font is not None:
            for text, left in zip(captions, (0, self._all[1].start), strict=True):
                self._write(picture[: self.frame[0].start, left : left + self._width], text)
        return picture

    def _render(self, contributions, height, width):
        """Color a map and enlarge it by nearest-neighbor interpolation."""
        place = (np.clip(contributions / self._limit, -1, 1) + 1) / 2  # 0: against, 1: for
        colors = self._colors[np.minimum((256 * place).astype(int), 255)]  # (h, w, 3)
        rows = (np.arange(height) * contributions.shape[0]) // height
        columns = (np.arange(width) * contributions.shape[1]) // width
        return colors[rows[:, None], columns]

    def _write(self, strip, text):
        from PIL import Image, ImageDraw

        room = strip.shape[1] - 8
        while text and self._font.getlength(text) > room:
            text = text.removesuffix("…")[:-1].rstrip(" ·,") + "…" if len(text) > 1 else ""
        image = Image.fromarray(strip)
        ImageDraw.Draw(image).text((4, strip.shape[0] // 2), text, fill=(25, 25, 25), font=self._font, anchor="lm")
        strip[:] = np.asarray(image)


@functools.cache
def _font(height: int) -> tuple["ImageFont.FreeTypeFont", int]:
    """Return the font for videos of a height, and the height of a line, in pixels."""
    import matplotlib
    from PIL import ImageFont

    size = min(max(12, height // 28), 40)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
    return font, _even(math.ceil(1.7 * size))


def _even(number):
    return number + number % 2
