"""Explainers: functions that make a map for an image and a class. They are called here, and their maps checked."""

from collections.abc import Callable

import keras
import numpy as np

from keras_coda.explanations.explain import explain
from keras_coda.utils.checks import is_float, require, to_numpy

# (model, images (batch, H, W, c) in [0, 255], classes (batch,)) -> maps (batch, H, W)
Explainer = Callable[[keras.Model, np.ndarray, np.ndarray], np.ndarray]


def name_of(explainer: Explainer | None) -> str:
    """Return the name of an explainer for pictures and errors; raise ``ValueError`` if it cannot be called."""
    if explainer is None:
        return "contribution maps"
    rule = "`explainer` must be None or a function (model, images, classes) -> maps (batch, H, W)"
    require(callable(explainer), rule, explainer=explainer)
    return getattr(explainer, "__name__", type(explainer).__name__)


def attributions(
    explainer: Explainer | None, model: keras.Model, images: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Make the maps of K classes for every image.

    Args:
        explainer: None for exact contribution maps, all classes at once. A function is called K times, unless it has
            a method ``of_classes(model, images, classes (B, K)) -> maps (B, K, H, W)``, which is called once.
        model: the model to explain.
        images: ``(B, H, W, c)`` float32, pixels in [0, 255].
        classes: ``(B, K)`` int32.

    Returns:
        ``(B, K, H, W)`` float64.

    Raises:
        ValueError: if the maps have another shape or type, or are not finite; the explainer is named.
    """
    name, size = name_of(explainer), images.shape[1:3]
    if explainer is None:
        explanation = explain(model, images, classes, verbose=False).enlarged()
        return _checked(name, explanation.contributions, (*classes.shape, *size))
    if hasattr(explainer, "of_classes"):
        together = to_numpy(explainer.of_classes(model, images, classes.copy()))
        return _checked(name, together, (*classes.shape, *size))
    maps = (to_numpy(explainer(model, images, wanted.copy())) for wanted in classes.T)
    return np.stack([_checked(name, part, (len(images), *size)) for part in maps], axis=1)


def _checked(name, maps, shape):
    rule = f"The maps of the explainer {name!r} must"
    require(maps.shape == shape, f"{rule} have the shape {shape}, one map as large as the image each", shape=maps.shape)
    is_real = np.issubdtype(maps.dtype, np.integer) or is_float(maps.dtype)
    require(is_real, f"{rule} hold real numbers", dtype=str(maps.dtype))
    maps = maps.astype("float64")
    wrong = int(np.sum(~np.isfinite(maps)))
    require(not wrong, f"{rule} be finite", nan_or_infinite_values=wrong, of=maps.size)
    return maps
