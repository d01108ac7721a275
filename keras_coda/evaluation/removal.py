"""Pixel removal: what becomes of the probability of a class as its least, or most, important pixels are removed."""

import dataclasses
import warnings
from collections.abc import Iterable

import keras
import numpy as np

from keras_coda.evaluation.datasets import check_dataset, labeled_batches
from keras_coda.evaluation.results import Result
from keras_coda.explanations.decomposition import Decomposition
from keras_coda.explanations.explainers import Explainer, attributions, name_of
from keras_coda.explanations.explanation import sigmoid
from keras_coda.explanations.masking import MaskedModel
from keras_coda.utils.checks import check_finite, check_int, require
from keras_coda.visualization import metrics


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PixelRemovalResult(Result):
    """Probabilities of the true class as pixels are removed.

    Attributes:
        order: ``"least"`` or ``"most"`` important first.
        shares: ``(S,)``, the share of the pixels removed at each point; 0 at the first.
        curve: ``(S,)``, the mean probability of the true class over the images.
        curve_quartiles: ``(3, S)``, the quartiles of that probability.
        aucs: ``(n_images,)``, for each image the area under its curve, divided by the largest share: its mean
            probability over the removal.
    """

    order: str
    shares: np.ndarray
    curve: np.ndarray
    curve_quartiles: np.ndarray
    aucs: np.ndarray

    @property
    def n_images(self) -> int:
        """Number of images there were."""
        return len(self.aucs)

    @property
    def auc(self) -> float:
        """Area under the mean curve, divided by the largest share; the mean of ``aucs``."""
        return self.mean

    @property
    def scores(self) -> np.ndarray:
        """The areas of all images."""
        return self.aucs

    def summary(self) -> dict:
        """Return AUC (mean, quartiles, standard error), untouched probability, and how many images there were."""
        return {**super().summary(), "untouched": float(self.curve[0])}

    def plot(self):
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
    """Remove the pixels that an attribution map holds for the least, or most, important, and watch the probability.

    The map of the true class orders the pixels of an image. Growing shares of them are removed; the sigmoid of the
    true class's logit is averaged over the images. If the least important pixels go first, a good map keeps the
    probability high, if the most important ones do, it lets it fall.

    To remove a pixel is to multiply all its *encoded* channels by zero: of ``[x, 1-x]`` both halves, which no color
    of the pixel does. The model sees nothing there. Probabilities are computed in float32 under every dtype policy.

    Args:
        model: an image encoding followed by a chain of :class:`~keras_coda.DynamicLinear` layers up to its logits.
        dataset: yields (images, int labels) in batches: a ``tf.data.Dataset``, or any iterable. Images of one size.
        n_images: int. The first so many images are used, whether they are classified correctly or not: the same ones
            for every explainer, and none chosen by what the model makes of them. Hence the data set must not be sorted
            by class. If it has fewer images, all are used, with a warning.
        fraction: float in (0, 1], the largest share of the pixels to remove.
        points: int, number of equidistant steps up to ``fraction``. The untouched image comes before them. Shares are
            rounded to whole pixels, so that small images, whose steps are less than a pixel, give fewer.
        order: ``"least"`` or ``"most"`` important first, the one the reverse of the other.
        explainer: None for exact contribution maps, or a function ``(model, images, classes) -> maps``: NumPy arrays
            ``(batch, H, W, c)``, float32 in [0, 255], ``(batch,)``, int32, and real ``(batch, H, W)``.
        batch_size: images at a time; None for up to 32, fewer if they are large.
        seed: int, of the order of pixels with equal attributions, which is random.
        verbose: whether to show a progress bar.

    Returns:
        A :class:`PixelRemovalResult`.

    Raises:
        ValueError: for unlabeled data, labels out of range, images of several sizes, arguments out of range, models
            that cannot be taken apart into encoding and chain, and an explainer whose maps have the wrong shape or
            are not finite.

    Warns:
        UserWarning: if there are fewer images than asked for, or classes are missing among them.

    Reference:
        CVPR 2021, section 4.2 ("pixel removal metric").
    """
    n_images, points = check_int("n_images", n_images), check_int("points", points)
    is_share = 0 < check_finite("fraction", fraction) <= 1
    require(is_share, "`fraction` must be more than 0 and at most 1", fraction=fraction)
    require(order in ("least", "most"), '`order` must be "least" or "most" important first', order=order)
    batch_size = None if batch_size is None else check_int("batch_size", batch_size)
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    name, decomposition = name_of(explainer), Decomposition.of(model)
    check_dataset(dataset, infinite=True)

    masked = MaskedModel(decomposition)
    masked.jit_compile = bool(getattr(model, "jit_compile", False))
    probabilities, classes, shares = [], set(), None
    bar = keras.utils.Progbar(n_images, unit_name="image") if verbose else None
    for images, labels in labeled_batches(dataset, model, batch_size, n_images):
        images = images.astype("float32")
        if shares is None:
            counts = _removed_counts(images.shape[1:], decomposition, fraction, points)
            shares = counts / (images.shape[1] * images.shape[2])
        maps = attributions(explainer, model, images, labels[:, None])[:, 0]  # (batch, H, W)
        ranks = _ranks(maps, order, rng)
        curves = np.empty((len(images), len(counts)), "float32")
        for point, count in enumerate(counts):
            keep = (ranks >= count)[..., None].astype("float32")
            logits = np.asarray(masked.predict_on_batch([images, keep]))  # (batch, classes)
            curves[:, point] = sigmoid(logits[np.arange(len(labels)), labels])
        require(np.isfinite(curves).all(), "The model's logits must be finite", model=model.name)
        probabilities.append(curves)
        classes.update(labels.tolist())
        if bar:
            bar.add(len(images))
    probabilities = np.concatenate(probabilities).astype("float64")  # (images, S)
    found = len(probabilities)
    if bar and found < n_images:
        bar.update(found, finalize=True)
    if found < n_images:
        warnings.warn(f"The data set has fewer images. Received: n_images={n_images}, {found} images.", stacklevel=2)
    if len(classes) < decomposition.num_classes and found >= 10 * decomposition.num_classes:
        warnings.warn(
            f"Only {len(classes)} of {decomposition.num_classes} classes occur among the first {found} images. "
            "Shuffle the data set if it is sorted by class.",
            stacklevel=2,
        )
    quartiles = np.percentile(probabilities, [25, 50, 75], axis=0)
    aucs = (probabilities[:, 1:] + probabilities[:, :-1]) / 2 @ np.diff(shares) / shares[-1]  # trapezoids
    return PixelRemovalResult(name, n_images, order, shares, probabilities.mean(axis=0), quartiles, aucs)


def _removed_counts(image_shape, decomposition, fraction, points):
    """Return how many pixels are removed at each point: increasing int, from 0 to about ``fraction`` of them."""
    encoded = tuple(decomposition.encoder.compute_output_shape((None, *image_shape)))
    rule = "A pixel can be removed only from an encoding as large as the image"
    require(encoded[1:3] == image_shape[:2], rule, image=image_shape, encoded=encoded[1:])
    num_pixels = image_shape[0] * image_shape[1]
    counts = np.unique(np.rint(np.linspace(0, fraction, points + 1) * num_pixels).astype(int))
    require(len(counts) > 1, "`fraction` must be at least one pixel", fraction=fraction, pixels=num_pixels)
    return counts


def _ranks(maps, order, rng):
    """Return the place of every pixel in the order of removal, ``(batch, H, W)`` int, ties at random."""
    flat = maps.reshape(len(maps), -1)
    sequence = np.lexsort((rng.random(flat.shape), flat), axis=-1)  # least important first
    if order == "most":
        sequence = sequence[:, ::-1]
    ranks = np.empty_like(sequence)
    np.put_along_axis(ranks, sequence, np.arange(flat.shape[1])[None], axis=1)
    return ranks.reshape(maps.shape)
