"""Tiles of large images: where they lie, and which locations of a network's class maps they determine.

Layers with windows compute each location of the class maps from a part of the image. A tile is the part of the image
that some of these locations depend on. Inside the image a layer pads the tile with zeros where it should see more of
the image. The locations that depend on such zeros belong to other tiles, and a mask leaves them out.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from keras_coda.layers.dynamic_linear import Window
from keras_coda.layers.patches import count


@dataclasses.dataclass(frozen=True)
class Span:
    """A tile along one axis.

    Attributes:
        start: first entry of the image, a multiple of the product of all strides.
        stop: the entry after the last.
        first: first location of the class maps that belongs to the tile, counted in the whole image.
        last: the location after the last.
        offset: the location, in the whole image, of the first one of the tile's class maps.
        locations: length of the tile's class maps.
    """

    start: int
    stop: int
    first: int
    last: int
    offset: int
    locations: int

    @property
    def size(self) -> int:
        """Entries of the tile."""
        return self.stop - self.start

    def mask(self) -> np.ndarray:
        """Return 1 for the locations of the tile's class maps that belong to it, else 0: ``(locations,)`` float32."""
        number = self.offset + np.arange(self.locations)
        return ((number >= self.first) & (number < self.last)).astype("float32")

    def place(self, stride: int, size: int) -> slice:
        """Return where the activations of an inner layer for this tile lie among those for the whole image.

        Args:
            stride: product of the strides up to the layer.
            size: how many activations of the tile there are along the axis.
        """
        return slice(self.start // stride, self.start // stride + size)


def spans(size: int, windows: Sequence[tuple[int, int]], length: int) -> list[Span]:
    """Return the tiles along one axis. Together they have every location of the class maps, each once.

    Args:
        size: entries of the image along the axis.
        windows: kernel size and stride of every window, in turn.
        length: longest tile; longer ones are made if a single location depends on more entries.

    Returns:
        At least one :class:`Span`.
    """
    locations, stride = _locations(size, windows), math.prod(step for _, step in windows)
    below = above = 0  # location n depends on the entries from n * stride - below to n * stride + above
    reach = 1
    for kernel, step in windows:
        before = (kernel - 1) // 2
        below, above = below + before * reach, above + (kernel - 1 - before) * reach
        reach *= step
    found, first = [], 0
    while first < locations:
        start = max(0, (first * stride - below) // stride * stride)
        last = max(first, (start + length - 1 - above) // stride) + 1
        last = min(last, locations)
        stop = min(size, (last - 1) * stride + above + 1)
        found.append(Span(start, stop, first, last, start // stride, _locations(stop - start, windows)))
        first = last
    return found


def _locations(size, windows):
    for kernel, step in windows:
        size = count(size, kernel, step)
    return size


def tiles(height: int, width: int, windows: Sequence[Window], pixels: int) -> list[tuple[Span, Span]]:
    """Return the tiles of an image, rows first.

    Args:
        height: of the image.
        width: of the image.
        windows: of all layers before the sum over locations.
        pixels: about how many pixels a tile may have.

    Returns:
        Pairs of a :class:`Span` of rows and one of columns.
    """
    side = math.isqrt(pixels)
    columns = min(width, max(1, pixels // min(height, side)))
    rows = min(height, max(1, pixels // columns))
    down = spans(height, [(kernel[0], step[0]) for kernel, step in windows], rows)
    right = spans(width, [(kernel[1], step[1]) for kernel, step in windows], columns)
    return [(vertical, horizontal) for vertical in down for horizontal in right]
