"""What the explorer computes: explanations, predictions without some pixels, and evidence per cell of a grid."""

import dataclasses
import functools
import math
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_coda.data.images import check_channels
from keras_coda.evaluation import grids
from keras_coda.explanations.explain import explain_without, thresholds_of
from keras_coda.explanations.explanation import Explanation
from keras_coda.models import presets
from keras_coda.models.files import is_keras_file, load_network
from keras_coda.utils.checks import require

MAX_CELLS = 9
EMPTY = 127.5  # the gray of cells without an image


@dataclasses.dataclass(frozen=True)
class WhatIf:
    """The logit of a class when some pixels are removed: as the map predicts it, and as the network computes it.

    Attributes:
        removed_share: share of the pixels that are removed, in [0, 1].
        contribution: sum of the contributions of the removed pixels to the logit.
        logit: the logit with all pixels.
        predicted: ``logit - contribution``: the logit if the weights stayed the same.
        real: the logit that the network computes without these pixels.
    """

    removed_share: float
    contribution: float
    logit: float
    predicted: float
    real: float


@dataclasses.dataclass(frozen=True)
class Grid:
    """Images joined into one, with the evidence for a class in each cell.

    Attributes:
        explanation: of the joined image, for one class.
        top: the same for the class that is predicted for it.
        rows: number of rows.
        columns: number of columns.
        names: of the images, row by row; the cells after the last image are gray.
        alone: ``(len(names),)`` int, the class predicted for each image alone.
        shares: ``(rows * columns,)`` float, the share of the positive contributions in each cell; zeros if no
            contribution is positive.
    """

    explanation: Explanation
    top: Explanation
    rows: int
    columns: int
    names: tuple[str, ...]
    alone: np.ndarray
    shares: np.ndarray


def what_if(explanation: Explanation, removed: np.ndarray, without: Explanation) -> WhatIf:
    """Compare what a map says about the removal of pixels with what the network computes without them.

    Args:
        explanation: of one image for one class.
        removed: ``(H, W)`` bool, True for the removed pixels.
        without: the explanation without these pixels.
    """
    contribution = float(explanation.contributions[0, 0][removed].sum(dtype="float64"))
    logit = float(explanation.explained_logits[0, 0])
    return WhatIf(
        removed_share=float(removed.mean()),
        contribution=contribution,
        logit=logit,
        predicted=logit - contribution,
        real=float(without.explained_logits[0, 0]),
    )


