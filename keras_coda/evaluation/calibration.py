"""How far probabilities are from how often predictions are right, and the calibration that brings them closer."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_coda.evaluation.datasets import check_batch, check_dataset
from keras_coda.explanations.calibration import Calibration
from keras_coda.explanations.explanation import sigmoid
from keras_coda.utils.checks import check_images, num_classes_of, require, require_finite_network
from keras_coda.utils.progress import track

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 15  # as in most papers since Guo et al. 2017
_WEAK = 1e4  # scikit-learn's C: a penalty so weak that it matters only if a class can be told without any error


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """How often predictions are right, by how certain they are.

    Attributes:
        confidences: ``(N,)``, probability of the predicted class of each image.
        is_right: ``(N,)`` bool, whether the image has that class.
        class_error: mean over classes of the expected calibration error of the class' own probability.
        name: for pictures.

    Reference:
        Guo et al. 2017, "On Calibration of Modern Neural Networks"; for ``class_error`` Kull et al. 2019, "Beyond
        temperature scaling".
    """

    confidences: np.ndarray
    is_right: np.ndarray
    class_error: float
    name: str = ""

    @classmethod
    def of(cls, probabilities, labels, name: str = "", predicted=None) -> "Reliability":
        """Compare probabilities with labels.

        Args:
            probabilities: ``(N, C)`` in [0, 1].
            labels: ``(N,)`` indices of the true classes, or ``(N, C)`` of 0 and 1.
            name: for pictures.
            predicted: ``(N,)`` predicted classes; None: those of the largest probabilities.
        """
        probabilities, labels = np.asarray(probabilities, "float64"), np.asarray(labels)
        has = labels.astype(bool) if labels.ndim == 2 else np.arange(probabilities.shape[1]) == labels[:, None]
        fits = has.shape == probabilities.shape and probabilities.size > 0
        require(fits, "There must be a label for each image", probabilities=probabilities.shape, labels=labels.shape)
        best = (probabilities.argmax(axis=1) if predicted is None else np.asarray(predicted))[:, None]
        per_class = [calibration_error(*pair) for pair in zip(probabilities.T, has.T, strict=True)]
        confidences = np.take_along_axis(probabilities, best, axis=1)[:, 0]
        is_right = np.take_along_axis(has, best, axis=1)[:, 0]
        return cls(confidences, is_right, float(np.mean(per_class)), name)

    @property
    def error(self) -> float:
        """Expected calibration error of the predicted class, see :func:`calibration_error`."""
        return calibration_error(self.confidences, self.is_right)

    def plot(self) -> "Figure":
        """Draw the reliability diagram, see :func:`keras_coda.visualization.plot_reliability`."""
        from keras_coda.visualization.reliability import plot_reliability

        return plot_reliability([self])


def calibration_error(probabilities: np.ndarray, is_right: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error: ``Σ n_b / N |share that is right in b - mean probability in b|``.

    Args:
        probabilities: ``(N,)`` in [0, 1]; bins ``b`` are equally wide parts of that range.
        is_right: ``(N,)`` bool.
        bins: how many.

    Example:
        >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
        0.4
    """
    which = np.minimum((np.asarray(probabilities) * bins).astype(int), bins - 1)
    gaps = np.bincount(which, np.asarray(is_right, "float64") - probabilities, minlength=bins)
    return float(np.abs(gaps).sum() / len(which))


def calibrate(model: keras.Model, dataset: Iterable, *, verbose: bool = True) -> Calibration:
    """Fit calibrated probabilities: for each class a sigmoid of its logit, by scikit-learn's logistic regression.

    Decisions stay those of the logits, and maps those of the logits, which they sum to.

    Args:
        model: a network; its logits must not have been fitted to these images.
        dataset: yields ``(images, labels)`` in batches: validation images. Figures of the calibration belong to others.
        verbose: whether to show a progress bar.

    Returns:
        A :class:`~keras_coda.explanations.Calibration`, to be set as ``model.calibration``. Presets, ``.keras`` files
        and exported networks keep it. Training the model removes it.

    Raises:
        ValueError: for data that do not fit the model, a class that all images or no images have, and a class that is
            less likely the larger its logit is.

    Example:
        ```python
        model.calibration = keras_coda.evaluation.calibrate(model, data.validation)
        model.calibration(explanation.logits)  # (B, classes)
        ```
    """
    return fit_calibration(*labels_and_logits(model, dataset, verbose))


