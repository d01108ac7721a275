"""Figures of results, one or several explainers (or models) beside each other.

As the pictures of :mod:`keras_coda.visualization`, they are not registered with ``matplotlib.pyplot`` and show
themselves in notebooks.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np

from keras_coda.utils.checks import require
from keras_coda.visualization.figure import DPI, _png

_LOCALIZATION_HEIGHT = 1.3  # without the boxes
_COLORS = ("#b2182b", "#2166ac", "#4d9221", "#e08214", "#762a83", "#01665e", "#8c510a", "#c51b7d", "0.35", "0.6")
# Color, line and hatch of one explainer after the other: 30 before any looks like an earlier one.
_LOOKS = [(color, *drawn) for drawn in (("-", None), ("--", "////"), (":", "....")) for color in _COLORS]


def plot_localization(results: Sequence, labels: Sequence[str] | None = None):
    """Draw the distribution of localization scores: boxes between the quartiles, whiskers from 5 to 95 %.

    The line in a box is the median, the diamond the mean, which stands beside it with its standard error.

    Args:
        results: :class:`~keras_coda.evaluation.LocalizationResult` each, of grids of one size.
        labels: a name for each; None for the explainers'.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    labels = _labels(results, labels)
    figure, (axes,) = _figure(_LOCALIZATION_HEIGHT + 0.4 * len(results))
    _draw_localization(axes, results, labels)
    return figure


def plot_pixel_removal(results: Sequence, labels: Sequence[str] | None = None):
    """Draw the mean probability of the true class against the share of pixels removed.

    Args:
        results: :class:`~keras_coda.evaluation.PixelRemovalResult` each. A single one is drawn with its quartiles.
        labels: a name for each; None for the explainers'.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    labels = _labels(results, labels)
    figure, (axes,) = _figure(3.4)
    named = zip(labels, results, strict=True)
    areas = [f"{label}: AUC {_mean(result)}, {_count(result, 'images')}" for label, result in named]
    _draw_pixel_removal(axes, results, areas)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=7, frameon=False, loc="best")
    return figure


def plot_comparison(localization: Sequence, pixel_removal: Sequence, labels: Sequence[str] | None = None):
    """Draw both metrics of several explainers, each in one color: boxes above, curves below.

    Args:
        localization: as for :func:`plot_localization`.
        pixel_removal: as for :func:`plot_pixel_removal`, of the same explainers.
        labels: a name for each explainer; None for their own.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    require(len(localization) == len(pixel_removal), "Both metrics must have been measured for every explainer",
            localization=len(localization), pixel_removal=len(pixel_removal))  # fmt: skip
    labels = [label.replace("(", "\n(", 1) for label in _labels(localization, labels)]  # room for the boxes
    figure, (upper, lower) = _figure(_LOCALIZATION_HEIGHT + 0.34 * len(labels), 2.8 + 0.08 * len(labels))
    _draw_localization(upper, localization, labels)
    named = zip(labels, pixel_removal, strict=True)
    areas = [f"{label}: {_mean(result)}".replace("\n", "") for label, result in named]
    _draw_pixel_removal(lower, pixel_removal, areas)
    lowest = min(result.curve.min() for result in pixel_removal)
    lower.set_ylim(math.floor(20 * lowest) / 20, 1.01)  # what differs fills the axes
    title = f"area under the curve, {_count(pixel_removal[0], 'images')}"
    style = {"fontsize": 6.5, "title_fontsize": 6.5, "frameon": False, "ncols": 2 if max(map(len, areas)) < 63 else 1}
    figure.legend(loc="outside lower center", title=title, **style)
    return figure


def _draw_localization(axes, results, labels):
    positions = np.arange(len(results))[::-1]
    for position, result, (color, _, hatch) in zip(positions, results, itertools.cycle(_LOOKS), strict=False):
        low, first, median, third, high = np.percentile(result.scores, [5, 25, 50, 75, 95])
        axes.hlines(position, low, high, color="0.2", linewidth=0.9)
        box = {"height": 0.5, "color": color, "edgecolor": "0.2", "linewidth": 0.8, "hatch": hatch}
        axes.barh(position, third - first, left=first, **box)
        axes.vlines(median, position - 0.25, position + 0.25, color="0.1", linewidth=1.4)
        axes.plot(result.mean, position, "D", markersize=4, markerfacecolor="white", markeredgecolor="0.1")
        text = f"{_mean(result)}   {_count(result, 'grids')}"
        axes.annotate(text, (1.02, position), xycoords=("axes fraction", "data"), va="center", fontsize=7, color="0.25")
    axes.axvline(results[0].chance, color="0.4", linestyle="--", linewidth=0.8)
    at = {"xy": (results[0].chance, 1), "xytext": (0, 3), "textcoords": "offset points"}
    axes.annotate("chance", **at, xycoords=("data", "axes fraction"), ha="center", fontsize=7, color="0.4")
    axes.set_yticks(positions, labels)
    axes.set(xlim=(0, 1), xlabel="localization: share of the positive contributions in the class's own cell")


def _draw_pixel_removal(axes, results, labels):
    if len(results) == 1:
        lower, _, upper = results[0].curve_quartiles
        axes.fill_between(100 * results[0].shares, lower, upper, color=_COLORS[0], alpha=0.15, linewidth=0)
    for number, (result, label, look) in enumerate(zip(results, labels, itertools.cycle(_LOOKS), strict=False)):
        style = {"color": look[0], "linestyle": look[1], "linewidth": 1.4}
        zorder = 3 - number / len(results)  # the first one on top
        axes.plot(100 * result.shares, result.curve, **style, label=label, zorder=zorder)
    orders = " / ".join(sorted({result.order for result in results}))
    axes.set(xlabel=f"pixels removed (%), {orders} important first", ylabel="probability of the true class")
    axes.set_xlim(0, 100 * max(result.shares[-1] for result in results))


def _figure(*heights):
    """Return a figure with axes of these heights below each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, sum(heights)), dpi=DPI, facecolor="white", layout="constrained")
    figure._repr_png_ = functools.partial(_png, figure)  # what a notebook asks for
    every = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.xaxis.label.set_size(8)
        axes.yaxis.label.set_size(8)
    return figure, every


def _labels(results, labels):
    require(len(results) > 0, "There must be results to draw", results=results)
    labels = [result.explainer for result in results] if labels is None else list(labels)
    require(len(labels) == len(results), "There must be one label for each result", labels=labels, results=len(results))
    return labels


def _mean(result):
    return f"{result.mean:.3f} ± {result.standard_error:.3f}"


def _count(result, what):
    units = len(result.units)
    return f"{units} {what}" if units == result.requested else f"{units} of {result.requested} {what}"
