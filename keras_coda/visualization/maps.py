"""Contribution maps and linear maps as figures.

All functions take arrays; none knows a model. For the figures see `keras_coda.visualization.figure.new_figure`.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_coda.utils.checks import require
from keras_coda.utils.class_names import replace_names
from keras_coda.utils.labels import class_labels
from keras_coda.visualization.colors import COLORS, color_limit, real_array, to_rgba
from keras_coda.visualization.figure import new_figure
from keras_coda.visualization.legends import KEY_SIZE, draw_color_scale, draw_key, linear_map_key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_SIDES = (1.25, 1.9)  # minimum and maximum of a panel's longer side, in inches like the lengths below
ROW_WIDTH = 11.0  # panels become smaller if a row would be wider
MARGIN, COLUMN_GAP, ROW_GAP = 0.14, 0.17, 0.22
BAR_WIDTH, BAR_LABELS = 0.09, 0.72
ONE_COLUMN = 4  # up to so many images are drawn below each other; more are wrapped into columns, where they are narrow
# For each line of a caption: baseline below the row's upper edge, type size (both in points), weight and gray.
CAPTION = ((9, 9, "bold", "0.1"), (19, 7, "normal", "0.2"), (28, 6, "normal", "0.5"))


def plot_contributions(
    images: np.ndarray,
    contributions: np.ndarray,
    classes: np.ndarray,
    logits: np.ndarray,
    residuals: np.ndarray,
    *,
    probabilities: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    labels: Sequence | np.ndarray | None = None,
    percentile: float = 99.5,
    limit: float | None = None,
    colorbar: bool = True,
    max_images: int = 16,
    quantity: str = "logit",
    wrt: str | None = None,
    names: Sequence[str] | None = None,
) -> "Figure":
    """Draws images beside the contributions of their pixels to the logits of classes.

    An image is followed by one map per explained class; many images stand in columns. Red pixels are evidence for the
    class, blue ones against it. Colors are symmetric about zero, and the maps of one image share one scale. Above each
    map are the class, its logit and probability, and the residual `|sum of the map + bias - logit|`, which is 0 if the
    map is complete.

    Args:
        images: Array of shape `(B, H, W, C)`, of real dtype, pixel values in [0, 255] (clipped).
            One channel is drawn in gray, three as RGB, any other number as their mean.
        contributions: Array of shape `(B, K, h, w)`, in units of the logit. A map that is smaller
            than the image (of an inner layer) is enlarged to its size.
        classes: Int array of shape `(B, K)`: the explained classes.
        logits: Array of shape `(B, K)`: the logits of these classes.
        residuals: Array of shape `(B, K)`, in units of the logit.
        probabilities: Array of shape `(B, K)` in [0, 1], or `None` to leave them out.
        class_names: Sequence of str, indexed by class, or `None` to show the index. A name that
            is too long for its panel is shortened.
        labels: The true classes: `(B,)` ints or names, `(B, 1)`, or one-hot `(B, classes)`; or `None`.
        percentile: Float in [0, 100]. The color scale of an image ends at this percentile of `|contribution|` over its
            maps; larger contributions get the last color.
        limit: Float, the contribution at which all color scales end, instead of a percentile: for figures that are
            compared with each other.
        colorbar: Bool. Whether to draw the color scale beside the maps of every image.
        max_images: Int. Only the first `max_images` images are drawn, with a warning if there are more.
        quantity: Str, what a map sums to, for captions.
        wrt: Str, the layer from which on maps are exact, for captions; `None` for the pixels.
        names: A name for each image, such as that of its file, for captions; `None` for "image 0" and so on.

    Returns:
        A `matplotlib.figure.Figure`. Save it with `save_picture`.

    Raises:
        ValueError: If a shape or a value is not as described.
    """
    contributions = real_array("contributions", contributions, (None,) * 4, "(B, K, h, w)")
    shape = contributions.shape[:2]
    logits = real_array("logits", logits, shape, "(B, K)")
    residuals = real_array("residuals", residuals, shape, "(B, K)")
    if probabilities is not None:
        probabilities = real_array("probabilities", probabilities, shape, "(B, K)")
    notes = np.empty((*shape, 2), object)
    for at in np.ndindex(shape):
        logit = f"{quantity} {logits[at]:.2f}".replace("-", "−")
        probability = "" if probabilities is None else f" · {probabilities[at]:.1%}"
        notes[at] = logit + probability, f"residual {residuals[at]:.1e}"
    require(limit is None or 0 < limit < np.inf, "`limit` must be positive and finite, or None", limit=limit)
    limits = color_limit(np.abs(contributions).reshape(shape[0], 1, -1), percentile)
    limits = limits if limit is None else np.full(shape[0], limit)
    styles = [{"cmap": COLORS, "vmin": -limit, "vmax": limit} for limit in limits]
    bar = f"contribution\nto the {quantity}" if colorbar else None
    return _draw(
        images, contributions, classes, notes, styles, class_names, labels, max_images, bar, wrt=wrt, names=names
    )


def plot_linear_map(
    images: np.ndarray,
    linear_map: np.ndarray,
    classes: np.ndarray,
    *,
    class_names: Sequence[str] | None = None,
    labels: Sequence | np.ndarray | None = None,
    percentile: float = 90,
    smooth: int = 0,
    background: str = "white",
    legend: bool = True,
    max_images: int = 16,
    names: Sequence[str] | None = None,
) -> "Figure":
    """Draws images beside the linear maps of classes, rendered in color, with a legend of the colors.

    Args:
        images: As for `plot_contributions`.
        linear_map: Array of shape `(B, K, H, W, 2c)`, rendered by `to_rgba`.
        classes: Int array of shape `(B, K)`: the classes of the maps.
        class_names: As for `plot_contributions`.
        labels: As for `plot_contributions`.
        percentile: As for `to_rgba`.
        smooth: As for `to_rgba`.
        background: Color name of matplotlib, seen through transparent pixels. On white, strong weights for white look
            like weak weights; another color tells them apart.
        legend: Bool. Whether to explain the colors at the end of the first row.
        max_images: As for `plot_contributions`.
        names: As for `plot_contributions`.

    Returns:
        A `matplotlib.figure.Figure`. Save it with `save_picture`.

    Raises:
        ValueError: If a shape or a value is not as described.
    """
    from matplotlib.colors import is_color_like

    linear_map = real_array("linear_map", linear_map, (None,) * 5, "(B, K, H, W, 2c)")
    require(is_color_like(background), "`background` must be a color of matplotlib", background=background)
    maps = to_rgba(linear_map, percentile=percentile, smooth=smooth)  # (B, K, H, W, 4)
    notes = np.empty((*maps.shape[:2], 0), object)
    styles: list[dict[str, Any]] = [{}] * len(maps)
    key = linear_map_key(linear_map.shape[-1] // 2) if legend else None
    look: dict[str, Any] = {"background": background, "key": key, "names": names}
    return _draw(images, maps, classes, notes, styles, class_names, labels, max_images, **look)


def _name(index, class_names):
    if class_names is None:
        return f"class {index}"
    if not 0 <= index < len(class_names):
        received = f"class_names of length {len(class_names)}, and class {index}"
        raise ValueError(f"`class_names` must name every class drawn. Received: {received}.")
    return str(class_names[index])


def _draw(
    images,
    maps,
    classes,
    notes,
    styles,
    class_names,
    labels,
    max_images,
    colorbar=None,
    background="white",
    key=None,
    wrt=None,
    names=None,
):
    """Draws the images, each with its maps `(B, K, h, w, ...)` on its right.

    `notes (B, K, lines)` are the lines below the class in the captions; `styles`, one dict per image, are arguments of
    `imshow`; `colorbar` is what is written above the color scale, or `None` to leave it out; `key` are the entries of a
    legend beside the first row, or `None`; `wrt` is the layer that the maps refer to, or `None`; `names` are those of
    the images, or `None`.
    """
    batch, targets = maps.shape[:2]
    images = real_array("images", images, (batch, None, None, None), "(B, H, W, C)")
    classes = real_array("classes", classes, (batch, targets), "(B, K)", kinds="iu")
    is_given = names is not None
    if not is_given:
        names = [f"image {index}" if batch > 1 else "image" for index in range(batch)]
    require(len(names) == batch, "There must be one name for each image", names=names, images=batch)
    titles = [[name] for name in names]
    if labels is not None:
        labels = [labels] if isinstance(labels, str) else labels
        is_named = np.ndim(labels) == 1 and len(labels) == batch and all(isinstance(label, str) for label in labels)
        if is_named and class_names is None:
            called = labels
        else:
            labels = class_labels(replace_names(labels, class_names), None, batch)
            called = [_name(label, class_names) for label in labels]
        titles = [[label, "true class"] for label in called]
        if is_given and wrt is None:
            titles = [[*title, name] for title, name in zip(titles, names, strict=True)]
        elif is_given:
            titles = [[label, f"true class of {name}"] for label, name in zip(called, names, strict=True)]
    if wrt is not None:
        titles = [[*title, f"from layer {wrt} on"] for title in titles]
    if max_images < 1:
        raise ValueError(f"`max_images` must be positive. Received: {max_images=}")
    if batch > max_images:
        warnings.warn(
            f"Only the first {max_images} of {batch} images are drawn. Increase `max_images` to draw more.",
            stacklevel=3,
        )

    drawn, panels, (height, width) = min(batch, max_images), 1 + targets, images.shape[1:3]
    bar = COLUMN_GAP + BAR_WIDTH + BAR_LABELS if colorbar else 0
    fitting = (ROW_WIDTH + ROW_GAP) // (panels * (PANEL_SIDES[0] + COLUMN_GAP) + bar + ROW_GAP)
    columns = 1 if drawn <= ONE_COLUMN else int(np.clip(fitting, 1, drawn))
    side = np.clip((ROW_WIDTH / columns - bar) / panels - COLUMN_GAP, *PANEL_SIDES)
    panel = side * np.array([width, height]) / max(width, height)
    header = CAPTION[max(len(titles[0]), 1 + notes.shape[-1]) - 1][0] / 72 + 0.06
    # At least as wide as the captions need, also if the images are tall and narrow.
    pitch = np.array([max(panel[0], PANEL_SIDES[0]) + COLUMN_GAP, header + panel[1] + ROW_GAP])
    block = panels * pitch[0] - COLUMN_GAP + bar + ROW_GAP  # the width of an image with its maps
    size = 2 * MARGIN + np.array([columns * block, -(-drawn // columns) * pitch[1]]) - ROW_GAP
    if key:
        size[0] += COLUMN_GAP + KEY_SIZE[0]
        size[1] = max(size[1], 2 * MARGIN + header + KEY_SIZE[1])
    figure = new_figure(*size, layout="none")

    def axes_at(index, place, extent):
        row, column = divmod(index, columns)
        left, top = MARGIN + np.array([column * block + place * pitch[0], row * pitch[1] + header])
        box = np.array([left, size[1] - top - extent[1], *extent])
        return figure.add_axes(tuple(box / np.tile(size, 2)))

    def show(index, place, pixels, caption, **style):
        axes = axes_at(index, place, panel)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        axes.set(xticks=[], yticks=[], facecolor=background)
        axes.spines[:].set(linewidth=0.5, edgecolor="0.75")
        _write(axes, caption, 72 * header, 72 * pitch[0])
        return axes.imshow(pixels, origin="upper", aspect="auto", extent=extent, **style)

    for index in range(drawn):
        pixels = np.clip(images[index] / 255, 0, 1)
        pixels = pixels if pixels.shape[-1] == 3 else pixels.mean(axis=-1)
        show(index, 0, pixels, titles[index], cmap="gray", vmin=0, vmax=1)
        for k, label in enumerate(classes[index]):
            caption, pixels = [_name(label, class_names), *notes[index, k]], maps[index, k]
            picture = show(index, 1 + k, pixels, caption, interpolation="nearest", **styles[index])
        if colorbar:
            draw_color_scale(picture, axes_at(index, panels, (BAR_WIDTH, panel[1])), colorbar)
    if key:
        draw_key(axes_at(columns - 1, panels, KEY_SIZE), key, background)
    return figure


def _write(axes, caption, height, width):
    """Writes the lines of a caption above a panel. `height` and `width` are those of the caption, in points."""
    for text, (depth, size, weight, gray) in zip(caption, CAPTION, strict=False):
        room = int(width / (0.7 * size))  # in letters
        text = text if len(text) <= room else text[: room - 1].rstrip(" ,") + "…"
        font = {"size": size, "weight": weight, "color": gray, "parse_math": False}
        at = {"xy": (0, 1), "xytext": (0, height - depth), "textcoords": "offset points"}
        axes.annotate(text, xycoords="axes fraction", **at, **font)
