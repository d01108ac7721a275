"""Accuracy of the predictions, completeness of the maps, and speed."""

import time
from collections.abc import Iterable

import keras
import numpy as np

from keras_coda.evaluation.datasets import check_batch, check_dataset
from keras_coda.evaluation.several_labels import figures
from keras_coda.explanations.explain import explain
from keras_coda.models.losses import OneVsAllCrossentropy
from keras_coda.utils.checks import num_classes_of, require
from keras_coda.utils.progress import Progress


def evaluate(model: keras.Model, dataset: Iterable, *, num_images: int | None = None, verbose: bool = True) -> dict:
    """Predict and explain every image of a data set, and measure accuracy, completeness and speed.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`.
        dataset: yields ``(images, labels)``: ``(batch, H, W, c)``, pixels in [0, 255], and class indices ``(batch,)``
            or ``(batch, 1)``, or one-hot labels ``(batch, classes)``; of a network with several labels
            ``(batch, classes)`` of 0 and 1.
        num_images: int, the number of images, for the progress bar; None if it is not known.
        verbose: whether to show a progress bar.

    Returns:
        dict of ``accuracy`` and ``loss`` (means over images), ``largest_residual`` (the completeness error
        ``|Σ contributions + bias - logit|`` of the predicted class), ``images_per_second`` (prediction and map;
        without compilation) and ``num_images``. Of a network with several labels there is no accuracy, but
        ``binary_accuracy``, ``auroc``, ``mean_average_precision`` (as in training) and ``f1``, the mean over classes of
        ``2 TP / (2 TP + FP + FN)`` with the thresholds of the network.

    Raises:
        ValueError: if there are no images or labels, or they do not fit the model.

    Example:
        >>> data = keras_coda.data.load("digits")
        >>> model = keras_coda.CoDANet.from_preset("coda_digits")
        >>> keras_coda.evaluation.evaluate(model, data.validation, verbose=False)["accuracy"] > 0.9
        True
    """
    num_classes, multi_label = num_classes_of(model), getattr(model, "multi_label", False)
    check_dataset(dataset)
    criterion = OneVsAllCrossentropy(reduction=None)
    losses: list[np.ndarray] = []
    true: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    residuals: list[np.ndarray] = []
    seconds = 0.0
    with Progress(num_images, "image", verbose) as progress:
        for batch in dataset:
            images, labels = check_batch(batch, num_classes, multi_label=multi_label)
            if not losses:
                explain(model, images, verbose=False)  # compiles
            start = time.perf_counter()
            explanation = explain(model, images, batch_size=len(images), verbose=False)
            seconds += time.perf_counter() - start
            losses.append(keras.ops.convert_to_numpy(criterion(labels, explanation.logits)))
            true.append(labels)
            logits.append(explanation.logits)
            residuals.append(explanation.residual)
            progress.add(len(images))
    require(losses, "The data set must hold images", images="no images")
    labels, found = np.concatenate(true), np.concatenate(logits)
    measured = figures(model, labels, found) if multi_label else {"accuracy": float((found.argmax(1) == labels).mean())}
    return {
        **measured,
        "loss": float(np.concatenate(losses).mean()),
        "largest_residual": float(np.concatenate(residuals).max()),
        "images_per_second": len(labels) / seconds,
        "num_images": len(labels),
    }
