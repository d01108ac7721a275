"""Figures of the results of metrics, for one or several explainers (or models) beside each other.

A metric chooses by ``Result.panel`` how it is drawn: ``"boxes"`` (the distribution of its values) or ``"curves"``.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_coda.utils.checks import require
from keras_coda.visualization.figure import new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BOXES_HEIGHT = 1.3  # inches of a panel without the boxes
_COLORS = ("#b2182b", "#2166ac", "#4d9221", "#e08214", "#762a83", "#01665e", "#8c510a", "#c51b7d", "0.35", "0.6")
# Color, line style and hatch of each explainer in turn: the first 30 differ.
_LOOKS = [(color, *drawn) for drawn in (("-", None), ("--", "////"), (":", "....")) for color in _COLORS]


def plot_localization(results: Sequence, labels: Sequence[str] | None = None) -> "Figure":
    """Draw the distribution of localization scores: boxes from the first to the third quartile, lines from 5 to 95 %.

    The line in a box is the median, the diamond is the mean. Mean and standard error are written beside the box.

    Args:
        results: a sequence of :class:`~keras_coda.evaluation.LocalizationResult`, all of the same grid size.
        labels: a name for each; None for the names of the explainers.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ValueError: if there are no results, or another number of labels.
    """
    labels = _labels(results, labels)
    figure, (axes,) = _panels(_BOXES_HEIGHT + 0.4 * len(results))
    _draw_boxes(axes, results, labels)
    return figure


def plot_pixel_removal(results: Sequence, labels: Sequence[str] | None = None) -> "Figure":
    """Draw the mean probability of the true class against the share of pixels removed.

    Args:
        results: a sequence of :class:`~keras_coda.evaluation.PixelRemovalResult`. The quartiles of a single one are
            drawn too.
        labels: a name for each; None for the names of the explainers.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ValueError: if there are no results, or another number of labels.
    """
    labels = _labels(results, labels)
    figure, (axes,) = _panels(3.4)
    named = zip(labels, results, strict=True)
    _draw_curves(axes, results, [f"{label}: AUC {result.text}, {_count(result)}" for label, result in named])
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=7, frameon=False, loc="best")
    return figure


def plot_comparison(*metrics: Sequence, labels: Sequence[str] | None = None) -> "Figure":
    """Draw one panel for each metric, below each other; every explainer has one color in all of them.

    Args:
        *metrics: for each metric the results of all explainers, in the same order.
        labels: a name for each explainer; None for their own.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ValueError: if there are no results, or not one for every metric and label.
    """
    sizes = [len(results) for results in metrics]
    require(len(set(sizes)) == 1, "Every metric must have one result for each explainer", numbers_of_results=sizes)
    labels = [label.replace("(", "\n(", 1) for label in _labels(metrics[0], labels)]  # leaves room for the boxes
    panels = [_PANELS[results[0].panel] for results in metrics]
    figure, every = _panels(*(panel.height(len(labels)) for panel in panels))
    for panel, axes, results in zip(panels, every, metrics, strict=True):
        panel.draw(axes, results, labels)
    curves = [
        (axes, results) for axes, results in zip(every, metrics, strict=True) if axes.get_legend_handles_labels()[0]
    ]
    if curves:
        axes, results = curves[0]
        handles, texts = axes.get_legend_handles_labels()
        style: dict[str, Any] = {"fontsize": 6.5, "title_fontsize": 6.5, "frameon": False}
        style |= {
            "ncols": 2 if max(map(len, texts)) < 63 else 1,
            "title": f"area under the curve, {_count(results[0])}",
        }
        figure.legend(handles, texts, loc="outside lower center", **style)
    return figure


@dataclasses.dataclass(frozen=True)
class _Panel:
    """How the results of a metric are drawn into one of several axes."""

    height: Callable[[int], float]  # number of explainers -> inches
    draw: Callable  # (axes, results, labels)


def _draw_comparison_curves(axes, results, labels):
    named = zip(labels, results, strict=True)
    _draw_curves(axes, results, [f"{label}: {result.text}".replace("\n", "") for label, result in named])
    lowest = min(result.curve.min() for result in results)
    axes.set_ylim(math.floor(20 * lowest) / 20, 1.01)  # the differences fill the axes


def _draw_boxes(axes, results, labels):
    positions = np.arange(len(results))[::-1]
    for position, result, (color, _, hatch) in zip(positions, results, itertools.cycle(_LOOKS), strict=False):
        low, first, median, third, high = np.percentile(result.scores, [5, 25, 50, 75, 95])
        axes.hlines(position, low, high, color="0.2", linewidth=0.9)
        box = {"height": 0.5, "color": color, "edgecolor": "0.2", "linewidth": 0.8, "hatch": hatch}
        axes.barh(position, third - first, left=first, **box)
        axes.vlines(median, position - 0.25, position + 0.25, color="0.1", linewidth=1.4)
        axes.plot(result.mean, position, "D", markersize=4, markerfacecolor="white", markeredgecolor="0.1")
        text = f"{result.text}   {_count(result)}"
        axes.annotate(text, (1.02, position), xycoords=("axes fraction", "data"), va="center", fontsize=7, color="0.25")
    chance = results[0].chance
    if chance is not None:
        axes.axvline(chance, color="0.4", linestyle="--", linewidth=0.8)
        at = {"xy": (chance, 1), "xytext": (0, 3), "textcoords": "offset points"}
        axes.annotate("chance", **at, xycoords=("data", "axes fraction"), ha="center", fontsize=7, color="0.4")
    axes.set_yticks(positions, labels)
    axes.set(xlabel=results[0].axis_label)
    if results[0].limits is not None:
        axes.set_xlim(results[0].limits)


def _draw_curves(axes, results, labels):
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


# The names that `Result.panel` may have.
_PANELS = {
    "boxes": _Panel(lambda count: _BOXES_HEIGHT + 0.34 * count, _draw_boxes),
    "curves": _Panel(lambda count: 2.8 + 0.08 * count, _draw_comparison_curves),
}


def _panels(*heights):
    """Return a figure and its axes, of these heights in inches, below each other."""
    figure = new_figure(7.2, sum(heights))
    every = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    for axes in every:
        style_axes(axes)
    return figure, every


def _labels(results, labels):
    require(len(results) > 0, "There must be results to draw", results=results)
    labels = [result.explainer for result in results] if labels is None else list(labels)
    require(len(labels) == len(results), "There must be one label for each result", labels=labels, results=len(results))
    return labels


def _count(result):
    units, what = len(result.units), result.unit
    return f"{units} {what}" if units == result.requested else f"{units} of {result.requested} {what}"
