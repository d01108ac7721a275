"""Search spaces as plain Python values: a number, a range (tuple) or choices (list)."""

import math

from keras_coda.utils.checks import check_finite, require

Space = float | tuple[float, float] | list[float]


def check_space(name: str, space: Space, *, zero: bool = False) -> Space:
    """Return a search space as a float, a pair of floats or a sorted list of floats, or raise ``ValueError``.

    Args:
        name: of the hyperparameter, for errors.
        space: a number, which is fixed; a tuple ``(low, high)``, a range on a logarithmic scale; or a list of choices.
        zero: whether 0 is allowed, as a number and in a list.
    """
    values = list(space) if isinstance(space, (tuple, list)) else [space]
    values = [check_finite(name, value) for value in values]
    rule = f"`{name}` must be a number, a range (low, high) or a list of choices"
    if isinstance(space, tuple):
        require(len(values) == 2 and values[0] < values[1], rule, **{name: space})
        fix = "Its scale is logarithmic; use a list for choices with 0, such as [0.0, 0.01, 0.1]"
        require(values[0] > 0, "A range must begin above 0", fix, **{name: space})
        return values[0], values[1]
    is_fit = values and min(values) >= (0 if zero else math.ulp(0.0)) and len(set(values)) == len(values)
    require(is_fit, f"{rule}, {'none negative' if zero else 'all positive'}, each once", **{name: space})
    return sorted(values) if isinstance(space, list) else values[0]


def check_weights(weights: dict[str, float], metrics: tuple[str, ...]) -> dict[str, float]:
    """Return the weights of a weighted sum of metrics as floats, or raise ``ValueError``."""
    is_fit = isinstance(weights, dict) and weights and set(weights) <= set(metrics)
    is_fit = is_fit and all(check_finite("weights", weight) > 0 for weight in weights.values())
    require(is_fit, f"`weights` must give positive numbers for some of {metrics}", weights=weights)
    return {name: float(weight) for name, weight in weights.items()}


def declare(hp, name: str, space: Space) -> float:
    """Declare a checked space to KerasTuner's ``HyperParameters``; return its value in the trial."""
    if isinstance(space, tuple):
        return hp.Float(name, *space, sampling="log")
    return hp.Choice(name, space) if isinstance(space, list) else hp.Fixed(name, space)
