"""What happens when the page is used, and what it shows then."""

import dataclasses
import functools
import itertools
import os
import threading
import traceback
from pathlib import Path

import gradio as gr
import numpy as np

from keras_coda.explorer import views
from keras_coda.explorer.examples import examples
from keras_coda.explorer.networks import MAX_CELLS, Networks
from keras_coda.explorer.pictures import CELL_SIDE, Picture, data_uri, png
from keras_coda.explorer.sessions import Session, Sessions
from keras_coda.utils.checks import require


def _handler(**clear):
    """Make a method an event handler: one at a time, errors in the message box beside an honest rest.

    Args:
        **clear: fields of the session after an error, so that nothing is left that belongs to something else.
    """

    def decorate(method):
        @functools.wraps(method)
        def handle(self, *arguments):
            *arguments, request = arguments
            key = request.session_hash
            with self.lock:
                try:
                    session = self.sessions[key]
                except ValueError as error:
                    return Session(self.networks.names[0]), str(error)
                problem = ""
                try:
                    session = method(self, session, *arguments)
                except ValueError as error:
                    problem = str(error)
                except Exception as error:  # the page must not go on showing what was there before
                    traceback.print_exc()
                    problem = f"{type(error).__name__}: {error}"
                if problem:
                    session = dataclasses.replace(session, **clear)
                self.sessions[key] = session
            return session, problem

        return handle

    return decorate


