"""The state of every open page: in memory only, deleted when the page is closed."""

import dataclasses
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from keras_coda.data.images import fitting, image_size, png, read_image
from keras_coda.data.preparation import Preparation
from keras_coda.explanations.explanation import Explanation
from keras_coda.explorer.networks import Grid
from keras_coda.explorer.view import TABS, View

MAX_SESSIONS = 32  # each holds image files and their explanations; beyond, the least recently used one is deleted
MAX_PIXELS = 40_000_000  # of an uploaded image; telephones take 12 to 24 million
MAX_SIDE = 256  # of an image for a network that takes any size, in pixels: maps of larger ones take seconds
CELL_SIDE = 96  # the same for a cell of a grid
THUMBNAIL = 512  # longest side of the copy of a photo that the page shows, in pixels


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image file in memory.

    Attributes:
        name: of the file, without folders.
        data: content of the file.
    """

    name: str
    data: bytes

    @classmethod
    def take(cls, path) -> "Picture":
        """Read a file, then delete it, and its folder if nothing else is in it."""
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

    def image(
        self,
        size: tuple[int | None, int | None],
        channels: int,
        *,
        max_side: int = MAX_SIDE,
        window: tuple[float, float] | None = None,
        preparation: Preparation | None = None,
    ) -> np.ndarray:
        """Return the picture as input of a network, ``(H, W, channels)`` float32 in [0, 255].

        Args:
            size: height and width of the network's input: the image is cropped to these proportions, then resized. If
                one of them is None, the image keeps its size, unless a side is longer than ``max_side``.
            channels: 1 or 3.
            max_side: the longest side, in pixels.
            window: of files with 16 bits per channel, see :func:`~keras_coda.data.read_image`.
            preparation: what is done to the image instead of all that, or None.

        Raises:
            UnreadableImageError: if the file is not an image, is animated, or has more than ``MAX_PIXELS`` pixels.
        """
        side = max_side if None in size and preparation is None else None
        options: dict[str, Any] = {"max_pixels": MAX_PIXELS, "animated": False, "max_side": side, "window": window}
        return fitting(size, preparation)(read_image(self.data, channels, name=self.name, **options))

    def original(self, size, window=None, preparation: Preparation | None = None) -> "Original":
        """Return a small copy of the picture, and which part of it a network sees; arguments as for :meth:`image`."""
        height, width = image_size(self.data)
        options: dict[str, Any] = {"max_pixels": MAX_PIXELS, "animated": False, "max_side": THUMBNAIL, "window": window}
        pixels = read_image(self.data, 3, name=self.name, **options)
        return Original(png(pixels), width, height, seen_part(height, width, size, preparation))


@dataclasses.dataclass(frozen=True)
class Original:
    """A picture before it is cut and resized for a network.

    Attributes:
        data: a PNG file of at most ``THUMBNAIL`` pixels per side.
        width: of the file, in pixels.
        height: of the file, in pixels.
        part: ``(left, top, width, height)`` of what the network sees, as shares of width and height.
    """

    data: bytes
    width: int
    height: int
    part: tuple[float, float, float, float]


def seen_part(height: int, width: int, size, preparation: Preparation | None = None):
    """Return which part of an image of ``height`` and ``width`` a network sees, see :class:`Original`."""
    if preparation is not None:
        side = min(height, width) * preparation.crop / preparation.resize
        across, down = side / width, side / height
    elif None in size:
        return 0.0, 0.0, 1.0, 1.0
    else:
        ratio = (size[1] / size[0]) / (width / height)  # below 1: the image is too wide
        across, down = min(ratio, 1.0), min(1 / ratio, 1.0)
    return (1 - across) / 2, (1 - down) / 2, across, down


@dataclasses.dataclass(frozen=True)
class Session:
    """The state of one open page.

    Attributes:
        network: name of the network.
        picture: the uploaded image or the example, or None.
        example: index of the example, None for an upload.
        original: what the page shows of ``picture`` itself.
        explanation: of ``picture``, or None.
        top: the same for the most probable class: its colors are the scale of all classes.
        number: a new one for every explained picture, so that a late brush stroke is not applied to another picture.
        removed: ``(H, W)`` bool, the pixels that are removed, or None.
        without: the explanation without the removed pixels, or None.
        cells: the pictures of the grid.
        grid: the grid of ``cells`` with its explanation, or None.
        view: how maps are drawn.
        tab: the open tab, one of ``view.TABS``.
    """

    network: str
    picture: Picture | None = None
    example: int | None = None
    original: Original | None = None
    explanation: Explanation | None = None
    top: Explanation | None = None
    number: int = 0
    removed: np.ndarray | None = None
    without: Explanation | None = None
    cells: tuple[Picture, ...] = ()
    grid: Grid | None = None
    view: View = dataclasses.field(default_factory=View)
    tab: str = TABS[0]


class Sessions:
    """All sessions, by the key that a page sends with every request. At most ``MAX_SESSIONS`` are kept."""

    def __init__(self):
        self._sessions, self._lock = OrderedDict(), threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def __getitem__(self, key: str) -> Session:
        """Return a session.

        Raises:
            ValueError: if there is none for this key, or it was deleted.
        """
        with self._lock:
            if key not in self._sessions:
                raise ValueError(
                    f"The session of this page has ended: the server keeps the {MAX_SESSIONS} that were used last. "
                    "Reload the page."
                )
            self._sessions.move_to_end(key)
            return self._sessions[key]

    def __setitem__(self, key: str, session: Session) -> None:
        with self._lock:
            self._sessions[key] = session
            self._sessions.move_to_end(key)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)

    def forget(self, key: str) -> None:
        """Delete a session, if there is one for this key."""
        with self._lock:
            self._sessions.pop(key, None)
