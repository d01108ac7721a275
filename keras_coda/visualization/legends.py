"""Legends of maps: the color scale of contributions, and the key to the colors of linear maps."""

import numpy as np

from keras_coda.visualization.colors import to_rgba

FONT = {"size": 6.5, "color": "0.25"}
KEY_SIZE = np.array([1.5, 1.02])  # width and height of a key of three entries, in inches
SWATCH = np.array([0.2, 0.2])


def draw_color_scale(picture, axes, heading):
    """Draws the symmetric color scale of `picture` into `axes`.

    Args:
        picture: What `imshow` returned.
        axes: `matplotlib.axes.Axes`, as wide as the bar.
        heading: Str, written above the bar.
    """
    limit = picture.norm.vmax
    bar = axes.figure.colorbar(picture, cax=axes, extend="both")
    bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"+{limit:.2g}"], **FONT)
    bar.outline.set(linewidth=0.5, edgecolor="0.75")
    axes.tick_params(length=2, width=0.5, color="0.5", pad=1.5)
    for y, text in ((0.25, "against"), (0.75, "for")):
        axes.text(2.2, y, text, transform=axes.transAxes, va="center", style="italic", **FONT)
    axes.text(0, 1.07, heading, transform=axes.transAxes, **FONT)


def draw_key(axes, entries, background):
    """Draws swatches with their meaning into `axes`, one below the other.

    Args:
        axes: `matplotlib.axes.Axes` of `KEY_SIZE`.
        entries: Pairs of pixels `(1, n, 4)`, drawn side by side in one swatch, and a text of up to two lines.
        background: Color, seen through transparent pixels.
    """
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    for row, (pixels, text) in enumerate(entries):
        top = row * KEY_SIZE[1] / len(entries)
        bottom = top + SWATCH[1]
        frame = Rectangle((0, top), *SWATCH, facecolor=background, edgecolor="0.75", linewidth=0.5)
        axes.add_patch(frame)
        axes.imshow(pixels, extent=(0, SWATCH[0], bottom, top), aspect="auto", interpolation="nearest", zorder=2)
        axes.text(SWATCH[0] + 0.07, (top + bottom) / 2, text, va="center", linespacing=1.1, **FONT)
    axes.set(xlim=(0, KEY_SIZE[0]), ylim=(KEY_SIZE[1], 0))


def linear_map_key(channels):
    """Returns the entries of the legend for linear maps: swatches `(1, n, 4)`, drawn by `to_rgba`, and their texts."""
    ramp = np.linspace(1, 0, 40)[:, None]
    if channels == 1:
        drawn = to_rgba(np.stack([ramp * [1, 0], ramp * [0, 1]])[:, None], percentile=100)
        texts = "orange: a brighter pixel\nraises the logit", "purple: a darker pixel\nraises the logit"
        return [*zip(drawn, texts, strict=True), (drawn[0, :, -1:], "white: brightness\nhardly matters")]
    colors = np.array([[[1, 0, 0], [0, 0.6, 0], [0.1, 0.2, 1]]])
    blue, gray = colors[:, [2] * 40], np.full((1, 1, 3), 0.5)
    aligned = [np.concatenate([each, 1 - each], axis=-1) for each in (colors, gray, blue)]
    drawn = [*map(to_rgba, aligned[:2]), to_rgba(aligned[2] * ramp, percentile=100)]
    texts = (
        "color: what positive\nweights respond to",
        "gray: no color preferred,\nor weak weights for black",
        "faint: no strong positive\nweights, or ones for white",
    )
    return list(zip(drawn, texts, strict=True))