class Network:
    """A trained network to explore. A lock lets it compute one thing at a time.

    Args:
        source: name of a preset with weights, folder of a trained network, or ``.keras`` file.

    Attributes:
        model: the network.
        size: height and width of its input, None for any.
        channels: 1 for gray images, 3 for color images.
        class_names: one name per class.

    Raises:
        ValueError: if there is no such network, or its images do not have 1 or 3 channels.
    """

    def __init__(self, source: str):
        self._lock = threading.Lock()
        self.model = load_network(source)
        *size, self.channels = self.model.input.shape[1:]
        check_channels(self.channels)
        self.size = tuple(size)
        self.class_names = self.model.class_names or tuple(f"class {i}" for i in range(self.model.num_classes))

    def explain(self, image: np.ndarray, class_: int | None = None) -> Explanation:
        """Explain an image ``(H, W, c)`` for a class (None: the predicted one). The linear map is included."""
        with self._lock:
            return self._explain(self.model, image[None], class_)

    def labels(self, explanation: Explanation) -> list[tuple[str, float]] | None:
        """Return the labels that the explained image has, with their thresholds; None if every image has one."""
        thresholds = thresholds_of(self.model, len(self.class_names))
        if thresholds is None:
            return None
        found = np.flatnonzero(self.model.decide(explanation.probabilities)[0]).tolist()
        return [(self.class_names[index], thresholds[index]) for index in found]

    def without(self, explanation: Explanation, removed: np.ndarray) -> Explanation:
        """Explain the image of an explanation again, without the pixels that ``removed (H, W)``, bool, is True for."""
        with self._lock:
            return explain_without(self.model, explanation, np.asarray(removed, bool)[None]).enlarged()

    def grid(self, images: Sequence[np.ndarray], names: Sequence[str]) -> Grid:
        """Join up to nine images of one size into a grid, and explain it for the class that is predicted for it.

        Args:
            images: ``(H, W, c)`` each.
            names: one for each image.

        Raises:
            ValueError: if there is no image, or more than nine.
        """
        rule = f"A grid must have 1 to {MAX_CELLS} images"
        require(1 <= len(images) <= MAX_CELLS, rule, "Leave some out", images=len(images))
        rows, columns = grid_shape(len(images))
        cells = [*images, *[np.full_like(images[0], EMPTY)] * (rows * columns - len(images))]
        joined = grids.assemble(np.stack(cells)[None], rows, columns)
        with self._lock:
            alone = self._of_any_size.predict_on_batch(np.stack(images)).argmax(axis=1)
            explanation = self._explain(self._of_any_size, joined, None)
        shares = evidence(explanation.contributions[0, 0], rows, columns)
        return Grid(explanation, explanation, rows, columns, tuple(names), alone, shares)

    def grid_for_class(self, grid: Grid, class_: int) -> Grid:
        """Explain a grid that this network explained before for another class."""
        with self._lock:
            explanation = self._explain(self._of_any_size, grid.explanation.images, class_)
        shares = evidence(explanation.contributions[0, 0], grid.rows, grid.columns)
        return dataclasses.replace(grid, explanation=explanation, shares=shares)

    def warm_up(self) -> None:
        """Compile the functions of a network of fixed size, so that the first page does not wait for them."""
        if None not in self.size:
            image = np.zeros((*self.size, self.channels), "float32")
            self.explain(image)
            self.without(self.explain(image, 0), np.zeros(self.size, bool))

    def _explain(self, model, images, class_):
        classes = None if class_ is None else [[class_]]
        found = model.explain(images, classes, linear_map=True, verbose=False, class_names=self.class_names)
        return found.enlarged()

    @functools.cached_property
    def _of_any_size(self):
        return self.model.with_input_shape((None, None, self.channels))  # grids are larger than single images


class Networks:
    """The networks of the explorer by name. A network is loaded when it is first used, and stays in memory.

    Args:
        own: folders or ``.keras`` files of trained networks, or names of presets; they come first.

    Attributes:
        names: of all networks: first ``own``, then the presets with weights.

    Raises:
        ValueError: if one of ``own`` is not a network with weights.
    """

    def __init__(self, own: Iterable[str] = ()):
        self._sources: dict[str, str] = {}
        self._loaded: dict[str, Network] = {}
        self._lock = threading.Lock()
        for source in map(str, own):
            if is_keras_file(source):
                path = Path(source).expanduser()
                require(path.is_file(), "A network to explore must exist", model=source)
                self._sources[path.stem if path.stem not in self._sources else source] = source
                continue
            folder = presets.preset_folder(source)
            rule = "A network to explore must have weights"
            require(folder is not None, rule, "Train it first: `keras-coda train`", model=source)
            assert folder is not None
            presets.read(folder)
            name = source if presets.is_name(source) else _name(folder)
            if name in self._sources and self._sources[name] != source:
                name = str(folder)
            self._sources[name] = source
        for name in presets.preset_names():
            if presets.preset_folder(name) is not None and presets.is_name(name):
                self._sources.setdefault(name, name)
        self.names = tuple(self._sources)

    def __getitem__(self, name: str) -> Network:
        """Return a network.

        Raises:
            ValueError: if there is none of this name, or it cannot be loaded.
        """
        require(name in self._sources, f"The network must be one of {list(self.names)}", network=name)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Network(self._sources[name])
        return self._loaded[name]


def _name(folder):
    """Return the name to show for a folder: its last part, or RUN/model for a network that training saved."""
    parts = Path(folder).resolve().parts
    return "/".join(parts[-2:]) if parts[-1] == "model" else parts[-1]


def grid_shape(count: int) -> tuple[int, int]:
    """Return the numbers of rows and columns of a grid for 1 to 9 images; each is at most three."""
    columns = 2 if count == 4 else min(count, 3)
    return math.ceil(count / columns), columns


def evidence(contributions: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the share of the positive contributions in each cell, row by row; zeros if no contribution is positive.

    Args:
        contributions: ``(H, W)``, in units of the logit.
        rows: number of rows of the grid.
        columns: number of columns of the grid.
    """
    return grids.shares_of_cells(contributions.astype("float64"), rows, columns)
