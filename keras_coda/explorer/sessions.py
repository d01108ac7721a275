"""What each visitor is looking at: in memory only, and gone with the page."""

import dataclasses
import threading
from collections import OrderedDict

import numpy as np

from keras_coda.explanations.explanation import Explanation
from keras_coda.explorer.networks import Grid
from keras_coda.explorer.pictures import Picture

MAX_SESSIONS = 32  # of an image, as a file, and its explanation each; the one not used for longest goes first


@dataclasses.dataclass(frozen=True)
class Session:
    """One open page.

    Attributes:
        network: name of the network.
        picture: the image given, or None.
        explanation: of that, or None.
        number: counts explained images, so that a brush stroke is never taken for one on another image.
        gone: ``(H, W)`` bool, the pixels removed, or None.
        cells: the images of the grid.
        grid: of them, or None.
    """

    network: str
    picture: Picture | None = None
    explanation: Explanation | None = None
    number: int = 0
    gone: np.ndarray | None = None
    cells: tuple[Picture, ...] = ()
    grid: Grid | None = None


class Sessions:
    """Sessions by the key that a page sends with each request."""

    def __init__(self):
        self._sessions, self._lock = OrderedDict(), threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def __getitem__(self, key: str) -> Session:
        """Return a session.

        Raises:
            ValueError: if it is not known any more.
        """
        with self._lock:
            if key not in self._sessions:
                raise ValueError("This page was left for too long, or by too many others. Reload it.")
            self._sessions.move_to_end(key)
            return self._sessions[key]

    def __setitem__(self, key: str, session: Session) -> None:
        with self._lock:
            self._sessions[key] = session
            self._sessions.move_to_end(key)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)

    def forget(self, key: str) -> None:
        """Drop a session, if there is one."""
        with self._lock:
            self._sessions.pop(key, None)
