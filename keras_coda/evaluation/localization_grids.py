"""The grid pointing game: is the map of a class located on the image of that class, among images of other classes?"""

import dataclasses
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np

from keras_coda.evaluation import grids
from keras_coda.evaluation.datasets import check_dataset, labeled_batches, require_one_label
from keras_coda.evaluation.results import Result
from keras_coda.explanations.compiled import default_batch_size
from keras_coda.explanations.explainers import Explainer, attributions, name_of
from keras_coda.explanations.explanation import sigmoid
from keras_coda.utils.checks import check_finite, check_int, num_classes_of, require, require_finite_network
from keras_coda.utils.errors import FewerGridsWarning, NotEnoughImagesError
from keras_coda.utils.progress import Progress, track
from keras_coda.utils.tables import counted
from keras_coda.visualization import metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LocalizationResult(Result):
    """Localization scores of every class of every grid.

    The cells of one grid compete with each other. The standard error therefore counts grids as independent, not cells.

    Attributes:
        values: ``(n_grids, cells)`` in [0, 1]: the share of the positive contributions of a cell's class that is inside
            that cell; cells row by row. 0 for a map without positive contributions.
        classes: ``(n_grids, cells)`` int, the class of each cell.
        grid: images along a side of a square grid, or ``(rows, columns)``.
    """

    unit: ClassVar[str] = "grids"
    axis_label: ClassVar[str] = "localization: share of the positive contributions in the class's own cell"
    limits: ClassVar[tuple[float, float]] = (0, 1)

    values: np.ndarray
    classes: np.ndarray
    grid: grids.Grid

    @property
    def n_grids(self) -> int:
        """Number of grids that were measured."""
        return len(self.values)

    @property
    def chance(self) -> float:
        """Score of a uniform map."""
        return 1 / grids.num_cells(self.grid)

    @property
    def scores(self) -> np.ndarray:
        """All values, ``(n_grids * cells,)``."""
        return self.values.ravel()

    @property
    def units(self) -> np.ndarray:
        """Mean of every grid, ``(n_grids,)``."""
        return self.values.mean(axis=1)

    @property
    def heading(self) -> str:
        """Heading of the column in the table of a comparison."""
        return f"localization (chance {self.chance:.3f})"

    @property
    def footnote(self) -> str:
        """What was measured, for the line below the table of a comparison."""
        return "{} of {}x{} images".format(counted(self.n_grids, "grid"), *grids.shape_of(self.grid))

    def summary(self) -> dict:
        """Return mean, quartiles, standard error, chance, and the numbers of grids measured and requested."""
        return {**super().summary(), "chance": self.chance}

    def plot(self) -> "Figure":
        """Draw the distribution of the values as a ``matplotlib.figure.Figure``."""
        return metrics.plot_localization([self])


