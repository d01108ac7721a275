"""What happens at an event of the page, and what the page shows after it."""

import dataclasses
import functools
import itertools
import os
import threading
import traceback
from pathlib import Path

import gradio as gr
import numpy as np

from keras_coda.data.images import png
from keras_coda.explorer import rendering
from keras_coda.explorer.examples import examples
from keras_coda.explorer.networks import MAX_CELLS, Networks
from keras_coda.explorer.sessions import CELL_SIDE, Picture, Session, Sessions
from keras_coda.utils.checks import require


def _handler(**clear):
    """Make a method an event handler: handlers run one at a time; an error becomes a message for the page.

    The method takes a session and returns the changed one. The handler takes Gradio's request as its last argument, and
    returns the session and the message, "" if there was no error.

    Args:
        **clear: fields of the session and the values that they get after an error, so that the page shows nothing
            outdated beside the message.
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
                except Exception as error:  # a fault: the page must show it, too, instead of the map from before
                    traceback.print_exc()
                    problem = f"{type(error).__name__}: {error}"
                if problem:
                    session = dataclasses.replace(session, **clear)
                self.sessions[key] = session
            return session, problem

        return handle

    return decorate


class Handlers:
    """The handlers of the page's events, and what the page shows after them.

    Args:
        networks: the networks to choose from.
    """

    def __init__(self, networks: Networks):
        self.networks, self.sessions, self.lock = networks, Sessions(), threading.Lock()
        self._numbers = itertools.count(1)

    # === One image ===

    @_handler(picture=None, explanation=None, removed=None)
    def upload(self, session, path):
        """Explain an uploaded image."""
        return self._explain(session, Picture.take(_uploaded(path)))

    @_handler(picture=None, explanation=None, removed=None)
    def example(self, session, index):
        """Explain an example."""
        return self._explain(session, examples(self.networks[session.network].channels)[int(index)])

    @_handler(explanation=None, removed=None)
    def choose_class(self, session, class_):
        """Explain the same image for another class."""
        if session.explanation is None or class_ is None:
            return session
        network = self.networks[session.network]
        return dataclasses.replace(session, explanation=network.explain(session.explanation.images[0], int(class_)))

    @_handler(removed=None)
    def brush(self, session, number, removed):
        """Store which pixels are removed, a 0 or 1 each; a stroke on a picture that was replaced since is ignored."""
        if session.explanation is None or number != session.number:
            return session
        height, width = session.explanation.images.shape[1:3]
        rule = "A brush stroke must have a 0 or 1 for every pixel"
        fits = isinstance(removed, str) and len(removed) == height * width and set(removed) <= set("01")
        require(fits, rule, pixels=height * width)
        mask = np.array(list(removed), "uint8").reshape(height, width) > 0
        return dataclasses.replace(session, removed=mask if mask.any() else None)

    def _explain(self, session, picture):
        network = self.networks[session.network]
        explanation = network.explain(_image(picture, network.size, network))
        number = next(self._numbers)
        return dataclasses.replace(session, picture=picture, explanation=explanation, removed=None, number=number)

    # === Grid ===

    @_handler()
    def upload_cells(self, session, paths):
        """Add uploaded images to the grid; if one cannot be read, none is added."""
        pictures = [Picture.take(_uploaded(path)) for path in paths]
        return self._grid(session, (*session.cells, *pictures))

    @_handler()
    def example_cells(self, session):
        """Make a grid of the examples."""
        return self._grid(session, examples(self.networks[session.network].channels))

    @_handler()
    def clear_cells(self, session):
        """Remove all images from the grid."""
        return dataclasses.replace(session, cells=(), grid=None)

    @_handler(grid=None, cells=())
    def choose_grid_class(self, session, class_):
        """Explain the same grid for another class."""
        if session.grid is None or class_ is None:
            return session
        grid = self.networks[session.network].grid_for_class(session.grid, int(class_))
        return dataclasses.replace(session, grid=grid)

    def _grid(self, session, cells):
        network = self.networks[session.network]
        rule = f"A grid must have up to {MAX_CELLS} images"
        require(len(cells) <= MAX_CELLS, rule, "Empty it, or add fewer", images=len(cells))
        size = (CELL_SIDE, CELL_SIDE) if None in network.size else network.size
        images = [_image(cell, size, network) for cell in cells]
        grid = network.grid(images, [cell.name for cell in cells]) if images else None
        return dataclasses.replace(session, cells=tuple(cells), grid=grid)

    # === Both ===

    def open(self, request):
        """Start a session with the first example."""
        self.sessions[request.session_hash] = Session(self.networks.names[0])
        return self.example(0, request)

    @_handler(picture=None, explanation=None, removed=None, cells=(), grid=None)
    def choose_network(self, session, name):
        """Explain the same images with another network; examples are replaced by those of the other network."""
        before = examples(self.networks[session.network].channels)
        network = self.networks[name]
        own = examples(network.channels)
        session = dataclasses.replace(session, network=name, explanation=None, removed=None, grid=None)
        if session.picture is not None:
            is_example = own is not before and session.picture in before
            session = self._explain(session, own[0] if is_example else session.picture)
        cells = own if own is not before and session.cells == before else session.cells
        return self._grid(session, cells)

    @_handler()
    def current(self, session):
        """Return the session as it is."""
        return session

    def close(self, request):
        """Delete a session."""
        self.sessions.forget(request.session_hash)

    # === What the page shows; `outcome` is what a handler returned ===

    def show_all(self, outcome, percentile, style):
        """Return the line about the network, its examples, then what `show_image` and `show_grid` return."""
        network = self.networks[outcome[0].network]
        top = [rendering.about(network), rendering.gallery(examples(network.channels))]
        grid = self.show_grid((outcome[0], ""), percentile, style)  # a message is shown once
        return [*top, *self.show_image(outcome, percentile, style), *grid]

    def show_maps(self, outcome, percentile, style):
        """Return message, map of the image and map of the grid; a map that does not exist is ""."""
        session, problem = outcome
        one = "" if session.explanation is None else rendering.map_view(session.explanation, percentile, style)
        grid = "" if session.grid is None else rendering.grid_map(session.grid, percentile, style)
        return [rendering.message(problem), one, grid]

    def show_image(self, outcome, percentile, style):
        """Return message, image, map, bars, class and what-if table of the image."""
        session, problem = outcome
        told, explanation = rendering.message(problem), session.explanation
        if explanation is None:
            return [told, None, "", "", self._classes(session, None), rendering.what_if(None, "")]
        drawn = rendering.map_view(explanation, percentile, style)
        image, class_ = explanation.images[0], int(explanation.classes[0, 0])
        shown = {"id": session.number, "src": rendering.data_uri(png(image)), "name": session.picture.name}
        shown |= {"width": image.shape[1], "height": image.shape[0]}
        classes = self._classes(session, class_)
        bars = rendering.bars(explanation, self.networks[session.network].labels(explanation))
        return [told, shown, drawn, bars, classes, self._what_if(session)]

    def show_what_if(self, outcome):
        """Return message and what-if table of the image."""
        session, problem = outcome
        return [rendering.message(problem), self._what_if(session)]

    def show_grid(self, outcome, percentile, style):
        """Return message, image, map, class and table of the grid."""
        session, problem = outcome
        if session.grid is None:
            hint = problem or "Upload up to nine images, or use the examples."
            told = rendering.message(hint, is_error=bool(problem))
            return [told, "", "", self._classes(session, None), ""]
        classes = self._classes(session, int(session.grid.explanation.classes[0, 0]))
        drawn = rendering.grid_image(session.grid), rendering.grid_map(session.grid, percentile, style)
        return [rendering.message(problem), *drawn, classes, rendering.grid_table(session.grid)]

    def _what_if(self, session):
        if session.removed is None or session.explanation is None:
            return rendering.what_if(None, "")
        explanation = session.explanation
        result = self.networks[session.network].what_if(explanation, session.removed)
        return rendering.what_if(result, explanation.class_names[explanation.classes[0, 0]])

    def _classes(self, session, chosen):
        names = self.networks[session.network].class_names
        return gr.Dropdown(choices=[(name, index) for index, name in enumerate(names)], value=chosen)


def _image(picture, size, network):
    """Return a picture as the input of a network."""
    model = network.model
    return picture.image(size, network.channels, window=model.window, preparation=model.preparation)


def _uploaded(path):
    """Return the path of an upload; refuse any other file, which a request could name."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
    path = Path(str(path)).resolve()
    require(folder in path.parents, "An image must be uploaded", "Choose a file", image=path.name)
    if not path.is_file():
        raise ValueError(f"An upload can be read only once. Received: '{path.name}', already deleted. Upload it again.")
    return path
