"""Pixel removal: how the probability of a class changes when its least, or most, important pixels are removed."""

import dataclasses
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np

from keras_coda.evaluation.datasets import check_dataset, labeled_batches
from keras_coda.evaluation.results import Result
from keras_coda.explanations.decomposition import Decomposition
from keras_coda.explanations.explainers import Explainer, attributions, name_of
from keras_coda.explanations.explanation import sigmoid
from keras_coda.explanations.masking import MaskedModel
from keras_coda.utils.checks import check_finite, check_int, require, require_finite_network
from keras_coda.utils.progress import Progress
from keras_coda.visualization import metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PixelRemovalResult(Result):
    """Probabilities of the true class while pixels are removed.

    Attributes:
        order: ``"least"`` or ``"most"`` important first.
        shares: ``(S,)``, the share of removed pixels at each point; 0 at the first.
        curve: ``(S,)``, the mean probability of the true class over the images.
        curve_quartiles: ``(3, S)``, the quartiles of that probability.
        aucs: ``(n_images,)``, for each image the area under its curve, divided by the largest share. This is its mean
            probability during the removal.
    """

    unit: ClassVar[str] = "images"
    panel: ClassVar[str] = "curves"

    order: str
    shares: np.ndarray
    curve: np.ndarray
    curve_quartiles: np.ndarray
    aucs: np.ndarray

    @property
    def n_images(self) -> int:
        """Number of images that were measured."""
        return len(self.aucs)

    @property
    def auc(self) -> float:
        """Area under the mean curve, divided by the largest share; equals the mean of ``aucs``."""
        return self.mean

    @property
    def scores(self) -> np.ndarray:
        """The areas of all images."""
        return self.aucs

    @property
    def heading(self) -> str:
        """Heading of the column in the table of a comparison."""
        return f"pixel removal, AUC (untouched {self.curve[0]:.3f})"

    @property
    def footnote(self) -> str:
        """What was measured, for the line below the table of a comparison."""
        return f"{self.n_images} images, up to {self.shares[-1]:.0%} of the pixels, {self.order} important first"

    def summary(self) -> dict:
        """Return AUC (mean, quartiles, standard error), untouched probability, and the numbers of images."""
        return {**super().summary(), "untouched": float(self.curve[0])}

    def plot(self) -> "Figure":
        """Draw the curve and the quartiles as a ``matplotlib.figure.Figure``."""
        return metrics.plot_pixel_removal([self])


