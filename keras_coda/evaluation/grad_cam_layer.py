"""The layer at which Grad-CAM scores best by localization."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from keras_coda.evaluation.grids import Grid
from keras_coda.evaluation.localization_grids import prepare_localization
from keras_coda.posthoc.methods import GradCAM
from keras_coda.utils.checks import require


def best_grad_cam(
    model: keras.Model,
    dataset: Iterable,
    layers: Sequence[str] | None = None,
    *,
    n_grids: int = 50,
    grid: Grid | None = None,
    confidence: float = 0.5,
    batch_size: int | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> tuple[GradCAM, dict[str, float]]:
    """Measure the localization of Grad-CAM at several layers of a network, and return the best one.

    If the method is then compared on the same images, the choice is in Grad-CAM's favor: say so, or choose on others.

    Args:
        model: a model that :func:`localization` accepts.
        dataset: yields (images, int labels), see :func:`localization`.
        layers: names of layers with an output ``(B, h, w, channels)``. None: all of them that have weights.
        n_grids: see :func:`localization`, also for the other arguments.
        grid: int, pair or None.
        confidence: float.
        batch_size: int or None.
        seed: int.
        verbose: bool.

    Returns:
        ``(method, scores)``: :class:`~keras_coda.posthoc.GradCAM` at the best layer, and the mean localization at each
        layer by name. Of equal scores the layer nearest to the logits wins.

    Raises:
        ImportError: on TensorFlow, if tf-explain or OpenCV are not installed.
        ValueError: if there is no such layer, and as :func:`localization`.

    Example:
        ```python
        method, scores = keras_coda.evaluation.best_grad_cam(model, data.train.take(20))
        keras_coda.evaluation.compare(model, data.validation, [method])
        ```
    """
    if layers is None:
        spatial = [layer for layer in model.layers if len(getattr(layer.output, "shape", ())) == 4]
        layers = [layer.name for layer in spatial if layer.weights]
    is_list = isinstance(layers, (list, tuple)) and len(layers) > 0
    require(is_list, "`layers` must be names of layers with an output (batch, height, width, channels)", layers=layers)
    options: dict[str, Any] = {"n_grids": n_grids, "grid": grid, "confidence": confidence, "batch_size": batch_size}
    measure = prepare_localization(model, dataset, **options, seed=seed, verbose=verbose, stacklevel=3)
    scores = {name: measure(GradCAM(name)).mean for name in layers}
    best = max(reversed(scores), key=lambda name: scores[name])
    return GradCAM(best), scores
