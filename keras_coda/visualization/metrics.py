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
# The colors of Okabe and Ito (Color Universal Design, 2008), which readers with any color vision tell apart; without
# yellow, which is too faint for lines on white, and with gray for black, in which a box would hide its median.
_COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "0.45")
_DRAWN = (("-", None), ("--", "////"), (":", "...."), ("-.", "xxxx"))
# Color, line style and hatch of each explainer in turn: neighbors differ in all of them, and the first 28 look unlike.
_LOOKS = [(_COLORS[n % len(_COLORS)], *_DRAWN[n % len(_DRAWN)]) for n in range(len(_COLORS) * len(_DRAWN))]
_BOX_LEGEND = "box: quartiles, with the median as a line; whiskers: 5 to 95%; diamond: mean"
_MEDIAN_LEGEND = "median of the images"
_BAND_LEGEND = "band: from the first to the third quartile of the images"


def plot_localization(results: Sequence, labels: Sequence[str] | None = None) -> "Figure":
    """Draw the distribution of localization scores: boxes from the first to the third quartile, lines from 5 to 95%.

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


def plot_randomization(results: Sequence, labels: Sequence[str] | None = None) -> "Figure":
    """Draw the mean similarity to the original maps, and its quartiles, after each layer is re-initialized.

    Args:
        results: a sequence of :class:`~keras_coda.evaluation.RandomizationResult` of one model.
        labels: a name for each; None for the names of the explainers.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ValueError: if there are no results, another number of labels, or results of several models.
    """
    labels = _labels(results, labels)
    layers = [result.layers for result in results]
    require(len(set(layers)) == 1, "All results must be of the same layers", layers=layers)
    figure, (axes,) = _panels(3.6)
    for result, label, (color, line, _) in zip(results, labels, itertools.cycle(_LOOKS), strict=False):
        values = np.vstack([np.ones(len(result.scores)), result.similarities])  # unchanged at first
        lower, upper = np.percentile(values, [25, 75], axis=1)
        axes.fill_between(range(len(values)), lower, upper, color=color, alpha=0.12, linewidth=0)
        axes.plot(values.mean(axis=1), color=color, linestyle=line, marker="o", markersize=3, label=label)
    axes.axhline(0, color="0.4", linestyle="--", linewidth=0.8)
    axes.set_xticks(range(1 + len(layers[0])), ["none", *layers[0]], rotation=30, ha="right")
    axes.set(xlabel="re-initialized down to this layer", ylabel="rank correlation with the original map")
    axes.legend(fontsize=7, title_fontsize=6.5, frameon=False, title=f"{_count(results[0])}; {_BAND_LEGEND}")
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
    at = {"xy": (0, 1), "xytext": (0, 12), "textcoords": "offset points"}
    axes.annotate(_BOX_LEGEND, **at, xycoords="axes fraction", fontsize=6.5, color="0.4")
    if results[0].limits is not None:
        axes.set_xlim(results[0].limits)


def _draw_curves(axes, results, labels):
    if len(results) == 1:
        lower, median, upper = results[0].curve_quartiles
        style = {"color": _COLORS[0], "alpha": 0.15, "linewidth": 0}
        axes.fill_between(100 * results[0].shares, lower, upper, **style, label=_BAND_LEGEND)
        # Where a few images decide, the mean lies outside the band; the median does not.
        axes.plot(100 * results[0].shares, median, ":", color=_COLORS[0], linewidth=1.2, label=_MEDIAN_LEGEND)
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
