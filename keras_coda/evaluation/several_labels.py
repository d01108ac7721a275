"""Figures of networks whose images may have any number of labels, and the thresholds of their classes."""

import warnings
from collections.abc import Iterable

import keras
import numpy as np

from keras_coda.evaluation.datasets import check_batch, check_dataset
from keras_coda.explanations.explanation import sigmoid
from keras_coda.models.multi_label import multi_label_metrics
from keras_coda.utils.checks import check_images, num_classes_of, require, require_finite_network
from keras_coda.utils.progress import track

DEFAULT = 0.5  # the threshold of a class that no threshold can be chosen for


def best_thresholds(model: keras.Model, dataset: Iterable, *, verbose: bool = True) -> tuple[float, ...]:
    """Choose for each class the probability from which on an image gets its label: the one with the largest F1.

    F1 is ``2 TP / (2 TP + FP + FN)`` over the images. The threshold lies in the middle between the two probabilities
    of images that it separates; of several that are equally good the highest is chosen. On these images F1 is better
    than on new ones: choose thresholds on validation images, and report figures of others.

    Args:
        model: a network with several labels, ``compile(multi_label=True)``.
        dataset: yields ``(images, labels)`` in batches, labels ``(batch, classes)`` of 0 and 1.
        verbose: whether to show a progress bar.

    Returns:
        One float in (0, 1] for each class, to be set as ``model.thresholds``; 0.5 for classes that no image has.

    Raises:
        ValueError: for another model, and data that do not fit it.

    Warns:
        UserWarning: if there is a class that no image has.

    Example:
        ```python
        model.thresholds = keras_coda.evaluation.best_thresholds(model, data.validation)
        model.decide(explanation.probabilities)  # (B, classes) bool
        ```
    """
    labels, logits = _labels_and_logits(model, dataset, verbose)
    without = np.flatnonzero(~labels.any(axis=0)).tolist()
    if without:
        warnings.warn(
            "Every class needs an image with its label to choose a threshold. Received: none for the classes "
            f"{without}, whose threshold is {DEFAULT}. Use more validation images.",
            stacklevel=2,
        )
    pairs = zip(labels.T, sigmoid(logits).T, strict=True)
    return tuple(DEFAULT if k in without else best_threshold(*pair) for k, pair in enumerate(pairs))


def best_threshold(is_labeled, probabilities):
    """Return the threshold with the largest F1 of one class: labels ``(N,)`` bool, probabilities ``(N,)`` float32."""
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order], np.cumsum(is_labeled[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + is_labeled.sum())  # if the first 1, 2, ... images get the label
    lower = np.append(ranked[1:], np.float32(0))
    f1[ranked == lower] = -1  # no threshold separates equal probabilities
    last = int(f1.argmax())
    middle = (ranked[last] + lower[last]) / np.float32(2)
    return float(middle if middle > lower[last] else ranked[last])


def f1_scores(labels: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """Return F1 for each class, ``2 TP / (2 TP + FP + FN)``; 1 for a class that no image has and none is given.

    Args:
        labels: ``(N, classes)`` bool.
        decisions: ``(N, classes)`` bool.
    """
    hits = (labels & decisions).sum(axis=0)
    errors = (labels != decisions).sum(axis=0)
    return np.where(hits + errors == 0, 1.0, 2 * hits / np.maximum(2 * hits + errors, 1))


def figures(model: keras.Model, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Return binary accuracy, AUROC, mean average precision, and ``f1``, the mean over classes, with the thresholds.

    Args:
        model: a network with several labels.
        labels: ``(N, classes)`` bool.
        logits: ``(N, classes)`` float32.
    """
    found = {}
    for metric in multi_label_metrics(logits.shape[1]):
        metric.update_state(labels, logits)
        found[metric.name] = float(metric.result())
    return {**found, "f1": float(f1_scores(labels, model.decide(sigmoid(logits))).mean())}


def _labels_and_logits(model, dataset, verbose):
    rule, fix = "The model must be for images with several labels", "compile(multi_label=True)"
    require(getattr(model, "multi_label", False), rule, fix, model=getattr(model, "name", model))
    check_dataset(dataset)
    labels, logits = [], []
    for batch in track(dataset, show=verbose):
        images, own = check_batch(batch, num_classes_of(model), multi_label=True)
        images = check_images(images, model.input_shape[-1], model.input_shape[1:3])
        logits.append(np.asarray(model.predict_on_batch(images), "float32"))
        require_finite_network(model, logits=logits[-1])
        labels.append(own)
    require(labels, "`dataset` must yield images", "A generator can be used only once", images=0)
    return np.concatenate(labels), np.concatenate(logits)
