"""HTML of the parts of the page: every number is also text, every picture has a description; and the pixels of maps."""

from html import escape

import numpy as np

from keras_coda.data.images import png
from keras_coda.explanations.explanation import sigmoid
from keras_coda.explorer.drawing import data_uri
from keras_coda.explorer.view import RANGE, STYLES, View

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


def said(explanation, top) -> str:
    """Return what the page shows, in words for somebody who has never heard of such networks.

    Args:
        explanation: of one image for one class.
        top: the same for its most probable class.
    """
    names, class_, best = explanation.class_names, explanation.classes[0, 0], top.classes[0, 0]
    answer = f"The network's answer: <b>{escape(names[best])}</b> ({percent(top.probabilities[0, best])})."
    name = f"“{escape(names[class_])}”"
    question = "where in the image this answer comes from"
    if class_ != best:
        question = f"why it gives {name} {percent(explanation.probabilities[0, class_])}"
    exact = "the map is the calculation itself, not an estimate made afterwards"
    if explanation.wrt is not None:
        exact = f"from the layer {escape(explanation.wrt)} on the map is the calculation itself, not an estimate"
    return (
        f"<p>{answer} The map shows {question}: <b class='kc-red'>red</b> pixels speak for {name}, "
        f"<b class='kc-blue'>blue</b> pixels speak against it, and all of them together make up its score: {exact}.</p>"
    )


def percent(share: float) -> str:
    """Return a share in [0, 1] as text."""
    return f"{100 * share:.1f}%"


def controls(networks, name: str, network, view: View) -> str:
    """Return the choice of the network, and how maps are drawn.

    Args:
        networks: names of all networks.
        name: of the chosen one.
        network: the chosen :class:`~keras_coda.explorer.networks.Network`.
        view: how maps are drawn.
    """
    chosen = _select("network", "Network", [(each, each) for each in networks], name)
    styles = "".join(
        f'<label><input type="radio" name="kc-style" data-kind="view" data-name="style" value="{style}"'
        f"{' checked' * (style == view.style)}> {style}</label>"
        for style in STYLES
    )
    low, high = RANGE
    same = " checked" * view.same_scale
    return (
        f'<details class="kc-view" data-fold open><summary>Network and colors: {escape(name)}</summary>'
        f'<div class="kc-row">{chosen}<p class="kc-note">{_about(network)}</p></div><div class="kc-row">'
        f"<fieldset><legend>Rendering</legend>{styles}</fieldset>"
        f'<label>Colors end at this percentile <input class="kc-percentile" type="number" min="{low}" max="{high}" '
        f'step="0.5" value="{view.percentile:g}" data-kind="view" data-name="percentile"></label>'
        '<label><input type="checkbox" data-kind="view" data-name="scale" data-on="same" data-off="own" '
        f'class="kc-same"{same}> same scale for all classes</label></div>'
        '<p class="kc-note">Percentile: so many percent of the pixels contribute less than the darkest color stands '
        "for. A lower one shows weak contributions; no number changes. Same scale: the colors of all classes end where "
        "those of the most probable class do, so that a class with little evidence looks pale.</p></details>"
    )


def _about(network):
    kind = "gray" if network.channels == 1 else "color"
    count = len(network.class_names)
    if None in network.size:
        size, change = "any size", "large images are scaled down"
    else:
        size = f"{network.size[1]}x{network.size[0]} pixels"
        change = "other images are cropped to these proportions and resized"
    return f"{count} classes, {kind} images of {size}; {change}."


def _select(kind, label, choices, chosen, more=""):
    options = "".join(
        f'<option value="{escape(str(value))}"{" selected" * (value == chosen)}>{escape(str(name))}</option>'
        for name, value in choices
    )
    return f'<label class="kc-select">{label} <select data-kind="{kind}"{more}>{options}</select></label>'


def class_list(kind: str, network: str, names, chosen: int) -> str:
    """Return the list of all classes.

    Args:
        kind: name of the event of a choice.
        network: name of the network, which the event has, too: the list may be older than the choice of a network.
        names: of the classes.
        chosen: index of the explained class.
    """
    choices = [(name, index) for index, name in enumerate(names)]
    return _select(kind, "Explained class", choices, chosen, f' data-network="{escape(network)}"')


