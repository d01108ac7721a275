"""What a page shows of an explanation, as HTML: every number in text, every picture with a description."""

from html import escape

import numpy as np

from keras_coda.explanations.explanation import sigmoid
from keras_coda.explorer.pictures import STYLES, data_uri, limit_of, map_pixels, png

BARS = 5


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """Write a number with a real minus."""
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def message(text: str, *, is_error: bool = True) -> str:
    """Return a box with what went wrong, or with what to do; "" for no text."""
    if not text:
        return ""
    kind, role = ("error", "alert") if is_error else ("hint", "status")
    return f'<div class="kc-message kc-{kind}" role="{role}">{"<b>Not done.</b> " * is_error}{escape(text)}</div>'


def about(network) -> str:
    """Say what images a network takes, and what becomes of others."""
    kind = "gray" if network.channels == 1 else "color"
    count = len(network.class_names)
    if None in network.size:
        rest = "images of any size; larger ones are made smaller"
    else:
        rest = f"{network.size[1]}x{network.size[0]} pixels; images are cut to these proportions and resized"
    return f'<p class="kc-note">{count} classes, {kind}, {rest}.</p>'


def gallery(pictures) -> str:
    """Return examples as buttons."""
    buttons = [
        f'<button type="button" class="kc-example" data-index="{index}" title="{escape(each.name)}">'
        f'<img src="{data_uri(each.data)}" alt="{escape(each.name)}"></button>'
        for index, each in enumerate(pictures)
    ]
    return f'<div class="kc-gallery" role="group" aria-label="Examples">{"".join(buttons)}</div>'


def bars(explanation) -> str:
    """Return the most probable classes as buttons with bars; that of the map is pressed."""
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
        '<p class="kc-note">Each is a yes or no of its own: they need not sum to 100 %.</p>'
    )


def map_view(explanation, percentile: float, style: str) -> str:
    """Return a map with its scale and the sum that it must give."""
    name = explanation.class_names[explanation.classes[0, 0]]
    picture = _picture(map_pixels(explanation, percentile, style), f"Map of class {name}: {style}")
    return f"{_heading('Map of class', name)}{picture}{_scale(explanation, percentile, style)}{_sums(explanation)}"


def _picture(pixels, description, over=""):
    height, width = pixels.shape[:2]
    return (
        f'<div class="kc-stage" style="aspect-ratio:{width}/{height}">'
        f'<img class="kc-map" src="{data_uri(png(pixels))}" alt="{escape(description)}">{over}</div>'
    )


def _heading(text, name):
    return f'<div class="kc-heading">{text} <b>{escape(name)}</b></div>'


def _scale(explanation, percentile, style):
    if style != STYLES[0]:
        return '<p class="kc-note">Color: what the weights ask for. Opacity: how strong they are.</p>'
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
        '<table class="kc-table"><caption>The map is the logit</caption><tbody>'
        f"<tr><th>sum of the map</th><td>{number(total, 4)}</td></tr>"
        f"<tr><th>+ bias</th><td>{number(explanation.bias, 4)}</td></tr>"
        f"<tr><th>= logit</th><td>{number(logit, 4)}</td></tr>"
        f'<tr><th>residual (rounding)</th><td class="kc-residual">{residual:.1e}</td></tr></tbody></table>'
    ).replace("e-", "e−")


def what_if(result, name: str) -> str:
    """Return what the map predicts without some pixels beside what the network says; None: how to ask."""
    if result is None:
        return '<p class="kc-note">Paint over pixels of the image: what if they were gone?</p>'
    difference = result.real - result.predicted
    rows = (("with all pixels", result.logit, ""), ("without, by the map", result.predicted, "kc-predicted"),
            ("without, really", result.real, "kc-real"))  # fmt: skip
    cells = "".join(
        f'<tr><th>{label}</th><td class="{kind}">{number(logit)}</td>'
        f"<td>{100 * sigmoid(np.array(logit)):.1f} %</td></tr>"
        for label, logit, kind in rows
    )
    return (
        f"<p><b>{100 * result.removed:.1f} %</b> of the pixels are gone. They contributed "
        f"<b>{number(result.contribution, 2, sign=True)}</b> to the logit of <b>{escape(name)}</b>.</p>"
        '<table class="kc-table"><thead><tr><td></td><th>logit</th><th>probability</th></tr></thead>'
        f'<tbody>{cells}<tr><th>really − by the map</th><td class="kc-difference">{number(difference, sign=True)}</td>'
        "<td></td></tr></tbody></table>"
        '<p class="kc-note">The map knows the weights as they were. Without these pixels the network computes others: '
        "the difference is what they change elsewhere.</p>"
    )


def grid_image(grid) -> str:
    """Return the images of a grid as one, with the lines between cells."""
    pixels = grid.explanation.images[0]
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    count = len(grid.names)
    over = _cells(grid, [""] * (grid.rows * grid.columns))
    heading = f'<div class="kc-heading">{count} image{"s" * (count > 1)} as one</div>'
    return heading + _picture(pixels, f"Grid of {', '.join(grid.names)}", over)


def grid_map(grid, percentile: float, style: str) -> str:
    """Return the map of a grid, the share of the positive evidence on every cell."""
    explanation = grid.explanation
    name = explanation.class_names[explanation.classes[0, 0]]
    over = _cells(grid, [f"{100 * share:.0f} %" for share in grid.shares])
    picture = _picture(map_pixels(explanation, percentile, style), f"Map of class {name} on the grid: {style}", over)
    return f"{_heading('Map of class', name)}{picture}{_scale(explanation, percentile, style)}{_sums(explanation)}"


def _cells(grid, texts):
    template = f"grid-template:repeat({grid.rows},1fr)/repeat({grid.columns},1fr)"
    spans = "".join(f"<span>{f'<b>{text}</b>' if text else ''}</span>" for text in texts)
    return f'<div class="kc-cells" style="{template}" aria-hidden="true">{spans}</div>'


def grid_table(grid) -> str:
    """Return a row for every cell: its image, its class by itself, its share of the evidence."""
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
    note = "" if grid.shares.any() else "Nothing on this grid speaks for the class."
    return (
        '<table class="kc-table kc-evidence"><caption>Where the evidence for the class lies</caption><thead><tr>'
        "<th>cell</th><th>image</th><th>alone it is</th><th>share</th></tr></thead>"
        f'<tbody>{"".join(rows)}</tbody></table><p class="kc-note">Shares of the positive contributions. {note}</p>'
    )
