"""Accuracy of the predictions, completeness of the maps, and speed."""

import time
from collections.abc import Iterable

import keras
import numpy as np

from keras_coda.evaluation.datasets import check_batch, check_dataset
from keras_coda.explanations.explain import explain
from keras_coda.models.losses import OneVsAllCrossentropy
from keras_coda.utils.checks import num_classes_of, require
from keras_coda.utils.progress import Progress


def evaluate(model: keras.Model, dataset: Iterable, *, num_images: int | None = None, verbose: bool = True) -> dict:
    """Predict and explain every image of a data set, and measure accuracy, completeness and speed.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`.
        dataset: yields ``(images, labels)``: ``(batch, H, W, c)``, pixels in [0, 255], and class indices ``(batch,)``
            or ``(batch, 1)``, or one-hot labels ``(batch, classes)``.
        num_images: int, the number of images, for the progress bar; None if it is not known.
        verbose: whether to show a progress bar.

    Returns:
        dict of ``accuracy`` and ``loss`` (means over images), ``largest_residual`` (the completeness error
        ``|Σ contributions + bias - logit|`` of the predicted class), ``images_per_second`` (prediction and map;
        without compilation) and ``num_images``.

    Raises:
        ValueError: if there are no images or labels, or they do not fit the model.

    Example:
        >>> data = keras_coda.data.load("digits")
        >>> model = keras_coda.CoDANet.from_preset("coda_digits")
        >>> keras_coda.evaluation.evaluate(model, data.validation, verbose=False)["accuracy"] > 0.9
        True
    """
    num_classes = num_classes_of(model)
    check_dataset(dataset)
    criterion = OneVsAllCrossentropy(reduction=None)
    losses: list[np.ndarray] = []
    hits: list[np.ndarray] = []
    residuals: list[np.ndarray] = []
    seconds = 0.0
    with Progress(num_images, "image", verbose) as progress:
        for batch in dataset:
            images, labels = check_batch(batch, num_classes)
            if not losses:
                explain(model, images, verbose=False)  # compiles
            start = time.perf_counter()
            explanation = explain(model, images, batch_size=len(images), verbose=False)
            seconds += time.perf_counter() - start
            losses.append(keras.ops.convert_to_numpy(criterion(labels, explanation.logits)))
            hits.append(explanation.classes[:, 0] == labels)
            residuals.append(explanation.residual)
            progress.add(len(images))
    require(losses, "The data set must hold images", images="no images")
    is_hit = np.concatenate(hits)
    return {
        "accuracy": float(is_hit.mean()),
        "loss": float(np.concatenate(losses).mean()),
        "largest_residual": float(np.concatenate(residuals).max()),
        "images_per_second": len(is_hit) / seconds,
        "num_images": len(is_hit),
    }