def original(picture, found) -> str:
    """Return an image before it is cut and resized, with a frame around what the network sees.

    Args:
        picture: a :class:`~keras_coda.explorer.sessions.Picture`.
        found: its :class:`~keras_coda.explorer.sessions.Original`.
    """
    left, top, width, height = (f"{100 * share:.2f}%" for share in found.part)
    is_whole = found.part[2] * found.part[3] > 0.9999
    told = "the network sees all of it" if is_whole else "the network sees what is in the frame"
    return (
        f'<figure class="kc-original"><div><img src="{data_uri(found.data)}" alt="The image {escape(picture.name)}">'
        f'<i style="left:{left};top:{top};width:{width};height:{height}"></i></div><figcaption class="kc-note">'
        f"{escape(picture.name)}, {found.width}x{found.height} pixels; {told}.</figcaption></figure>"
    )


def saves(kinds, of_grid: bool) -> str:
    """Return the buttons of downloads: ``kinds`` are pairs of a kind and the text of its button."""
    tab = "grid" if of_grid else "one"
    buttons = "".join(
        f'<button type="button" class="kc-button" data-kind="save" data-tab="{tab}" data-file="{kind}">{text}</button>'
        for kind, text in kinds
    )
    return f'<div class="kc-tools" role="group" aria-label="Downloads">{buttons}</div>'


def gallery(pictures) -> str:
    """Return the examples as buttons."""
    start = '<button type="button" class="kc-example" data-kind="example"'
    buttons = [
        f'{start} data-index="{index}" title="{escape(each.name)}">'
        f'<img src="{data_uri(each.data)}" alt="{escape(each.name)}"></button>'
        for index, each in enumerate(pictures)
    ]
    return f'<div class="kc-gallery" role="group" aria-label="Examples">{"".join(buttons)}</div>'


def bars(explanation, labels=None, without=None) -> str:
    """Return the most probable classes as buttons with bars; the button of the explained class is pressed.

    Args:
        explanation: of one image for one class.
        labels: names of the labels that the image has, with their thresholds; None if every image has one label.
        without: the explanation without the removed pixels, whose probabilities are shown beside the others, or None.
    """
    logits, probabilities = explanation.logits[0], explanation.probabilities[0]
    shown = np.argsort(-logits, kind="stable")[:BARS].tolist()
    chosen = int(explanation.classes[0, 0])
    shown += [chosen] * (chosen not in shown)
    if without is not None:
        best = int(without.logits[0].argmax())
        shown += [best] * (best not in shown)
    rows = []
    for index in shown:
        fills = f'<span class="kc-fill" style="width:{100 * probabilities[index]:.1f}%"></span>'
        value = f"<span>{percent(probabilities[index])}</span>"
        if without is not None:
            after = without.probabilities[0, index]
            fills += f'<span class="kc-fill kc-new" style="width:{100 * after:.1f}%"></span>'
            value += f'<span class="kc-after">→ {percent(after)}</span>'
        rows.append(
            f'<button type="button" class="kc-bar" data-kind="class" data-value="{index}" '
            f'aria-pressed="{str(index == chosen).lower()}">'
            f'<span class="kc-name">{escape(explanation.class_names[index])}</span>'
            f'<span class="kc-track">{fills}</span><span class="kc-value">{value}</span></button>'
        )
    removed = "" if without is None else "Striped bars and arrows: without the removed pixels. "
    return (
        f'<div role="group" aria-label="Most probable classes">{"".join(rows)}</div><p class="kc-note">{removed}'
        "Each class has a probability of its own; they need not sum to 100%.</p>"
        + ("" if labels is None else _labels(labels))
    )


def _labels(labels):
    told = ", ".join(f"<b>{escape(name)}</b> (from {100 * threshold:.1f}%)" for name, threshold in labels)
    return f'<p class="kc-note kc-labels">Labels, by the threshold of each class: {told or "none"}.</p>'