def fit_calibration(labels: np.ndarray, logits: np.ndarray) -> Calibration:
    """Fit the calibration to logits, see :func:`calibrate`.

    Args:
        labels: ``(N, C)`` bool, which classes each image has.
        logits: ``(N, C)``.
    """
    from sklearn.linear_model import LogisticRegression

    counts = labels.sum(axis=0)
    one_sided = np.flatnonzero((counts == 0) | (counts == len(labels))).tolist()
    rule = "To calibrate a class there must be images with it and images without it"
    require(not one_sided, rule, "Use more validation images", classes_without_both=one_sided[:10])
    spread = np.maximum(logits.std(axis=0, dtype="float64"), 1e-12)  # so that the penalty means the same for all
    found = [
        LogisticRegression(C=_WEAK).fit(scores[:, None] / scale, has)
        for scores, has, scale in zip(logits.astype("float64").T, labels.T, spread, strict=True)
    ]
    slopes = np.array([each.coef_[0, 0] for each in found]) / spread
    rule = "Images of a class must have larger logits of it than others"
    require((slopes > 0).all(), rule, "Train the network longer", classes=np.flatnonzero(slopes <= 0).tolist()[:10])
    return Calibration(tuple(slopes.tolist()), tuple(float(each.intercept_[0]) for each in found))


def reliability(
    model: keras.Model, dataset: Iterable, *, calibration: Calibration | None = None, verbose: bool = True
) -> Reliability:
    """Compare the probabilities of a network with how often it is right.

    Args:
        model: a network.
        dataset: yields ``(images, labels)`` in batches.
        calibration: whose probabilities to compare, for instance ``model.calibration``; None: sigmoids of the logits.
        verbose: whether to show a progress bar.
    """
    labels, logits = labels_and_logits(model, dataset, verbose)
    probabilities = sigmoid(logits) if calibration is None else calibration(logits)
    return Reliability.of(probabilities, labels, predicted=logits.argmax(axis=1))


def halves(labels: np.ndarray, logits: np.ndarray, seed: int = 0) -> tuple[Reliability, Reliability]:
    """Fit a calibration to a random half of the images, and measure the other half before and after it.

    Args:
        labels: ``(N, C)`` bool.
        logits: ``(N, C)``.
        seed: of the halves.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    fitted = fit_calibration(labels[first], logits[first])
    every = {"sigmoids of the logits": sigmoid(logits[second]), "calibrated": fitted(logits[second])}
    predicted = logits[second].argmax(axis=1)  # classes are decided for by the logits, with a calibration too
    before, after = (Reliability.of(shares, labels[second], name, predicted) for name, shares in every.items())
    return before, after


def labels_and_logits(model: keras.Model, dataset: Iterable, verbose: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return which classes each image has, ``(N, C)`` bool, and its logits ``(N, C)`` float32."""
    check_dataset(dataset)
    count, several = num_classes_of(model), bool(getattr(model, "multi_label", False))
    labels: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    for batch in track(dataset, show=verbose):
        images, own = check_batch(batch, count, multi_label=several)
        images = check_images(images, model.input_shape[-1], model.input_shape[1:3])
        logits.append(np.asarray(model.predict_on_batch(images), "float32"))
        require_finite_network(model, logits=logits[-1])
        labels.append(own.astype(bool) if several else np.arange(count) == own[:, None])
    require(labels, "`dataset` must yield images", "A generator can be used only once", images=0)
    return np.concatenate(labels), np.concatenate(logits)


def table(results: Iterable[Reliability]) -> list[tuple[Any, ...]]:
    """Return a row of text for each result: name, accuracy, mean confidence, both calibration errors."""
    return [
        (each.name, *(f"{value:.2%}" for value in (each.is_right.mean(), each.confidences.mean(), each.error)),
         f"{each.class_error:.2%}")
        for each in results
    ]  # fmt: skip
