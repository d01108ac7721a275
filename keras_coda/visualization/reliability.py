"""Reliability diagrams: how often predictions are right, by how certain they are."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_coda.utils.checks import require
from keras_coda.visualization.figure import new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7")  # Okabe and Ito, as in figures of metrics


def plot_reliability(results: Sequence, bins: int = 15) -> "Figure":
    """Draw the share of right predictions against their mean probability, and below how many there are.

    On the diagonal, predictions of 80% are right in 80% of the cases; below it the network is too certain.

    Args:
        results: a sequence of :class:`~keras_coda.evaluation.Reliability`.
        bins: equally wide parts of [0, 1] in which predictions are counted together.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ValueError: if there are no results.
    """
    require(len(results), "There must be at least one result", results=[])
    figure = new_figure(4.6, 4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=0.8)
    for result, color, marker in zip(results, itertools.cycle(_COLORS), itertools.cycle("os^D"), strict=False):
        which = np.minimum((result.confidences * bins).astype(int), bins - 1)
        counts = np.bincount(which, minlength=bins)
        used = counts > 0
        x, y = (np.bincount(which, values, minlength=bins)[used] / counts[used]
                for values in (result.confidences, result.is_right))  # fmt: skip
        label = f"{result.name or 'probabilities'}: error {result.error:.1%}"
        upper.plot(x, y, color=color, marker=marker, markersize=4, linewidth=1.2, label=label)
        lower.stairs(counts, np.linspace(0, 1, bins + 1), color=color)
    upper.set(ylabel="share of right predictions", xlim=(0, 1), ylim=(0, 1.02))
    lower.set(xlabel="probability of the predicted class", ylabel="images")
    upper.legend(fontsize=7, frameon=False, loc="upper left")
    for axes in (upper, lower):
        style_axes(axes, grid=True)
    return figure
