"""What happens at an event of the page: the session changes, or stays as it is and the page says why."""

import contextlib
import dataclasses
import itertools
import os
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_coda.explorer.examples import examples
from keras_coda.explorer.networks import MAX_CELLS, Networks
from keras_coda.explorer.sessions import CELL_SIDE, Picture, Session, Sessions
from keras_coda.explorer.view import TABS, View
from keras_coda.utils.checks import require


class Handlers:
    """The events of all open pages. They run one at a time.

    Args:
        networks: the networks to choose from.
    """

    def __init__(self, networks: Networks):
        self.networks, self.sessions, self._lock = networks, Sessions(), threading.Lock()
        self._numbers = itertools.count(1)
        self._events: dict[str, Callable[[Session, Mapping[str, Any]], Session]] = {
            "network": self._network, "view": self._view, "tab": self._tab, "current": lambda session, data: session,
            "example": self._example, "upload": self._upload, "class": self._class, "brush": self._brush,
            "cells": self._add_cells, "nine": self._nine, "replace": self._replace, "remove": self._remove,
            "empty": self._empty, "grid-class": self._grid_class,
        }  # fmt: skip

    def act(self, kind: str, data: Mapping[str, Any], key: str) -> tuple[Session, str]:
        """Change the session of a page.

        Args:
            kind: name of the event.
            data: what the page sends with it; it may be anything.
            key: of the session.

        Returns:
            The session, and what is wrong, "" for nothing. After an error the session is what it was before: what the
            page showed is still right.
        """
        with self._lock:
            try:
                session = self.sessions[key]
            except ValueError as error:
                return Session(self.networks.names[0]), str(error)
            problem = ""
            try:
                require(kind in self._events, "A page must send an event that this program knows", event=kind)
                session = self._events[kind](session, data)
            except ValueError as error:
                problem = str(error)
            except Exception as error:  # a fault of this program, which the page must not hide
                traceback.print_exc()
                problem = f"{type(error).__name__}: {error}"
            self.sessions[key] = session
        return session, problem

    def open(self, query: Mapping[str, str], key: str) -> tuple[Session, str]:
        """Start a session with what the address of the page asks for: by default the first example.

        Args:
            query: of the address, see :func:`keras_coda.explorer.view.address`.
            key: of the session.

        Returns:
            As :meth:`act`.
        """
        name, problem = query.get("network", self.networks.names[0]), ""
        if name not in self.networks.names:
            problem = f"The address of this page names a network that is not here. Received: '{name[:80]}'."
            name = self.networks.names[0]
        tab = query.get("tab")
        self.sessions[key] = Session(name, view=View.of(query), tab=tab if tab in TABS else TABS[0])
        session, wrong = self.act("example", {"index": query.get("example", 0)}, key)
        if wrong:
            session, _ = self.act("example", {"index": 0}, key)
        if "class" in query:
            session, more = self.act("class", {"value": query["class"]}, key)
            wrong = wrong or more
        return session, problem or wrong

    def close(self, key: str) -> None:
        """Delete a session."""
        self.sessions.forget(key)

    # === Both tabs ===

    def _network(self, session, data):
        """Explain the same images with another network; examples are replaced by those of the other network."""
        before = examples(self.networks[session.network].channels)
        network = self.networks[str(data.get("value"))]
        own = examples(network.channels)
        session = dataclasses.replace(session, network=str(data["value"]))
        if session.picture is not None:
            is_example = session.example is not None and own is not before
            session = self._explain(session, *((own[0], 0) if is_example else (session.picture, session.example)))
        cells = own if own is not before and session.cells == before else session.cells
        return self._grid(session, cells)

    def _view(self, session, data):
        return dataclasses.replace(session, view=session.view.changed(data.get("name"), data.get("value")))

    def _tab(self, session, data):
        require(data.get("value") in TABS, f"A tab must be one of {TABS}", tab=data.get("value"))
        return dataclasses.replace(session, tab=data["value"])

    # === One image ===

    def _upload(self, session, data):
        return self._explain(session, Picture.take(_uploaded(data.get("path"))), None)

    def _example(self, session, data):
        pictures = examples(self.networks[session.network].channels)
        index = _index("example", data.get("index"), len(pictures))
        return self._explain(session, pictures[index], index)

    def _class(self, session, data):
        """Explain the image that is shown for another class, without the same pixels."""
        if session.explanation is None or data.get("network", session.network) != session.network:
            return session
        network = self.networks[session.network]
        class_ = _index("class", data.get("value"), len(network.class_names))
        explanation = network.explain(session.explanation.images[0], class_)
        return self._without(dataclasses.replace(session, explanation=explanation), session.removed)

    def _brush(self, session, data):
        """Remove pixels, given as a 0 or 1 each; a stroke on a picture that was replaced since is ignored."""
        if session.explanation is None or data.get("id") != session.number:
            return session
        removed = data.get("removed")
        height, width = session.explanation.images.shape[1:3]
        rule = "A brush stroke must have a 0 or 1 for every pixel"
        fits = isinstance(removed, str) and len(removed) == height * width and set(removed) <= set("01")
        require(fits, rule, pixels=height * width)
        return self._without(session, np.array(list(removed), "uint8").reshape(height, width) > 0)

    def _without(self, session, removed):
        if removed is None or not removed.any():
            return dataclasses.replace(session, removed=None, without=None)
        without = self.networks[session.network].without(session.explanation, removed)
        return dataclasses.replace(session, removed=removed, without=without)

    def _explain(self, session, picture, example):
        network = self.networks[session.network]
        found = network.explain(_image(picture, network.size, network))
        original = picture.original(network.size, network.model.window, network.model.preparation)
        return dataclasses.replace(
            session, picture=picture, example=example, original=original, explanation=found, top=found, removed=None,
            without=None, number=next(self._numbers),
        )  # fmt: skip

    # === Grid ===

    def _add_cells(self, session, data):
        """Add uploaded images to the grid; if one cannot be read, none is added."""
        return self._grid(session, (*session.cells, *_pictures(data.get("paths"))))

    def _nine(self, session, data):
        return self._grid(session, examples(self.networks[session.network].channels))

    def _replace(self, session, data):
        index = _index("cell", data.get("index"), len(session.cells))
        (picture, *_) = _pictures([data.get("path")])
        return self._grid(session, (*session.cells[:index], picture, *session.cells[index + 1 :]))

    def _remove(self, session, data):
        index = _index("cell", data.get("index"), len(session.cells))
        return self._grid(session, (*session.cells[:index], *session.cells[index + 1 :]))

    def _empty(self, session, data):
        return self._grid(session, ())

    def _grid_class(self, session, data):
        """Explain the same grid for another class."""
        if session.grid is None or data.get("network", session.network) != session.network:
            return session
        network = self.networks[session.network]
        class_ = _index("class", data.get("value"), len(network.class_names))
        return dataclasses.replace(session, grid=network.grid_for_class(session.grid, class_))

    def _grid(self, session, cells):
        network = self.networks[session.network]
        rule = f"A grid must have up to {MAX_CELLS} images"
        require(len(cells) <= MAX_CELLS, rule, "Remove some, or add fewer", images=len(cells))
        size = (CELL_SIDE, CELL_SIDE) if None in network.size else network.size
        images = [_image(cell, size, network) for cell in cells]
        grid = network.grid(images, [cell.name for cell in cells]) if images else None
        return dataclasses.replace(session, cells=tuple(cells), grid=grid)


