"""Norm-bounding factors of Dynamic Alignment Units.

A unit's weight is ``g(v)``, the vector ``v`` scaled so that its norm cannot exceed one. Both choices of the
paper are written here as a *factor on v* that depends on ``n² = ‖v‖²`` alone, because the factored evaluation
knows ``n²`` without ever building ``v`` (CVPR 2021, equations 2 and 3).
"""

import math
from collections.abc import Callable

from keras import ops

# Added to n² so that neither factor, nor its derivative, is infinite at v = 0 (a patch of zeros, for one).
# Small enough to change no norm that float32 can tell from zero, large enough for (n² + ε)^(-3/2) to be finite.
_EPSILON = 1e-24


def l2(squared_norm):
    """``g(v) = v/‖v‖``: the factor is ``1/n``; every weight has norm one.

    Args:
        squared_norm: float tensor of any shape, ``n² >= 0``.

    Returns:
        Tensor of the same shape and dtype; NaN for an infinite norm.
    """
    # 1/∞ = 0 would make a unit whose norm overflows silent, and its map zero. `squash` is NaN there anyway.
    overflows = ops.equal(squared_norm, math.inf)
    return ops.where(overflows, math.nan, ops.rsqrt(squared_norm + _EPSILON))


def squash(squared_norm):
    """``g(v) = v/‖v‖ · n²/(1+n²)``: the factor is ``n/(1+n²)``; norms grow smoothly from zero to one.

    Args:
        squared_norm: float tensor of any shape, ``n² >= 0``.

    Returns:
        Tensor of the same shape and dtype.
    """
    return ops.sqrt(squared_norm + _EPSILON) / (1.0 + squared_norm)


_RESCALINGS: dict[str, Callable] = {"l2": l2, "squash": squash}


def get(name: str) -> Callable:
    """Return the factor called ``name``.

    Args:
        name: ``"l2"`` or ``"squash"``.

    Raises:
        ValueError: for any other name.
    """
    if not isinstance(name, str) or name not in _RESCALINGS:
        raise ValueError(f"`rescaling` must be one of {sorted(_RESCALINGS)}. Received: rescaling={name!r}")
    return _RESCALINGS[name]
