"""How photos are prepared for networks that were trained elsewhere: resized by their shorter side, then cut."""

import dataclasses
import math

import numpy as np

from keras_coda.utils.checks import check_int, require
from keras_coda.utils.records import from_fields


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Resize an image until its shorter side has ``resize`` pixels, and cut a square of ``crop`` out of its center.

    This is the usual preparation of ImageNet, with 256 and 224. It is what torchvision's ``Resize`` and ``CenterCrop``
    do with an image of Pillow (bilinear, with antialiasing), except that pixels are not rounded to integers, so that
    they differ from torchvision's by at most 1 of 255. Exported networks do the same in their graphs, see
    :mod:`keras_coda.exporters.preparing`.

    Attributes:
        resize: int, pixels of the shorter side.
        crop: int, pixels of the square's sides; at most ``resize``.

    Raises:
        ValueError: for other values.

    Example:
        >>> Preparation(resize=256, crop=224)(np.zeros((600, 800, 3), "uint8")).shape
        (224, 224, 3)
    """

    resize: int
    crop: int

    def __post_init__(self):
        for name in ("resize", "crop"):
            object.__setattr__(self, name, check_int(name, getattr(self, name)))
        rule = "`crop` must not exceed `resize`"
        require(self.crop <= self.resize, rule, resize=self.resize, crop=self.crop)

    @classmethod
    def of(cls, value) -> "Preparation | None":
        """Return a preparation, given as one or as its fields by name; None for None."""
        return from_fields(cls, value, "preparation", "{'resize': pixels, 'crop': pixels}")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the prepared image ``(crop, crop, c)``, float32, of pixels ``(H, W, c)`` of any real dtype."""
        shorter = min(pixels.shape[:2])
        (top, bottom, down), (left, right, across) = (self._shares(side, shorter) for side in pixels.shape[:2])
        used = pixels[top:bottom, left:right].astype("float32")
        rows = down @ used.reshape(len(used), -1)  # (crop, columns * c)
        means = np.einsum("jw,iwc->ijc", across, rows.reshape(self.crop, *used.shape[1:]), optimize=True)
        return np.clip(means, used.min(), used.max())  # rounding would lead out of [0, 255]

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return the part of an image that is left, in its own pixels: ``(x, y, width, height)``."""
        (top, high), (left, wide) = (self._part(side, min(height, width)) for side in (height, width))
        return left, top, wide, high

    def _part(self, side, shorter):
        """Return where the part that is left of a side begins, and how long it is, in pixels."""
        first, step = self._grid(side, shorter)
        return first * step, self.crop * step

    def _grid(self, side, shorter):
        """Return the number of new rows that are cut off at the beginning, and how many old rows a new one covers."""
        new = side * self.resize // shorter  # the longer side is rounded down, as by torchvision
        return round((new - self.crop) / 2), side / new  # to the nearest even number, as by torchvision

    def _shares(self, side: int, shorter: int) -> tuple[int, int, np.ndarray]:
        """Return the first old row that is used, the one behind the last, and the share of each in each new row.

        A new row is the mean of the old ones around it, with weights that fall linearly with the distance.

        Args:
            side: number of old rows.
            shorter: the shorter side of the image.

        Returns:
            ``(start, stop, shares)``, ``shares`` ``(crop, stop - start)`` float32.
        """
        first, step = self._grid(side, shorter)
        radius = max(step, 1.0)
        centers = (first + np.arange(self.crop) + 0.5) * step
        start, stop = max(math.floor(centers[0] - radius), 0), min(math.ceil(centers[-1] + radius), side)
        distances = np.abs(np.arange(start, stop) + 0.5 - centers[:, None]) / radius
        weights = np.maximum(1 - distances, 0)
        return start, stop, (weights / weights.sum(axis=1, keepdims=True)).astype("float32")
