"""Figures of results, one or several explainers (or models) beside each other.

As the pictures of :mod:`keras_coda.visualization`, they are not registered with ``matplotlib.pyplot`` and show
themselves in notebooks.
"""

import functools
from collections.abc import Sequence

import numpy as np

from keras_coda.validation import require
from keras_coda.visualization import DPI, _png

_COLORS = ("#b2182b", "#2166ac", "#4d9221", "#e08214", "#762a83", "#01665e", "#8c510a", "#c51b7d", "0.35", "0.6")


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
    figure, axes = _figure(height=1.3 + 0.4 * len(results))
    positions = np.arange(len(results))[::-1]
    for position, result, color in zip(positions, results, _colors(results), strict=True):
        low, first, median, third, high = np.percentile(result.scores, [5, 25, 50, 75, 95])
        axes.hlines(position, low, high, color="0.2", linewidth=0.9)
        axes.barh(position, third - first, left=first, height=0.5, color=color, edgecolor="0.2", linewidth=0.8)
        axes.vlines(median, position - 0.25, position + 0.25, color="0.1", linewidth=1.4)
        axes.plot(result.mean, position, "D", markersize=4, markerfacecolor="white", markeredgecolor="0.1")
        text = f"{result.mean:.3f} ± {result.standard_error:.3f}   {_count(result, 'grids')}"
        axes.annotate(text, (1.02, position), xycoords=("axes fraction", "data"), va="center", fontsize=7, color="0.25")
    axes.axvline(results[0].chance, color="0.4", linestyle="--", linewidth=0.8)
    at = {"xy": (results[0].chance, 1), "xytext": (0, 3), "textcoords": "offset points"}
    axes.annotate("chance", **at, xycoords=("data", "axes fraction"), ha="center", fontsize=7, color="0.4")
    axes.set_yticks(positions, labels)
    axes.set(xlim=(0, 1), xlabel="localization: share of the positive contributions in the class's own cell")
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
    figure, axes = _figure(height=3.4)
    if len(results) == 1:
        lower, _, upper = results[0].curve_quartiles
        axes.fill_between(100 * results[0].shares, lower, upper, color=_COLORS[0], alpha=0.15, linewidth=0)
    for result, label, color in zip(results, labels, _colors(results), strict=True):
        text = f"{label}: AUC {result.auc:.3f} ± {result.standard_error:.3f}, {_count(result, 'images')}"
        axes.plot(100 * result.shares, result.curve, color=color, linewidth=1.4, label=text)
    orders = " / ".join(sorted({result.order for result in results}))
    axes.set(xlabel=f"pixels removed (%), {orders} important first", ylabel="probability of the true class")
    axes.set(ylim=(0, 1.02), xlim=(0, 100 * max(result.shares[-1] for result in results)))
    axes.legend(fontsize=7, frameon=False, loc="best")
    return figure


def _figure(height):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), dpi=DPI, facecolor="white", layout="constrained")
    figure._repr_png_ = functools.partial(_png, figure)  # what a notebook asks for
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(8)
    axes.yaxis.label.set_size(8)
    return figure, axes


def _labels(results, labels):
    require(len(results) > 0, "There must be results to draw", results=results)
    labels = [result.explainer for result in results] if labels is None else list(labels)
    require(len(labels) == len(results), "There must be one label for each result", labels=labels, results=len(results))
    return labels


def _colors(results):
    return [_COLORS[i % len(_COLORS)] for i in range(len(results))]


def _count(result, what):
    units = len(result.units)
    return f"{units} {what}" if units == result.requested else f"{units} of {result.requested} {what}"