def pixel_removal(
    model: keras.Model,
    dataset: Iterable,
    *,
    n_images: int = 1024,
    fraction: float = 0.25,
    points: int = 128,
    order: str = "least",
    explainer: Explainer | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> PixelRemovalResult:
    """Remove the least, or most, important pixels by an attribution map, and measure the probability of the class.

    The map of the true class orders the pixels of an image. Larger and larger shares of them are removed; the sigmoid
    of the true class's logit is averaged over the images. If the least important pixels are removed first, a good map
    keeps the probability high; if the most important ones are removed first, it makes the probability fall quickly.

    Removing a pixel means that all its *encoded* channels are multiplied by zero: both halves of ``[x, 1-x]``, which
    no color of a pixel does. Probabilities are computed in float32 under every dtype policy.

    Args:
        model: an image encoding followed by a chain of :class:`~keras_coda.layers.DynamicLinear` layers up to its
            logits.
        dataset: yields (images, int labels) in batches: a ``tf.data.Dataset``, or any iterable. Images of one size. Of
            a network with several labels, ``(batch, classes)`` of 0 and 1: each image then counts once for each label
            that it has, also in ``n_images``.
        n_images: int. The first ``n_images`` images are used, whether they are classified correctly or not: every
            explainer gets the same ones, and the model's predictions do not select them. Hence the data set must not
            be sorted by class. If it has fewer images, all are used, with a warning.
        fraction: float in (0, 1], the largest share of the pixels to remove.
        points: int, number of equidistant steps up to ``fraction``, after the untouched image. Shares are rounded to
            whole pixels, so there are fewer points if the image has fewer pixels than steps.
        order: ``"least"`` or ``"most"`` important first; one is the reverse of the other.
        explainer: None for exact contribution maps, or a function ``(model, images, classes) -> maps``: NumPy arrays
            ``(batch, H, W, c)``, float32 in [0, 255], ``(batch,)``, int32, and real ``(batch, H, W)``.
        batch_size: images that are explained, and masked images that are predicted, at a time. None: up to 32 and 256,
            fewer if they are large.
        seed: int, decides the order of pixels with equal attributions, which is random.
        verbose: whether to show a progress bar.

    Returns:
        A :class:`PixelRemovalResult`.

    Raises:
        ValueError: for unlabeled data, labels out of range, images of several sizes, arguments out of range, models
            that are not an encoding and a dynamic-linear chain, and an explainer whose maps have the wrong shape or
            are not finite.

    Warns:
        UserWarning: if there are fewer images than requested, or some classes do not occur in them.

    Reference:
        CVPR 2021, section 4.2 ("pixel removal metric").
    """
    name_of(explainer)  # raises for what is not an explainer
    options: dict[str, Any] = {
        "n_images": n_images,
        "fraction": fraction,
        "points": points,
        "order": order,
        "batch_size": batch_size,
    }
    return prepare_pixel_removal(model, dataset, **options, seed=seed, verbose=verbose)(explainer, stacklevel=3)


def prepare_pixel_removal(
    model: keras.Model,
    dataset: Iterable,
    *,
    n_images: int,
    fraction: float,
    points: int,
    order: str,
    batch_size: int | None,
    seed: int,
    verbose: bool,
) -> Callable[..., PixelRemovalResult]:
    """Check the arguments and compile the masked model once; return the function that measures an explainer.

    Args:
        model: see :func:`pixel_removal`, also for the other arguments.
        dataset: read once for each explainer.
        n_images: int.
        fraction: float.
        points: int.
        order: str.
        batch_size: int or None.
        seed: int.
        verbose: bool.

    Returns:
        A function from an explainer (None: exact contribution maps) to its :class:`PixelRemovalResult`. Its second
        argument, ``stacklevel``, is that of its warnings, as for ``warnings.warn``.
    """
    n_images, points = check_int("n_images", n_images), check_int("points", points)
    is_share = 0 < check_finite("fraction", fraction) <= 1
    require(is_share, "`fraction` must be more than 0 and at most 1", fraction=fraction)
    require(order in ("least", "most"), '`order` must be "least" or "most" important first', order=order)
    batch_size = None if batch_size is None else check_int("batch_size", batch_size)
    seed, decomposition = check_int("seed", seed, minimum=0), Decomposition.of(model)
    check_dataset(dataset, infinite=True)
    masked = MaskedModel(decomposition)
    masked.jit_compile = bool(getattr(model, "jit_compile", False))
    untouched: dict[int, np.ndarray] = {}  # probabilities before removal, by batch: the same for all explainers

    def measure(explainer: Explainer | None, stacklevel: int = 2) -> PixelRemovalResult:
        rng, counts, shares = np.random.default_rng(seed), np.empty(0, int), np.empty(0)
        found: list[np.ndarray] = []
        classes: set[int] = set()
        with Progress(n_images, "image", verbose) as progress:
            for batch, (images, labels) in enumerate(labeled_batches(dataset, model, batch_size, n_images)):
                images = images.astype("float32")
                if not found:
                    counts = _removed_counts(images.shape[1:], decomposition, fraction, points)
                    shares = counts / (images.shape[1] * images.shape[2])
                maps = attributions(explainer, model, images, labels[:, None])[:, 0]  # (batch, H, W)
                ranks, limit = _ranks(maps, order, rng), batch_size or _masked_images(*images.shape[1:3])
                if batch not in untouched:
                    untouched[batch] = _curves(masked, images, labels, ranks, counts[:1], limit)
                curves = np.hstack([untouched[batch], _curves(masked, images, labels, ranks, counts[1:], limit)])
                require_finite_network(model, logits=curves)
                found.append(curves)
                classes.update(labels.tolist())
                progress.add(len(images))
        probabilities = np.concatenate(found).astype("float64")  # (images, S)
        _warn_of_missing(len(probabilities), n_images, len(classes), decomposition.num_classes, stacklevel + 1)
        quartiles = np.percentile(probabilities, [25, 50, 75], axis=0)
        aucs = (probabilities[:, 1:] + probabilities[:, :-1]) / 2 @ np.diff(shares) / shares[-1]  # trapezoids
        mean, name = probabilities.mean(axis=0), name_of(explainer)
        return PixelRemovalResult(name, n_images, order, shares, mean, quartiles, aucs)

    return measure


def _masked_images(height, width):
    """Return how many masked images to predict at a time: up to 256. With 32 one of them takes 14 to 38% longer."""
    return max(1, min(256, 2**18 // (height * width)))


def _curves(masked, images, labels, ranks, counts, limit):
    """Return the probability of each image's class at each point, ``(batch, points)`` float32.

    Up to ``limit`` masked images, of several points, are predicted at a time.
    """
    parts = []
    for own in np.array_split(counts, -(-len(counts) * len(images) // max(limit, len(images)))):
        keep = (ranks >= own[:, None, None, None]).astype("float32")  # (points, batch, H, W)
        repeated = np.tile(images, (len(own), 1, 1, 1))
        logits = np.asarray(masked.predict_on_batch([repeated, keep.reshape(-1, *ranks.shape[1:], 1)]))
        parts.append(sigmoid(logits[np.arange(len(logits)), np.tile(labels, len(own))]).reshape(len(own), -1))
    return np.concatenate(parts).T.astype("float32")


def _warn_of_missing(found, n_images, found_classes, num_classes, stacklevel):
    if found < n_images:
        message = f"The data set has fewer images. Received: n_images={n_images}, {found} images."
        warnings.warn(message, stacklevel=stacklevel)
    if found_classes < num_classes and found >= 10 * num_classes:
        warnings.warn(
            f"Only {found_classes} of {num_classes} classes occur among the first {found} images. "
            "Shuffle the data set if it is sorted by class.",
            stacklevel=stacklevel,
        )


def _removed_counts(image_shape, decomposition, fraction, points):
    """Return how many pixels are removed at each point: increasing ints from 0 to about ``fraction`` of the pixels."""
    encoded = tuple(decomposition.encoder.compute_output_shape((None, *image_shape)))
    rule = "Pixels can be removed only from an encoding (height, width, channels)"
    require(len(encoded) == 4, rule, image=image_shape, encoded=encoded[1:])
    num_pixels = image_shape[0] * image_shape[1]
    counts = np.unique(np.rint(np.linspace(0, fraction, points + 1) * num_pixels).astype(int))
    require(len(counts) > 1, "`fraction` must be at least one pixel", fraction=fraction, pixels=num_pixels)
    return counts


def _ranks(maps, order, rng):
    """Return the position of every pixel in the order of removal, ``(batch, H, W)`` int; ties are broken at random."""
    flat = maps.reshape(len(maps), -1)
    sequence = np.lexsort((rng.random(flat.shape), flat), axis=-1)  # least important first
    if order == "most":
        sequence = sequence[:, ::-1]
    ranks = np.empty_like(sequence)
    np.put_along_axis(ranks, sequence, np.arange(flat.shape[1])[None], axis=1)
    return ranks.reshape(maps.shape)
