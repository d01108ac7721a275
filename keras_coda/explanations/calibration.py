"""Calibrated probabilities: for each class a sigmoid of its logit, fitted to images that were not trained on."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_coda.explanations.explanation import sigmoid
from keras_coda.utils.checks import require, to_numpy
from keras_coda.utils.records import from_fields


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The probability of class k is ``sigmoid(slopes[k] * logit + intercepts[k])``, as Platt (1999) scales scores.

    Slopes are positive: of two images the one with the larger logit keeps the larger probability.
    :func:`keras_coda.evaluation.calibrate` fits them.

    Attributes:
        slopes: one for each class, above 0.
        intercepts: one for each class.

    Raises:
        ValueError: for other values.

    Example:
        >>> Calibration(slopes=(1.0, 0.5), intercepts=(0.0, -1.0))([[0.0, 2.0]]).tolist()
        [[0.5, 0.5]]
    """

    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]

    def __post_init__(self):
        for name in ("slopes", "intercepts"):
            values = to_numpy(getattr(self, name)).astype("float64")
            fits = values.ndim == 1 and np.isfinite(values).all() and (name == "intercepts" or (values > 0).all())
            rule = f"`{name}` must be one finite number{' above 0' * (name == 'slopes')} for each class"
            require(fits, rule, **{name: getattr(self, name)})
            object.__setattr__(self, name, tuple(values.tolist()))
        counts = len(self.slopes), len(self.intercepts)
        require(counts[0] == counts[1], "There must be as many intercepts as slopes", counts=counts)

    @classmethod
    def of(cls, value) -> "Calibration | None":
        """Return a calibration, given as one or as its fields by name; None for None."""
        return from_fields(cls, value, "calibration", "{'slopes': [...], 'intercepts': [...]}")

    def __call__(self, logits: np.ndarray | Sequence) -> np.ndarray:
        """Return probabilities ``(B, C)`` float32 of logits ``(B, C)``."""
        scaled = to_numpy(logits) * np.asarray(self.slopes, "float32") + np.asarray(self.intercepts, "float32")
        return sigmoid(scaled.astype("float32"))