def localization(
    model: keras.Model,
    dataset: Iterable,
    *,
    grid: grids.Grid | None = None,
    n_grids: int = 500,
    confidence: float = 0.5,
    explainer: Explainer | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> LocalizationResult:
    """Play the grid pointing game with attribution maps.

    A grid is a picture of, for instance, 3 by 3 images of different classes, all correctly classified. The most
    confident images of each class are used first, and no image is used twice. The score of the class of a cell is

        score = Σ of max(map, 0) over its own cell / Σ of max(map, 0) over the whole grid

    It is 1 for a map that is positive in its cell only, ``1 / cells`` for a uniform map (chance), and by definition 0
    for a map without any positive contribution. Classes are used equally often, as far as the number of their images
    allows. Scores on grids of another number of cells cannot be compared.

    Args:
        model: returns logits for images of any size, with pixels in [0, 255]. For a :class:`~keras_coda.CoDANet` of
            fixed size a copy with the same weights and a flexible input is used.
        dataset: yields (images, int labels) in batches: a ``tf.data.Dataset``, or any iterable. Images of one size. It
            is read once, and only about as many images are kept in memory as the grids need.
        grid: int, at least 2, images along a side of a square grid; or ``(rows, columns)``. None: the largest of 3x3,
            2x2 (from four classes), 1x3 (three) and 1x2 (two classes) that the model's number of classes allows. The
            result says which.
        n_grids: int. If there are not enough images, fewer grids are made, with a warning.
        confidence: float in [0, 1). An image is used if the sigmoid of its class's logit is larger.
        explainer: None for exact contribution maps, or a function ``(model, images, classes) -> maps``: NumPy arrays
            ``(batch, H, W, c)``, float32 in [0, 255], ``(batch,)``, int32, and real ``(batch, H, W)``. It gets the
            model for images of any size and whole grids as images. It is called once for each cell of the grids.
        batch_size: grids per batch; None for up to 32, fewer if they are large.
        seed: int, decides which classes are put together in a grid, and where.
        verbose: whether to show progress bars.

    Returns:
        A :class:`LocalizationResult`.

    Raises:
        NotEnoughImagesError: a ``ValueError``, if too few images are classified confidently for one grid.
        ValueError: for unlabeled data, labels out of range, images of several sizes, fewer classes than cells, a
            network with several labels per image, a model of fixed size, and an explainer whose maps have the wrong
            shape or are not finite.

    Warns:
        FewerGridsWarning: a ``UserWarning``, if there are fewer grids than requested.

    Example:
        ```python
        data = keras_coda.data.load("digits")
        model = keras_coda.CoDANet.from_preset("coda_digits")
        model.fit(data.train, epochs=20)
        keras_coda.evaluation.localization(model, data.validation, n_grids=20).plot()
        ```

    Reference:
        CVPR 2021, section 4.2 ("localization metric").
    """
    name_of(explainer)  # raises for what is not an explainer, before the model predicts anything
    options: dict[str, Any] = {"grid": grid, "n_grids": n_grids, "confidence": confidence, "batch_size": batch_size}
    return prepare_localization(model, dataset, **options, seed=seed, verbose=verbose, stacklevel=3)(explainer)


def prepare_localization(
    model: keras.Model,
    dataset: Iterable,
    *,
    grid: grids.Grid | None,
    n_grids: int,
    confidence: float,
    batch_size: int | None,
    seed: int,
    verbose: bool,
    stacklevel: int = 2,
) -> Callable[[Explainer | None], LocalizationResult]:
    """Make the grids once, and return the function that measures an explainer on them.

    Args:
        model: see :func:`localization`, also for the other arguments.
        dataset: read once.
        grid: int, pair or None.
        n_grids: int.
        confidence: float.
        batch_size: int or None.
        seed: int.
        verbose: bool.
        stacklevel: of the warning that there are fewer grids, as for ``warnings.warn``.

    Returns:
        A function from an explainer (None: exact contribution maps) to its :class:`LocalizationResult`.
    """
    require_one_label(model, "Localization on grids")
    n_grids = check_int("n_grids", n_grids)
    is_share = 0 <= check_finite("confidence", confidence) < 1
    require(is_share, "`confidence` must be at least 0 and less than 1", confidence=confidence)
    batch_size = None if batch_size is None else check_int("batch_size", batch_size)
    rng, num_classes = np.random.default_rng(check_int("seed", seed, minimum=0)), num_classes_of(model)
    check_dataset(dataset)
    grid = grids.choose(grid, num_classes)
    (rows, columns), cells = grids.shape_of(grid), grids.num_cells(grid)
    flexible = of_any_size(model)

    images = most_confident(model, dataset, n_grids, cells, confidence, verbose)
    counts = np.array([len(of_class) for of_class in images])
    found = grids.num_grids(counts, n_grids, cells)
    rule = f"A grid needs correctly classified images of {cells} classes with a confidence above {confidence}"
    fix = "Train the network further, use a smaller `grid` or lower `confidence`"
    if not found:
        received = f"classes={np.sum(counts > 0)}, num_classes={num_classes}"
        raise NotEnoughImagesError(f"{rule}. Received: {received}. {fix}.")
    if found < n_grids:
        warnings.warn(
            f"The confidently classified images suffice for {counted(found, 'grid')} of {cells} classes only. "
            f"Received: n_grids={n_grids}. The result is that of {counted(found, 'grid')}.",
            FewerGridsWarning,
            stacklevel=stacklevel,
        )
    classes, ranks = grids.arrange(counts, found, cells, rng)
    height, width = images[classes[0, 0]][0].shape[:2]
    step = batch_size or default_batch_size(rows * height, columns * width)

    def measure(explainer: Explainer | None) -> LocalizationResult:
        values = []
        with Progress(found, "grid", verbose) as progress:
            for start in range(0, found, step):
                part = slice(start, start + step)
                places = np.stack([classes[part], ranks[part]], axis=-1)  # (batch, cells, 2)
                batch = np.array([[images[c][rank] for c, rank in row] for row in places], "float32")
                maps = attributions(explainer, flexible, grids.assemble(batch, rows, columns), classes[part])
                values.append(grids.shares_in_own_cell(maps, rows, columns))
                progress.add(len(batch))
        return LocalizationResult(name_of(explainer), n_grids, np.concatenate(values), classes, grid)

    return measure


def of_any_size(model: keras.Model) -> keras.Model:
    """Return the model itself if it takes images of any size, otherwise a copy made by its ``with_input_shape``.

    Raises:
        ValueError: for a model of fixed size without that method, which a :class:`~keras_coda.CoDANet` has.
    """
    shape = model.input_shape[1:]
    if shape[:2] == (None, None):
        return model
    rule = "Grids are larger than single images, so the model must have an input (None, None, channels)"
    has_copies = hasattr(model, "with_input_shape")
    require(has_copies, rule, "Build it with such an input and copy the weights", input_shape=shape)
    return model.with_input_shape((None, None, shape[-1]))


def most_confident(
    model: keras.Model, dataset: Iterable, n_grids: int, num_cells: int, confidence: float, verbose: bool
) -> list[list[np.ndarray]]:
    """Return for every class its correctly and confidently classified images, the most confident first.

    After every batch the images that no grid can need are dropped, so that about ``n_grids * num_cells`` remain.

    Args:
        model: returns logits.
        dataset: yields (images, int labels).
        n_grids: how many grids to make from the images.
        num_cells: images of a grid.
        confidence: lower limit of the sigmoid of an image's logit.
        verbose: whether to show a progress bar.

    Returns:
        One list for each class, of images ``(H, W, c)``.
    """
    found: list[list[tuple[float, int, np.ndarray]]] = [
        [] for _ in range(num_classes_of(model))
    ]  # -logit, number, image
    number = 0
    for images, labels in labeled_batches(track(dataset, show=verbose), model):
        logits = np.asarray(model.predict_on_batch(images.astype("float32")), "float32")  # (batch, classes)
        require_finite_network(model, logits=logits)
        own = logits[np.arange(len(labels)), labels]
        for i in np.flatnonzero((logits.argmax(axis=1) == labels) & (sigmoid(own) > confidence)):
            found[labels[i]].append((-own[i], number + i, images[i].copy()))
        number += len(images)
        counts = np.array([len(of_class) for of_class in found])
        is_enough = grids.num_grids(counts, n_grids, num_cells) == n_grids
        most = grids.images_per_class(counts, n_grids, num_cells) if is_enough else n_grids
        found = [sorted(of_class)[:most] for of_class in found]
    return [[image for _, _, image in of_class] for of_class in found]
