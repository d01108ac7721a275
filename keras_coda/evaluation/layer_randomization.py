"""The sanity check of Adebayo et al.: maps must change when the layers of the network are re-initialized."""

import contextlib
import dataclasses
import random
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar

import keras
import numpy as np

from keras_coda.evaluation.datasets import check_dataset, labeled_batches
from keras_coda.evaluation.results import Result
from keras_coda.explanations.explainers import Explainer, attributions, name_of
from keras_coda.utils.checks import check_int, require
from keras_coda.utils.progress import Progress
from keras_coda.visualization import metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RandomizationResult(Result):
    """How similar maps remain to the original ones while more and more layers are re-initialized.

    Similarity is Spearman's rank correlation of the pixels of two maps, in [-1, 1]. 1: the same order of pixels. A map
    of equal values has no order, and counts as 0.

    Attributes:
        layers: names of the layers in the order of their re-initialization, the top one first.
        similarities: ``(len(layers), n_images)``, after each of these layers, and those before it, are re-initialized.
        absolute_similarities: the same for the absolute values of the maps.
    """

    unit: ClassVar[str] = "images"
    axis_label: ClassVar[str] = "rank correlation with the original map, all layers re-initialized"
    limits: ClassVar[tuple[float, float]] = (-1, 1)

    layers: tuple[str, ...]
    similarities: np.ndarray
    absolute_similarities: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """The similarity of every image's map after all layers are re-initialized, ``(n_images,)``."""
        return self.similarities[-1]

    @property
    def chance(self) -> float:
        """Similarity of two maps that have nothing to do with each other."""
        return 0.0

    def summary(self) -> dict:
        """Return the statistics after all layers, and the mean similarities by layer, signed and absolute."""
        named = {"similarities": self.similarities, "absolute_similarities": self.absolute_similarities}
        by_layer = {
            f"{name}_by_layer": dict(zip(self.layers, values.mean(axis=1).tolist(), strict=True))
            for name, values in named.items()
        }
        return {**super().summary(), "chance": self.chance, **by_layer}

    def plot(self) -> "Figure":
        """Draw mean similarity and quartiles after every layer as a ``matplotlib.figure.Figure``."""
        return metrics.plot_randomization([self])


def randomization(
    model: keras.Model,
    dataset: Iterable,
    *,
    n_images: int = 64,
    explainer: Explainer | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> RandomizationResult:
    """Re-initialize the layers one after another from the top, and compare the maps with the original ones.

    A map that shows what a network has learned must change when that is destroyed (cascading randomization). A map
    that stays similar shows the image, not the network. The maps of the true class are compared.

    The layers are re-initialized in a copy; the model itself stays as it is. A frozen layer is re-initialized too.
    Layers without weights are left out, and a layer that contains others (a residual sum) counts as one.

    Args:
        model: a model that the explainer explains, and that Keras can save.
        dataset: yields (images, int labels) in batches. The first ``n_images`` images are used.
        n_images: int.
        explainer: None for exact contribution maps, or a function ``(model, images, classes) -> maps``, for example
            one of :mod:`keras_coda.posthoc`.
        batch_size: images per batch; None for up to 32, fewer if they are large.
        seed: int, of the new weights. Initializers with a seed of their own draw what training began with.
        verbose: whether to show a progress bar.

    Returns:
        A :class:`RandomizationResult`.

    Raises:
        ValueError: for a model that cannot be copied or has no weights, unlabeled data, and an explainer whose maps
            have the wrong shape or are not finite.

    Example:
        >>> data = keras_coda.data.load("digits")
        >>> model = keras_coda.CoDANet.from_preset("coda_digits")
        >>> result = keras_coda.evaluation.randomization(model, data.validation, n_images=16, verbose=False)
        >>> len(result.layers), result.similarities.shape
        (3, (3, 16))

    Reference:
        Adebayo et al.: Sanity Checks for Saliency Maps (arXiv 1810.03292), section 3.
    """
    name = name_of(explainer)
    n_images, seed = check_int("n_images", n_images), check_int("seed", seed, minimum=0)
    batch_size = None if batch_size is None else check_int("batch_size", batch_size)
    check_dataset(dataset, infinite=True)
    with _seeded(seed):
        new, copy = _copy(model), _copy(model)  # as it is made, a copy has new weights
    copy.set_weights(model.get_weights())
    pairs = [(old, fresh) for old, fresh in zip(_layers(copy), _layers(new), strict=True) if old.get_weights()]
    require(pairs, "The model must have layers with weights", model=model.name)
    batches = list(labeled_batches(dataset, model, batch_size, n_images))

    def maps():
        found = []
        for images, labels in batches:
            found.append(attributions(explainer, copy, images.astype("float32"), labels[:, None])[:, 0])
            progress.add(len(images))
        return np.concatenate(found)

    count, similarities = sum(len(labels) for _, labels in batches), []
    with Progress(count * (1 + len(pairs)), "map", verbose) as progress:
        original = maps()
        for old, fresh in reversed(pairs):
            old.set_weights(fresh.get_weights())
            changed = maps()
            signed = rank_correlations(original, changed), rank_correlations(np.abs(original), np.abs(changed))
            similarities.append(signed)
    layers = tuple(old.name for old, _ in reversed(pairs))
    return RandomizationResult(name, n_images, layers, *np.moveaxis(np.array(similarities), 1, 0))


def rank_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of the pixels of two maps, for every image: 0 if all values of one are equal.

    Args:
        first: ``(B, H, W)``.
        second: ``(B, H, W)``.

    Returns:
        ``(B,)`` float64 in [-1, 1].
    """
    ranks = [np.array([_ranks(each.ravel()) for each in maps]) for maps in (first, second)]
    a, b = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(a)), where=norms > 0)


def _ranks(values):
    """Return the ranks of values ``(n,)``; equal ones have their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _copy(model: keras.Model) -> keras.Model:
    try:
        return type(model).from_config(model.get_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        rule = "The sanity check needs a copy of the model, so Keras must be able to build it from its configuration"
        fix = "Give custom layers `get_config`, and register them with `keras.saving.register_keras_serializable`"
        raise ValueError(f"{rule}. Received: model={model.name!r}, {type(error).__name__}: {error}. {fix}.") from error


def _layers(model) -> list[keras.layers.Layer]:
    """Return the layers from the image to the logits; those of a model inside take its place."""
    nested = [_layers(layer) if isinstance(layer, keras.Model) else [layer] for layer in model.layers]
    return [layer for layers in nested for layer in layers]


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let initializers without a seed of their own draw the same weights; Keras takes their seeds from `random`."""
    state = random.getstate()
    random.seed(f"randomization {seed}")  # not what `keras.utils.set_random_seed` gave the model that is checked
    try:
        yield
    finally:
        random.setstate(state)
