"""Pictures of an audit: distributions over many images, and mean maps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_coda.visualization.colors import COLORS, color_limit
from keras_coda.visualization.figure import new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOW, _BEFORE = "#0072b2", "0.35"


def plot_distributions(
    values: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray] | None = None, bins: int = 30
) -> "Figure":
    """Draw a histogram of each quantity, as shares of the images.

    Args:
        values: ``(N,)`` by name.
        reference: the same names, drawn as a line; None for none.
        bins: equally wide parts of the range.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    columns = min(len(values), 3)
    rows = -(-len(values) // columns)
    figure = new_figure(2.9 * columns, 2.1 * rows)
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, own) in zip(every, values.items(), strict=False):
        other = None if reference is None else reference[name]
        both = own if other is None else np.concatenate([own, other])
        edges = np.linspace(both.min(), both.max() + (both.max() == both.min()), bins + 1)
        axes.hist(own, edges, weights=np.full(len(own), 1 / len(own)), color=_NOW)
        if other is not None:
            shares = np.histogram(other, edges)[0] / len(other)
            axes.stairs(shares, edges, color=_BEFORE, linewidth=1.2, label="reference")
            axes.legend(fontsize=6.5, frameon=False)
        axes.set(xlabel=name, ylabel="share of images")
        style_axes(axes, size=6.5, grid=True)
    for axes in every[len(values) :]:
        axes.axis("off")
    return figure


def plot_mean_maps(maps: Sequence[np.ndarray], titles: Sequence[str]) -> "Figure":
    """Draw maps ``(H, W)`` beside each other, all with one color scale: red adds to the logit, blue takes away."""
    columns = min(len(maps), 5)
    rows = -(-len(maps) // columns)
    figure = new_figure(1.6 * columns, 1.75 * rows)
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    limit = float(color_limit(np.abs(np.stack(maps)), 99.5).max())
    for axes, one_map, title in zip(every, maps, titles, strict=False):
        axes.imshow(one_map, cmap=COLORS, vmin=-limit, vmax=limit)
        axes.set_title(title, fontsize=7, parse_math=False)
    for axes in every:
        axes.axis("off")
    return figure