class Explorer:
    """Handlers of the page's events; each takes the session it is for, and returns what it becomes.

    Args:
        networks: those to choose from.
    """

    def __init__(self, networks: Networks):
        self.networks, self.sessions, self.lock = networks, Sessions(), threading.Lock()
        self._numbers = itertools.count(1)

    # === One image ===

    @_handler(picture=None, explanation=None, gone=None)
    def give(self, session, path):
        """Explain an uploaded image."""
        return self._explain(session, Picture.take(_uploaded(path)))

    @_handler(picture=None, explanation=None, gone=None)
    def example(self, session, index):
        """Explain an example."""
        return self._explain(session, examples(self.networks[session.network].channels)[int(index)])

    @_handler(explanation=None, gone=None)
    def choose_class(self, session, class_):
        """Explain the same image for another class."""
        if session.explanation is None or class_ is None:
            return session
        network = self.networks[session.network]
        return dataclasses.replace(session, explanation=network.explain(session.explanation.images[0], int(class_)))

    @_handler(gone=None)
    def brush(self, session, number, gone):
        """Note which pixels are gone; strokes on an image that was replaced meanwhile are not those of this one."""
        if session.explanation is None or number != session.number:
            return session
        height, width = session.explanation.images.shape[1:3]
        rule = "A stroke is a 0 or 1 for every pixel"
        fits = isinstance(gone, str) and len(gone) == height * width and set(gone) <= set("01")
        require(fits, rule, pixels=height * width)
        mask = np.array(list(gone), "uint8").reshape(height, width) > 0
        return dataclasses.replace(session, gone=mask if mask.any() else None)

    def _explain(self, session, picture):
        network = self.networks[session.network]
        explanation = network.explain(picture.image(network.size, network.channels))
        number = next(self._numbers)
        return dataclasses.replace(session, picture=picture, explanation=explanation, gone=None, number=number)

    # === Grid ===

    @_handler()
    def add_cells(self, session, paths):
        """Add uploaded images to the grid: all of them, or none."""
        pictures = [Picture.take(_uploaded(path)) for path in paths]
        return self._grid(session, (*session.cells, *pictures))

    @_handler()
    def example_cells(self, session):
        """Make a grid of the examples."""
        return self._grid(session, examples(self.networks[session.network].channels))

    @_handler()
    def clear_cells(self, session):
        """Take all images out of the grid."""
        return dataclasses.replace(session, cells=(), grid=None)

    @_handler(grid=None, cells=())
    def choose_grid_class(self, session, class_):
        """Explain the grid for another class."""
        return session if session.grid is None or class_ is None else self._grid(session, session.cells, int(class_))

    def _grid(self, session, cells, class_=None):
        network = self.networks[session.network]
        rule = f"A grid is made of up to {MAX_CELLS} images"
        require(len(cells) <= MAX_CELLS, rule, "Empty it, or add fewer", images=len(cells))
        size = (CELL_SIDE, CELL_SIDE) if None in network.size else network.size
        images = [cell.image(size, network.channels) for cell in cells]
        grid = network.grid(images, [cell.name for cell in cells], class_) if images else None
        return dataclasses.replace(session, cells=tuple(cells), grid=grid)

    # === Both ===

    def open(self, request):
        """Begin a session with an example."""
        self.sessions[request.session_hash] = Session(self.networks.names[0])
        return self.example(0, request)

    @_handler(picture=None, explanation=None, gone=None, cells=(), grid=None)
    def choose_network(self, session, name):
        """Explain the same images by another network; examples give way to its own."""
        before = examples(self.networks[session.network].channels)
        network = self.networks[name]
        own = examples(network.channels)
        session = dataclasses.replace(session, network=name, explanation=None, gone=None, grid=None)
        if session.picture is not None:
            is_example = own is not before and session.picture in before
            session = self._explain(session, own[0] if is_example else session.picture)
        cells = own if own is not before and session.cells == before else session.cells
        return self._grid(session, cells)

    @_handler()
    def look(self, session):
        """Change nothing: for what only draws."""
        return session

    def close(self, request):
        """Forget a session."""
        self.sessions.forget(request.session_hash)

    # === What the page shows ===

    def everything(self, outcome, percentile, style):
        """Return what is said of the network, its examples, then what :meth:`one` and :meth:`grid` do."""
        network = self.networks[outcome[0].network]
        return [views.about(network), views.gallery(examples(network.channels)),
                *self.one(outcome, percentile, style), *self.grid((outcome[0], ""), percentile, style)]  # fmt: skip

    def maps(self, session, percentile, style):
        """Return the map of the image and that of the grid, "" where there is none."""
        one = "" if session.explanation is None else views.map_view(session.explanation, percentile, style)
        return one, "" if session.grid is None else views.grid_map(session.grid, percentile, style)

    def one(self, outcome, percentile, style):
        """Return message, image, map, bars, class and what-if of the image."""
        session, problem = outcome
        explanation = session.explanation
        if explanation is None:
            return [views.message(problem), None, "", "", self._classes(session, None), views.what_if(None, "")]
        drawn = views.map_view(explanation, percentile, style)
        image, class_ = explanation.images[0], int(explanation.classes[0, 0])
        shown = {"id": session.number, "src": data_uri(png(image)), "name": session.picture.name}
        shown |= {"width": image.shape[1], "height": image.shape[0]}
        classes = self._classes(session, class_)
        return [views.message(problem), shown, drawn, views.bars(explanation), classes, self.what_if(session)]

    def what_if(self, session):
        """Return what becomes of the class without the pixels that are gone."""
        if session.gone is None or session.explanation is None:
            return views.what_if(None, "")
        explanation = session.explanation
        result = self.networks[session.network].what_if(explanation, session.gone)
        return views.what_if(result, explanation.class_names[explanation.classes[0, 0]])

    def grid(self, outcome, percentile, style):
        """Return message, image, map, class and table of the grid."""
        session, problem = outcome
        if session.grid is None:
            hint = problem or "Add up to nine images, or take the examples."
            told = views.message(hint, is_error=bool(problem))
            return [told, "", "", self._classes(session, None), ""]
        classes = self._classes(session, int(session.grid.explanation.classes[0, 0]))
        drawn = views.grid_image(session.grid), views.grid_map(session.grid, percentile, style)
        return [views.message(problem), *drawn, classes, views.grid_table(session.grid)]

    def _classes(self, session, chosen):
        names = self.networks[session.network].class_names
        return gr.Dropdown(choices=[(name, index) for index, name in enumerate(names)], value=chosen)


def _uploaded(path):
    """Return the path of an upload; a request may name any other file."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
    path = Path(str(path)).resolve()
    require(folder in path.parents, "An image must be uploaded", "Choose a file", image=path.name)
    if not path.is_file():
        raise ValueError(f"An upload is read once. Received: '{path.name}', which is gone. Give it again.")
    return path