def what_if(result, name: str) -> str:
    """Return the logits with and without the removed pixels; "" without a result.

    Args:
        result: a :class:`~keras_coda.explorer.networks.WhatIf`, or None.
        name: name of the explained class.
    """
    if result is None:
        return ""
    difference = result.real - result.predicted
    rows = (("with all pixels", result.logit, ""), ("without, by the map", result.predicted, "kc-predicted"),
            ("without, by the network", result.real, "kc-real"))  # fmt: skip
    cells = "".join(
        f'<tr><th scope="row">{label}</th><td class="{kind}">{number(logit)}</td>'
        f"<td>{100 * sigmoid(np.array(logit)):.1f}%</td></tr>"
        for label, logit, kind in rows
    )
    return (
        f"<p><b>{100 * result.removed_share:.1f}%</b> of the pixels are removed. They contributed "
        f"<b>{number(result.contribution, 2, sign=True)}</b> to the logit of <b>{escape(name)}</b>.</p>"
        '<table class="kc-table"><caption>Without these pixels</caption><thead><tr><td></td><th scope="col">logit</th>'
        '<th scope="col">probability</th></tr></thead>'
        f'<tbody>{cells}<tr><th scope="row">network − map</th><td class="kc-difference">'
        f"{number(difference, sign=True)}</td><td></td></tr></tbody></table>"
        '<p class="kc-note">The map uses the weights for the full image. Without these pixels the network computes '
        "other weights everywhere; the difference shows their effect.</p>"
    )


# === Maps ===


def scale(explanation, view: View, end: float) -> str:
    """Return the scale of the colors of a map, and where it ends.

    Args:
        explanation: of the map.
        view: how it is drawn.
        end: the contribution at which the colors end.
    """
    if view.style != STYLES[0]:
        return f'<p class="kc-note">{COLOR_NOTES[explanation.images.shape[-1]]}</p>'
    low, high = (f"{sign}{end:.2g}" for sign in "−+")
    told = "The same colors for all classes of this image." if view.same_scale else "Colors of this class alone."
    if explanation.wrt is not None:
        told += (
            f" The map is exact from layer <b>{escape(explanation.wrt)}</b> on: what this layer has made of the pixels "
            "is not explained. Therefore there is no linear map in color."
        )
    return (
        f'<div class="kc-scale"><span>{low}<br>against</span><span class="kc-gradient"></span>'
        f'<span>{high}<br>for</span></div><p class="kc-note">{told}</p>'
    )


def sums(explanation) -> str:
    """Return the table that shows that map and bias sum to the logit, with the meaning of each line."""
    total = explanation.contributions[0, 0].sum(dtype="float64")
    logit, residual = explanation.explained_logits[0, 0], explanation.residual[0, 0]
    places = "pixels" if explanation.wrt is None else f"the features of layer {escape(explanation.wrt)}"
    rows = [("sum of the map", f"all contributions of {places}", number(total, 4), "")]
    rows.append(("+ bias", "a constant, the same for every image", number(explanation.bias, 4), ""))
    if explanation.offsets is not None:
        constants = number(explanation.offsets[0, 0], 4)
        rows.append(("+ constants", "of inner layers; they belong to no pixel", constants, ""))
    rows.append(("= logit", "the score of the class; a higher one means a higher probability", number(logit, 4), ""))
    rows.append(("residual", "what is missing: rounding", f"{residual:.1e}".replace("e-", "e−"), "kc-residual"))
    cells = "".join(
        f'<tr><th scope="row">{name}<small>{meaning}</small></th><td class="{kind}">{value}</td></tr>'
        for name, meaning, value, kind in rows
    )
    return (
        f'<table class="kc-table kc-sums"><caption>The map is the whole score</caption><tbody>{cells}</tbody></table>'
    )


def picture(pixels: np.ndarray, description: str, over: str = "") -> str:
    """Return pixels as a picture with a description, and HTML that lies over it."""
    height, width = pixels.shape[:2]
    return (
        f'<div class="kc-stage" style="aspect-ratio:{width}/{height}">'
        f'<img class="kc-map" src="{data_uri(png(pixels))}" alt="{escape(description)}">{over}</div>'
    )
