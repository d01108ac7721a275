"""Figures of hyperparameter searches and studies: the metrics as functions of the hyperparameters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_coda.visualization.figure import new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = {"accuracy": "#2166ac", "localization": "#b2182b", "removal": "#4d9221"}
_BEST = "#e0a000"
_NAMES = {
    "temperature": "temperature T",
    "rank_multiplier": "factor of the ranks",
    "learning_rate": "learning rate",
    "linear_map_regularization": "regularization λ",
    "accuracy": "accuracy",
    "localization": "localization",
    "removal": "pixel removal (AUC)",
}


def plot_trials(trials: Sequence[dict], hyperparameters: Sequence[str]) -> "Figure":
    """Draw accuracy and localization against each hyperparameter that differs between the trials.

    The last panel shows localization against accuracy. The best trial is a star; trials without a grid are hollow.

    Args:
        trials: as in :class:`~keras_coda.tuning.TuningResult`, the best first.
        hyperparameters: names of the hyperparameters; those with one value in all trials are left out.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    varied = [name for name in hyperparameters if len({trial[name] for trial in trials}) > 1]
    figure = new_figure(2.0 * len(varied) + 3.4, 4.2)
    grid = figure.add_gridspec(2, len(varied) + 1, width_ratios=[1] * len(varied) + [1.6])
    for row, (key, metric) in enumerate((("val_accuracy", "accuracy"), ("localization", "localization"))):
        first = None
        for column, name in enumerate(varied):
            panel = figure.add_subplot(grid[row, column], sharey=first)
            _scatter(panel, [trial[name] for trial in trials], trials, key, _COLORS[metric])
            _logarithmic(panel, {trial[name] for trial in trials})
            panel.tick_params(labelleft=first is None)
            panel.set_xlabel(_NAMES[name] if row else "", fontsize=8)
            panel.set_ylabel("" if first else _NAMES[metric], fontsize=8)
            first = first or panel
    panel = figure.add_subplot(grid[:, -1])
    _scatter(panel, [trial["val_accuracy"] for trial in trials], trials, "localization", "0.35")
    panel.set_xlabel(_NAMES["accuracy"], fontsize=8)
    panel.set_ylabel(_NAMES["localization"], fontsize=8)
    panel.locator_params(axis="x", nbins=6)
    panel.plot([], [], "*", color=_BEST, markeredgecolor="0.1", markersize=9, label="best of the objective")
    panel.plot([], [], "o", markerfacecolor="white", markeredgecolor="0.35", markersize=4.5, label="without a grid")
    panel.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def plot_temperatures(study, published: dict | None = None) -> "Figure":
    """Draw accuracy, localization and pixel removal against the temperature, on a logarithmic scale.

    The dotted line is the probability before any pixel is removed: the confidence of the network, which does not
    depend on the maps.

    Args:
        study: a :class:`~keras_coda.tuning.TemperatureStudy`; the bars are its standard errors.
        published: ``{metric: {temperature: value}}``, drawn hollow and dashed in the color of the metric, or None.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    figure = new_figure(7.2, 3.6)
    handles: list[Any] = []
    style: dict[str, Any]
    axes = figure.add_subplot()
    style_axes(axes, size=7, grid=True)
    for metric, color in _COLORS.items():
        temperatures, means, errors = study.curve(metric)
        bars: dict[str, Any] = {"yerr": np.nan_to_num(errors), "elinewidth": 0.9, "capsize": 2.5}
        style = {"color": color, "marker": "o", "markersize": 4, "linewidth": 1.5, "label": _NAMES[metric]}
        handles.append(axes.errorbar(temperatures, means, **bars, **style))
    untouched: dict[str, Any] = {
        "color": _COLORS["removal"],
        "linestyle": ":",
        "linewidth": 1.1,
        "label": "untouched images",
    }
    handles += axes.plot(*study.curve("untouched")[:2], **untouched)
    for metric, color in _COLORS.items():
        points = sorted((published or {}).get(metric, {}).items())
        style = {"color": color, "marker": "o", "markersize": 4, "markerfacecolor": "white", "linewidth": 0.9}
        if points:
            label = f"{_NAMES[metric]}, published"
            handles += axes.plot(*zip(*points, strict=True), "--", **style, alpha=0.75, label=label)
    _logarithmic(axes, study.temperatures)
    axes.set_xlabel(_NAMES["temperature"], fontsize=8)
    axes.set_ylabel("score", fontsize=8)
    axes.set_ylim(0, 1.02)
    axes.legend(handles=handles, fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _logarithmic(axes, values):
    """Make the x axis logarithmic (linear near zero, if there are zeros) and label it with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = [value for value in values if value > 0]
    if len(positive) < len(values):
        axes.set_xscale("symlog", linthresh=min(positive, default=1))
    else:
        axes.set_xscale("log")
        if max(values) < 20 * min(values):
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    if len(values) <= 4:
        axes.set_xticks(sorted(values))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _scatter(axes, x, trials, metric, color):
    style_axes(axes, size=7, grid=True)
    for position, trial in zip(x, trials, strict=True):
        face = color if trial["localization_grids"] else "white"
        axes.plot(position, trial[metric], "o", markerfacecolor=face, markeredgecolor=color, markersize=4.5)
    axes.plot(x[0], trials[0][metric], "*", color=_BEST, markeredgecolor="0.1", markersize=10, zorder=3)