def _index(name, value, count):
    """Return an index that a page sent, an int or its digits."""
    rule = f"The {name} must be one of the {count} that the page shows"
    is_index = isinstance(value, int) or (isinstance(value, str) and value.isascii() and value.isdigit())
    require(is_index and 0 <= int(value) < count, rule, **{name: value})
    return int(value)


def _image(picture, size, network):
    """Return a picture as the input of a network."""
    model = network.model
    return picture.image(size, network.channels, window=model.window, preparation=model.preparation)


def _pictures(paths):
    """Take uploads; none of them stays on the disk, also if one is wrong."""
    require(isinstance(paths, list) and 0 < len(paths) < 100, "Images must be uploaded", "Choose files")
    pictures, problem = [], None
    for path in paths:
        try:
            pictures.append(Picture.take(_uploaded(path)))
        except ValueError as error:
            problem = problem or error
    if problem:
        raise problem
    return pictures


def _uploaded(path):
    """Return the path of an upload; refuse any other file, which a request could name."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
    found = Path()
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have
        found = Path(str(path)).resolve()
    require(folder in found.parents, "An image must be uploaded", "Choose a file", image=found.name)
    if not found.is_file():
        raise ValueError(
            f"An upload can be read only once. Received: '{found.name}', already deleted. Upload it again."
        )
    return found
