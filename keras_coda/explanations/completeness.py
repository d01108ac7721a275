"""By how much contributions may fail to sum to their logit: as much as rounding of float32 explains."""

import numpy as np

# Allowed error of a map, relative to the size of what is added up: ten times the largest that `experiments.residuals`
# finds in maps of random networks with weights and logits of any size, about 1e-6, in all runtimes.
TOLERANCE = 1e-5


def completeness(contributions, constants, logits) -> tuple[np.ndarray, np.ndarray]:
    """Return the completeness error of maps, and the size of what is added up, to which rounding errors are relative.

    Args:
        contributions: ``(..., H, W)``, logit units.
        constants: what belongs to the sum beside them, bias and offsets: ``(...)``, or what can be broadcast to it.
        logits: ``(...)``, of the explained classes.

    Returns:
        ``(residual, scale)``, float64 ``(...)``: ``|Σ contributions + constants - logit|`` and
        ``Σ |contributions| + |constants| + |logit|``.
    """
    logits = np.asarray(logits, "float64")
    constants = np.broadcast_to(np.asarray(constants, "float64"), logits.shape)
    residual = np.abs(np.sum(contributions, axis=(-2, -1), dtype="float64") + constants - logits)
    scale = np.sum(np.abs(contributions), axis=(-2, -1), dtype="float64") + np.abs(constants) + np.abs(logits)
    return residual, scale
