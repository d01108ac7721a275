"""Contribution maps and linear maps as figures.

All functions take arrays; none knows a model. For the figures see `keras_coda.visualization.figure.new_figure`.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_coda.utils.class_names import replace_names
from keras_coda.utils.labels import class_labels
from keras_coda.visualization.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = "RdBu_r"  # blue: against the class; near white: nothing; red: for the class
TINT = "#c9dcef"  # background of gray renderings, in which white means something
PANEL_SIDES = (1.25, 1.9)  # minimum and maximum of a panel's longer side, in inches like the lengths below
ROW_WIDTH = 11.0  # panels become smaller if a row would be wider
MARGIN, COLUMN_GAP, ROW_GAP = 0.14, 0.17, 0.22
BAR_WIDTH, BAR_LABELS = 0.09, 0.72
# For each line of a caption: baseline below the row's upper edge, type size (both in points), weight and gray.
CAPTION = ((9, 9, "bold", "0.1"), (19, 7, "normal", "0.2"), (28, 6, "normal", "0.5"))


def to_rgba(linear_map: np.ndarray, *, percentile: float = 99.5, smooth: int = 0) -> np.ndarray:
    """Renders linear maps in color: opacity shows the strength of the weights, color the input they respond to.

    The map holds, for every pixel, the weights `w` of the model on the encoded pixel `[x, 1-x]`,
    of `c` channels each. With `w⁺ = max(w, 0)` and `q` the percentile of `‖w‖` within the map,

        color_i = w⁺_i / (w⁺_i + w⁺_{i+c})        0.5, neutral, where both are zero
        alpha   = min(1, ‖w‖ / q)

    This color inverts the encoding: weights that are aligned with the image, `w ∝ [x, 1-x]`, get exactly the colors
    `x` of the image. For that reason the contrast of the colors is not increased.

    Args:
        linear_map: Array of shape `(..., H, W, 2c)`, `c` being 1 or 3, of real dtype.
        percentile: Float in [0, 100]. Strengths from this percentile on are opaque. If it is zero, as in a sparse map,
            the maximum is used instead.
        smooth: Int, 0 or odd. Side, in pixels, of the square window over which the strengths are averaged; 0 for no
            averaging.

    Returns:
        Array of shape `(..., H, W, 4)`, float32 in [0, 1]: red, green, blue and alpha (not
        premultiplied). A map of zeros is transparent; the scale of a map does not matter.

    Raises:
        ValueError: If the shape, a value, `percentile` or `smooth` is not as described.

    Example:
        >>> image = np.full((8, 8, 3), 0.25)
        >>> to_rgba(np.concatenate([image, 1 - image], axis=-1))[0, 0].tolist()
        [0.25, 0.25, 0.25, 1.0]
    """
    linear_map = _real("linear_map", linear_map)
    if linear_map.ndim < 3 or linear_map.shape[-1] not in (2, 6) or not linear_map.size:
        raise ValueError(
            "`linear_map` must have shape (..., H, W, 2c) with c = 1 or 3 image channels. "
            f"Received: linear_map.shape={linear_map.shape}. Pass the linear map on the encoded "
            "image, not the contributions and not the linear map on an inner layer."
        )
    if smooth < 0 or (smooth and smooth % 2 != 1):
        raise ValueError(f"`smooth` must be 0 or a positive odd integer. Received: {smooth=}")
    # With a maximum of 1 the squares below cannot overflow or underflow.
    scale = np.abs(linear_map).max(axis=(-3, -2, -1), keepdims=True)
    weights = (linear_map / np.where(scale > 0, scale, 1)).astype(np.float32)

    wanted, unwanted = np.split(np.maximum(weights, 0), 2, axis=-1)  # (..., H, W, c) each
    total = wanted + unwanted
    color = np.divide(wanted, total, out=np.full_like(total, 0.5), where=total > 0)

    strength = np.linalg.norm(weights, axis=-1)  # (..., H, W)
    if smooth:
        rows, columns = (_averaging(size, smooth) for size in strength.shape[-2:])
        strength = rows @ strength @ columns.T
    alpha = np.minimum(strength / color_limit(strength, percentile)[..., None, None], 1)

    rgb = np.broadcast_to(color, (*alpha.shape, 3))
    return np.concatenate([rgb, alpha[..., None]], axis=-1, dtype=np.float32)


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
    colorbar: bool = True,
    max_images: int = 16,
    quantity: str = "logit",
) -> "Figure":
    """Draws images beside the contributions of their pixels to the logits of classes.

    A row is an image, followed by one map per explained class. Red pixels are evidence for the class, blue ones
    against it. Colors are symmetric about zero, and the maps of one row share one scale. Above each map are the class,
    its logit and probability, and the residual `|sum of the map + bias - logit|`, which is 0 if the map is complete.

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
        percentile: Float in [0, 100]. The color scale of a row ends at this percentile of `|contribution|` over its
            maps; larger contributions get the last color.
        colorbar: Bool. Whether to draw the color scale at the end of every row.
        max_images: Int. Only the first `max_images` images are drawn, with a warning if there are more.
        quantity: Str, what a map sums to, for captions.

    Returns:
        A `matplotlib.figure.Figure`. Save it with `save_picture`.

    Raises:
        ValueError: If a shape or a value is not as described.
    """
    contributions = _real("contributions", contributions, (None,) * 4, "(B, K, h, w)")
    shape = contributions.shape[:2]
    logits = _real("logits", logits, shape, "(B, K)")
    residuals = _real("residuals", residuals, shape, "(B, K)")
    if probabilities is not None:
        probabilities = _real("probabilities", probabilities, shape, "(B, K)")
    notes = np.empty((*shape, 2), object)
    for at in np.ndindex(shape):
        logit = f"{quantity} {logits[at]:.2f}".replace("-", "−")
        probability = "" if probabilities is None else f" · {probabilities[at]:.1%}"
        notes[at] = logit + probability, f"residual {residuals[at]:.1e}"
    limits = color_limit(np.abs(contributions).reshape(shape[0], 1, -1), percentile)
    styles = [{"cmap": COLORS, "vmin": -limit, "vmax": limit} for limit in limits]
    bar = f"contribution\nto the {quantity}" if colorbar else None
    return _draw(images, contributions, classes, notes, styles, class_names, labels, max_images, bar)


def plot_linear_map(
    images: np.ndarray,
    linear_map: np.ndarray,
    classes: np.ndarray,
    *,
    class_names: Sequence[str] | None = None,
    labels: Sequence | np.ndarray | None = None,
    percentile: float = 99.5,
    smooth: int = 0,
    max_images: int = 16,
) -> "Figure":
    """Draws images beside the linear maps of classes, rendered in color (on white) or gray (on light blue).

    Args:
        images: As for `plot_contributions`.
        linear_map: Array of shape `(B, K, H, W, 2c)`, rendered by `to_rgba`.
        classes: Int array of shape `(B, K)`: the classes of the maps.
        class_names: As for `plot_contributions`.
        labels: As for `plot_contributions`.
        percentile: As for `to_rgba`.
        smooth: As for `to_rgba`.
        max_images: As for `plot_contributions`.

    Returns:
        A `matplotlib.figure.Figure`. Save it with `save_picture`.

    Raises:
        ValueError: If a shape or a value is not as described.
    """
    linear_map = _real("linear_map", linear_map, (None,) * 5, "(B, K, H, W, 2c)")
    maps = to_rgba(linear_map, percentile=percentile, smooth=smooth)  # (B, K, H, W, 4)
    notes = np.empty((*maps.shape[:2], 0), object)
    styles: list[dict[str, Any]] = [{}] * len(maps)
    back = TINT if linear_map.shape[-1] == 2 else "white"
    return _draw(images, maps, classes, notes, styles, class_names, labels, max_images, background=back)


def color_limit(values: np.ndarray, percentile: float) -> np.ndarray:
    """Returns the upper limit of a color scale for non-negative `values (..., H, W)`: `(...)`, never 0."""
    if not 0 <= percentile <= 100:
        raise ValueError(f"`percentile` must lie in [0, 100]. Received: {percentile=}")
    limit, greatest = np.percentile(values, [percentile, 100], axis=(-2, -1))
    return np.where(limit > 0, limit, np.where(greatest > 0, greatest, 1))


def _averaging(size, side):
    """Returns the `(size, size)` matrix that averages over a window; at the border, over the part inside the map."""
    position = np.arange(size)
    near = np.abs(position[:, None] - position) <= side // 2
    return near / near.sum(axis=1, keepdims=True)


def _real(name, value, shape=None, meaning=None, kinds="biuf"):
    """Returns the value as a finite array of `shape`, in which `None` means any size except 0."""
    array = np.asarray(value)
    array = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    if array.dtype.kind not in kinds:
        numbers = "integers" if kinds == "iu" else "real numbers"
        raise ValueError(f"`{name}` must hold {numbers}. Received: {name}.dtype={array.dtype}")
    if shape is not None:
        sizes = tuple(want or size for want, size in zip(shape, array.shape, strict=False))
        if array.ndim != len(shape) or array.shape != sizes or not array.size:
            raise ValueError(
                f"`{name}` must have shape {meaning}, here {str(shape).replace('None', 'any')}. "
                f"Received: {name}.shape={array.shape}. A single image needs a batch axis."
            )
    if not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be finite. Received: {name} with {np.sum(~np.isfinite(array))} NaN or "
            f"infinite values of {array.size}. Look for such values in the input and in the weights."
        )
    return array


def _name(index, class_names):
    if class_names is None:
        return f"class {index}"
    if not 0 <= index < len(class_names):
        received = f"class_names of length {len(class_names)}, and class {index}"
        raise ValueError(f"`class_names` must name every class drawn. Received: {received}.")
    return str(class_names[index])


def _draw(images, maps, classes, notes, styles, class_names, labels, max_images, colorbar=None, background="white"):
    """Draws one row per image: the image and its maps `(B, K, h, w, ...)`.

    `notes (B, K, lines)` are the lines below the class in the captions; `styles`, one dict per image, are arguments of
    `imshow`; `colorbar` is what is written above the color scale, or `None` to leave it out.
    """
    batch, targets = maps.shape[:2]
    images = _real("images", images, (batch, None, None, None), "(B, H, W, C)")
    classes = _real("classes", classes, (batch, targets), "(B, K)", kinds="iu")
    titles = [[f"image {row}" if batch > 1 else "image"] for row in range(batch)]
    if labels is not None:
        labels = [labels] if isinstance(labels, str) else labels
        is_named = np.ndim(labels) == 1 and len(labels) == batch and all(isinstance(label, str) for label in labels)
        if is_named and class_names is None:
            called = labels
        else:
            labels = class_labels(replace_names(labels, class_names), None, batch)
            called = [_name(label, class_names) for label in labels]
        titles = [[label, "true class"] for label in called]
    if max_images < 1:
        raise ValueError(f"`max_images` must be positive. Received: {max_images=}")
    if batch > max_images:
        warnings.warn(
            f"Only the first {max_images} of {batch} images are drawn. Increase `max_images` to draw more.",
            stacklevel=3,
        )

    rows, columns, (height, width) = min(batch, max_images), 1 + targets, images.shape[1:3]
    side = np.clip(ROW_WIDTH / columns - COLUMN_GAP, *PANEL_SIDES)
    panel = side * np.array([width, height]) / max(width, height)
    header = CAPTION[max(len(titles[0]), 1 + notes.shape[-1]) - 1][0] / 72 + 0.06
    # At least as wide as the captions need, also if the images are tall and narrow.
    pitch = np.array([max(panel[0], PANEL_SIDES[0]) + COLUMN_GAP, header + panel[1] + ROW_GAP])
    size = 2 * MARGIN + pitch * (columns, rows) - (COLUMN_GAP, ROW_GAP)
    if colorbar:
        size[0] += COLUMN_GAP + BAR_WIDTH + BAR_LABELS
    figure = new_figure(*size, layout="none")

    def axes_at(row, column, extent):
        left, top = MARGIN + pitch * (column, row) + (0, header)
        box = np.array([left, size[1] - top - extent[1], *extent])
        return figure.add_axes(tuple(box / np.tile(size, 2)))

    def show(row, column, pixels, caption, **style):
        axes = axes_at(row, column, panel)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        axes.set(xticks=[], yticks=[], facecolor=background)
        axes.spines[:].set(linewidth=0.5, edgecolor="0.75")
        _write(axes, caption, 72 * header, 72 * pitch[0])
        return axes.imshow(pixels, origin="upper", aspect="auto", extent=extent, **style)

    for row in range(rows):
        pixels = np.clip(images[row] / 255, 0, 1)
        pixels = pixels if pixels.shape[-1] == 3 else pixels.mean(axis=-1)
        show(row, 0, pixels, titles[row], cmap="gray", vmin=0, vmax=1)
        for column, index in enumerate(classes[row]):
            caption, pixels = [_name(index, class_names), *notes[row, column]], maps[row, column]
            picture = show(row, 1 + column, pixels, caption, interpolation="nearest", **styles[row])
        if colorbar:
            _scale(picture, axes_at(row, columns, (BAR_WIDTH, panel[1])), colorbar)
    return figure


def _write(axes, caption, height, width):
    """Writes the lines of a caption above a panel. `height` and `width` are those of the caption, in points."""
    for text, (depth, size, weight, gray) in zip(caption, CAPTION, strict=False):
        room = int(width / (0.7 * size))  # in letters
        text = text if len(text) <= room else text[: room - 1].rstrip(" ,") + "…"
        font = {"size": size, "weight": weight, "color": gray, "parse_math": False}
        at = {"xy": (0, 1), "xytext": (0, height - depth), "textcoords": "offset points"}
        axes.annotate(text, xycoords="axes fraction", **at, **font)


def _scale(picture, axes, heading):
    """Draws the color scale of `picture` into `axes`."""
    limit, font = picture.norm.vmax, {"size": 6.5, "color": "0.25"}
    bar = axes.figure.colorbar(picture, cax=axes, extend="both")
    bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"+{limit:.2g}"], **font)
    bar.outline.set(linewidth=0.5, edgecolor="0.75")
    axes.tick_params(length=2, width=0.5, color="0.5", pad=1.5)
    for y, text in ((0.25, "against"), (0.75, "for")):
        axes.text(2.2, y, text, transform=axes.transAxes, va="center", style="italic", **font)
    axes.text(0, 1.07, heading, transform=axes.transAxes, **font)
