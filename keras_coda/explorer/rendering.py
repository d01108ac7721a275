"""HTML of the parts of the page: every number is also text, every picture has a description; and the pixels of maps."""

import base64
from html import escape

import numpy as np

from keras_coda.data.images import png
from keras_coda.explanations.explanation import sigmoid
from keras_coda.utils.checks import require
from keras_coda.visualization.colors import COLORS, color_limit

STYLES = ("contributions", "linear map in color")
PERCENTILES = dict(zip(STYLES, (99.5, 90.0), strict=True))  # the defaults of the figures
COLOR_NOTES = {  # by the number of channels
    1: "Orange: a brighter pixel would raise the logit, if the weights were fixed. Purple: a darker one would. "
    "White: its brightness hardly matters.",
    3: "Color: what the positive weights respond to. Gray: they prefer no color, or weakly respond to black. "
    "Faint: they are weak, or respond to white.",
}
BARS = 5  # the number of classes shown

# === Texts ===


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """Return a number as text, with the typographic minus."""
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def message(text: str, *, is_error: bool = True) -> str:
    """Return a box with an error, or with a hint; "" for an empty text."""
    if not text:
        return ""
    kind, role = ("error", "alert") if is_error else ("hint", "status")
    return f'<div class="kc-message kc-{kind}" role="{role}">{"<b>Error.</b> " * is_error}{escape(text)}</div>'


def about(network) -> str:
    """Return a line with the images that a network takes, and how other images are changed."""
    kind = "gray" if network.channels == 1 else "color"
    count = len(network.class_names)
    if None in network.size:
        size, change = "any size", "large images are scaled down"
    else:
        size = f"{network.size[1]}x{network.size[0]} pixels"
        change = "other images are cropped to these proportions and resized"
    return f'<p class="kc-note">{count} classes, {kind} images of {size}; {change}.</p>'


def gallery(pictures) -> str:
    """Return the examples as buttons."""
    buttons = [
        f'<button type="button" class="kc-example" data-index="{index}" title="{escape(each.name)}">'
        f'<img src="{data_uri(each.data)}" alt="{escape(each.name)}"></button>'
        for index, each in enumerate(pictures)
    ]
    return f'<div class="kc-gallery" role="group" aria-label="Examples">{"".join(buttons)}</div>'


def bars(explanation, labels=None) -> str:
    """Return the most probable classes as buttons with bars; the button of the explained class is pressed.

    Args:
        explanation: of one image for one class.
        labels: names of the labels that the image has, with their thresholds; None if every image has one label.
    """
    logits, probabilities = explanation.logits[0], explanation.probabilities[0]
    shown = np.argsort(-logits, kind="stable")[:BARS].tolist()
    chosen = int(explanation.classes[0, 0])
    shown += [chosen] * (chosen not in shown)
    rows = [
        f'<button type="button" class="kc-bar" data-index="{index}" aria-pressed="{str(index == chosen).lower()}">'
        f'<span class="kc-name">{escape(explanation.class_names[index])}</span>'
        f'<span class="kc-track"><span class="kc-fill" style="width:{100 * probabilities[index]:.1f}%"></span></span>'
        f'<span class="kc-value">{100 * probabilities[index]:.1f} %</span></button>'
        for index in shown
    ]
    return (
        f'<div role="group" aria-label="Most probable classes">{"".join(rows)}</div>'
        '<p class="kc-note">The probabilities are independent of each other and need not sum to 100 %.</p>'
        + ("" if labels is None else _labels(labels))
    )


def _labels(labels):
    told = ", ".join(f"<b>{escape(name)}</b> (from {100 * threshold:.1f} %)" for name, threshold in labels)
    return f'<p class="kc-note kc-labels">Labels, by the threshold of each class: {told or "none"}.</p>'


def what_if(result, name: str) -> str:
    """Return the logits with and without the removed pixels; without a result a line that says how to remove some.

    Args:
        result: a :class:`~keras_coda.explorer.networks.WhatIf`, or None.
        name: name of the explained class.
    """
    if result is None:
        return '<p class="kc-note">Paint over pixels of the image to see the prediction without them.</p>'
    difference = result.real - result.predicted
    rows = (("with all pixels", result.logit, ""), ("without, by the map", result.predicted, "kc-predicted"),
            ("without, by the network", result.real, "kc-real"))  # fmt: skip
    cells = "".join(
        f'<tr><th>{label}</th><td class="{kind}">{number(logit)}</td>'
        f"<td>{100 * sigmoid(np.array(logit)):.1f} %</td></tr>"
        for label, logit, kind in rows
    )
    return (
        f"<p><b>{100 * result.removed_share:.1f} %</b> of the pixels are removed. They contributed "
        f"<b>{number(result.contribution, 2, sign=True)}</b> to the logit of <b>{escape(name)}</b>.</p>"
        '<table class="kc-table"><thead><tr><td></td><th>logit</th><th>probability</th></tr></thead>'
        f'<tbody>{cells}<tr><th>network − map</th><td class="kc-difference">{number(difference, sign=True)}</td>'
        "<td></td></tr></tbody></table>"
        '<p class="kc-note">The map uses the weights for the full image. Without these pixels the network computes '
        "other weights everywhere; the difference shows their effect.</p>"
    )


# === Maps ===


def limit_of(contributions: np.ndarray, percentile: float) -> float:
    """Return where the colors of a map ``(H, W)`` end, in units of the logit; the same as in the package's figures."""
    require(0 <= percentile <= 100, "`percentile` must be in [0, 100]", percentile=percentile)
    return float(color_limit(np.abs(contributions), percentile))


