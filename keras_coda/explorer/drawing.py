"""Maps as pixels, and where their colors end."""

import base64

import numpy as np

from keras_coda.explanations.explanation import Explanation
from keras_coda.explorer.view import STYLES, View
from keras_coda.utils.checks import require
from keras_coda.visualization.colors import COLORS, color_limit


def limit_of(contributions: np.ndarray, percentile: float) -> float:
    """Return where the colors of a map ``(H, W)`` end, in units of the logit; the same as in the package's figures."""
    require(0 <= percentile <= 100, "`percentile` must be in [0, 100]", percentile=percentile)
    return float(color_limit(np.abs(contributions), percentile))


def limit(explanation: Explanation, top: Explanation, view: View) -> float:
    """Return where the colors of a map end: with the same scale for all classes where those of ``top`` do.

    Args:
        explanation: of the map to draw.
        top: of the same image for its most probable class.
        view: how maps are drawn.
    """
    return limit_of((top if view.same_scale else explanation).contributions[0, 0], view.percentile)


def map_pixels(explanation: Explanation, view: View, end: float) -> np.ndarray:
    """Draw the first map of the first image of an explanation.

    Args:
        explanation: for the second of ``STYLES`` with its linear map.
        view: how maps are drawn.
        end: contribution at which colors end, see :func:`limit`. Linear maps end at the percentile of their own
            strengths.

    Returns:
        ``(H, W, 3)`` uint8. Positive contributions are red, negative ones blue. The linear map is drawn on white.
    """
    from matplotlib import colormaps

    if view.style == STYLES[0]:
        place = (np.clip(explanation.contributions[0, 0] / end, -1, 1) + 1) / 2
        return colormaps[COLORS](place, bytes=True)[..., :3]
    rgba = explanation[0].to_rgba(percentile=view.percentile)[0, 0]
    blended = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]  # on white
    return np.rint(255 * blended).astype("uint8")


def data_uri(data: bytes) -> str:
    """Return a PNG file as an address that a page can show without a request."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def packed(values: np.ndarray) -> str:
    """Return numbers as text that a page reads as a ``Float32Array``."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()
