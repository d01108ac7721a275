"""What the explorer computes: explanations, predictions without some pixels, evidence per cell of a grid."""

import dataclasses
import functools
import math
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_coda.data.images import check_channels
from keras_coda.evaluation import grids
from keras_coda.evaluation.localization_grids import of_any_size
from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.explanations.explanation import Explanation
from keras_coda.explanations.masking import MaskedModel
from keras_coda.models import presets
from keras_coda.models.coda_net import CoDANet
from keras_coda.utils.checks import require

MAX_CELLS = 9
EMPTY = 127.5  # pixels of cells without an image


@dataclasses.dataclass(frozen=True)
class WhatIf:
    """A class without some pixels: what its map predicts, and what the network says.

    Attributes:
        removed: share of the pixels that are gone.
        contribution: what they contributed to the logit.
        logit: the logit with all pixels.
        predicted: ``logit - contribution``: the weights as they were.
        real: the network's logit of the image without them.
    """

    removed: float
    contribution: float
    logit: float
    predicted: float
    real: float


@dataclasses.dataclass(frozen=True)
class Grid:
    """Images in one, and the evidence for a class by cell.

    Attributes:
        explanation: of the whole grid, for one class.
        rows: cells in a column.
        columns: cells in a row.
        names: of the images, row by row; cells after them are empty, a gray.
        alone: ``(len(names),)`` int, the class of each image by itself.
        shares: ``(rows * columns,)``, the share of the positive contributions that falls in each cell; zeros if there
            are none.
    """

    explanation: Explanation
    rows: int
    columns: int
    names: tuple[str, ...]
    alone: np.ndarray
    shares: np.ndarray


class Network:
    """A trained network to explore. It computes one thing at a time, whoever asks.

    Args:
        source: name of a preset with weights, or folder of an own one.

    Attributes:
        size: height and width of images, None where any will do.
        channels: 1 or 3.
        class_names: one per class.

    Raises:
        ValueError: if there is no such network, or its images are not those of files.
    """

    def __init__(self, source: str):
        self._lock = threading.Lock()
        self.model = CoDANet.from_preset(source, load_weights=True)
        *size, self.channels = self.model.input.shape[1:]
        check_channels(self.channels)
        self.size = tuple(size)
        self.class_names = self.model.class_names or tuple(f"class {i}" for i in range(self.model.num_classes))

    def explain(self, image: np.ndarray, class_: int | None = None) -> Explanation:
        """Explain an image ``(H, W, c)`` for a class, None for the predicted one; with the linear map."""
        with self._lock:
            return self._explain(self.model, image[None], class_)

    def what_if(self, explanation: Explanation, gone: np.ndarray) -> WhatIf:
        """Remove pixels from the image explained.

        To remove a pixel is to set all its encoded channels to zero, of ``[x, 1-x]`` both halves.

        Args:
            explanation: of one image for one class.
            gone: ``(H, W)`` bool.

        Raises:
            ValueError: if ``gone`` is not as large as the image.
        """
        image, (class_,) = explanation.images[0], explanation.classes[0]
        gone = np.asarray(gone, bool)
        rule = "The pixels removed must be those of the image"
        require(gone.shape == image.shape[:2], rule, removed=gone.shape, image=image.shape[:2])
        keep = np.where(gone, 0, 1).astype("float32")[None, ..., None]
        with self._lock:
            real = self._masked.predict_on_batch([image[None], keep])
        contribution = explanation.contributions[0, 0][gone].sum(dtype="float64")
        logit = float(explanation.explained_logits[0, 0])
        return WhatIf(
            float(gone.mean()), float(contribution), logit, logit - float(contribution), float(real[0, class_])
        )

    def grid(self, images: Sequence[np.ndarray], names: Sequence[str], class_: int | None = None) -> Grid:
        """Put up to nine images of one size together and explain the whole for a class, None for the predicted one.

        Args:
            images: ``(H, W, c)`` each.
            names: one each.
            class_: int or None.

        Raises:
            ValueError: for no image, or more than nine.
        """
        rule = f"A grid is made of 1 to {MAX_CELLS} images"
        require(1 <= len(images) <= MAX_CELLS, rule, "Leave some out", images=len(images))
        rows, columns = grid_shape(len(images))
        cells = [*images, *[np.full_like(images[0], EMPTY)] * (rows * columns - len(images))]
        grid = grids.assemble(np.stack(cells)[None], rows, columns)
        with self._lock:
            alone = self._of_any_size.predict_on_batch(np.stack(images)).argmax(axis=1)
            explanation = self._explain(self._of_any_size, grid, class_)
        shares = evidence(explanation.contributions[0, 0], rows, columns)
        return Grid(explanation, rows, columns, tuple(names), alone, shares)

    def warm_up(self) -> None:
        """Compile what the first image of a network of fixed size would wait for."""
        if None not in self.size:
            image = np.zeros((*self.size, self.channels), "float32")
            self.explain(image)
            self.what_if(self.explain(image, 0), np.zeros(self.size, bool))

    def _explain(self, model, images, class_):
        classes = None if class_ is None else [[class_]]
        return model.explain(images, classes, linear_map=True, verbose=False, class_names=self.class_names)

    @functools.cached_property
    def _masked(self):
        return MaskedModel(compiled_explainer(self.model).decomposition)

    @functools.cached_property
    def _of_any_size(self):
        return of_any_size(self.model)


class Networks:
    """Networks by name, read when they are first asked for and kept.

    Args:
        own: folders of networks, or names of presets; they come first.

    Attributes:
        names: of all, own ones and presets with weights.

    Raises:
        ValueError: if one of ``own`` is no network with weights.
    """

    def __init__(self, own: Iterable[str] = ()):
        self._sources, self._loaded, self._lock = {}, {}, threading.Lock()
        for source in map(str, own):
            folder = presets.preset_folder(source)
            rule = "A network to explore must have weights"
            require(folder is not None, rule, "Train it first: `keras-coda train`", model=source)
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
            ValueError: if there is none of that name, or it cannot be read.
        """
        require(name in self._sources, f"The network is one of {list(self.names)}", network=name)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Network(self._sources[name])
        return self._loaded[name]


def _name(folder):
    """Name a folder; training calls it RUN/model, which says little."""
    parts = Path(folder).resolve().parts
    return "/".join(parts[-2:]) if parts[-1] == "model" else parts[-1]


def grid_shape(count: int) -> tuple[int, int]:
    """Return rows and columns of a grid for so many images: up to three each."""
    columns = 2 if count == 4 else min(count, 3)
    return math.ceil(count / columns), columns


def evidence(contributions: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the share of the positive contributions ``(H, W)`` in each cell, row by row; zeros if there are none."""
    return grids.shares_of_cells(contributions.astype("float64"), rows, columns)