def map_pixels(explanation, percentile: float, style: str) -> np.ndarray:
    """Draw the first map of the first image of an explanation.

    Args:
        explanation: a :class:`~keras_coda.Explanation`; for the second style with its linear map.
        percentile: float in [0, 100]; colors (in the second style opacities) end there.
        style: one of ``STYLES``.

    Returns:
        ``(H, W, 3)`` uint8. Positive contributions are red, negative ones blue. The linear map is drawn on white.
    """
    from matplotlib import colormaps

    require(style in STYLES, f"`style` must be one of {STYLES}", style=style)
    if style == STYLES[0]:
        contributions = explanation.contributions[0, 0]
        place = (np.clip(contributions / limit_of(contributions, percentile), -1, 1) + 1) / 2
        return colormaps[COLORS](place, bytes=True)[..., :3]
    rgba = explanation[0].to_rgba(percentile=percentile)[0, 0]
    blended = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]  # on white
    return np.rint(255 * blended).astype("uint8")


def map_view(explanation, percentile: float, style: str, place: str = "", over: str = "") -> str:
    """Return a map with its color scale, and the table that shows that map and bias sum to the logit.

    Args:
        explanation: as for :func:`map_pixels`.
        percentile: as for :func:`map_pixels`.
        style: as for :func:`map_pixels`.
        place: text to add to the description of the picture, for instance ``" on the grid"``.
        over: HTML to lay over the picture.
    """
    name = explanation.class_names[explanation.classes[0, 0]]
    picture = _picture(map_pixels(explanation, percentile, style), f"Map of class {name}{place}: {style}", over)
    heading = f'<div class="kc-heading">Map of class <b>{escape(name)}</b></div>'
    return f"{heading}{picture}{_scale(explanation, percentile, style)}{_sums(explanation)}"


def data_uri(data: bytes) -> str:
    """Return a PNG file as an address that a page can show without a request."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _picture(pixels, description, over=""):
    height, width = pixels.shape[:2]
    return (
        f'<div class="kc-stage" style="aspect-ratio:{width}/{height}">'
        f'<img class="kc-map" src="{data_uri(png(pixels))}" alt="{escape(description)}">{over}</div>'
    )


def _scale(explanation, percentile, style):
    if style != STYLES[0]:
        note = COLOR_NOTES[explanation.images.shape[-1]]
        return f'<p class="kc-note">{note}</p>'
    limit = limit_of(explanation.contributions[0, 0], percentile)
    low, high = (f"{sign}{limit:.2g}" for sign in "−+")
    return (
        f'<div class="kc-scale"><span>{low}<br>against</span><span class="kc-gradient"></span>'
        f"<span>{high}<br>for</span></div>"
    )


def _sums(explanation):
    total = explanation.contributions[0, 0].sum(dtype="float64")
    logit, residual = explanation.explained_logits[0, 0], explanation.residual[0, 0]
    return (
        '<table class="kc-table"><caption>The map and the bias sum to the logit</caption><tbody>'
        f"<tr><th>sum of the map</th><td>{number(total, 4)}</td></tr>"
        f"<tr><th>+ bias</th><td>{number(explanation.bias, 4)}</td></tr>"
        f"<tr><th>= logit</th><td>{number(logit, 4)}</td></tr>"
        f'<tr><th>residual (rounding)</th><td class="kc-residual">{residual:.1e}</td></tr></tbody></table>'
    ).replace("e-", "e−")


# === Grids ===


def grid_image(grid) -> str:
    """Return the joined image of a grid, with lines between the cells."""
    pixels = grid.explanation.images[0]
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    count = len(grid.names)
    over = _cells(grid, [""] * (grid.rows * grid.columns))
    heading = f'<div class="kc-heading">{count} image{"s" * (count > 1)} in one grid</div>'
    return heading + _picture(pixels, f"Grid of {', '.join(grid.names)}", over)


def grid_map(grid, percentile: float, style: str) -> str:
    """Return the map of a grid, with the share of the positive contributions on every cell."""
    over = _cells(grid, [f"{100 * share:.0f} %" for share in grid.shares])
    return map_view(grid.explanation, percentile, style, " on the grid", over)


def _cells(grid, texts):
    template = f"grid-template:repeat({grid.rows},1fr)/repeat({grid.columns},1fr)"
    spans = "".join(f"<span>{f'<b>{text}</b>' if text else ''}</span>" for text in texts)
    return f'<div class="kc-cells" style="{template}" aria-hidden="true">{spans}</div>'


def grid_table(grid) -> str:
    """Return a table of the cells: image, class predicted for that image alone, share of the positive contributions."""
    classes = grid.explanation.class_names
    rows = []
    for index, share in enumerate(grid.shares):
        is_empty = index >= len(grid.names)
        name = "empty (gray)" if is_empty else grid.names[index]
        alone = "" if is_empty else classes[grid.alone[index]]
        place = f"{index // grid.columns + 1}, {index % grid.columns + 1}"
        rows.append(
            f'<tr><td>{place}</td><td class="kc-file">{escape(name)}</td><td>{escape(alone)}</td>'
            f'<td class="kc-share">{100 * share:.1f} %</td></tr>'
        )
    note = "" if grid.shares.any() else "No contribution is positive."
    return (
        '<table class="kc-table kc-evidence"><caption>Evidence for the class in each cell</caption><thead><tr>'
        "<th>cell</th><th>image</th><th>predicted alone</th><th>share</th></tr></thead>"
        f'<tbody>{"".join(rows)}</tbody></table><p class="kc-note">Shares of the positive contributions. {note}</p>'
    )
