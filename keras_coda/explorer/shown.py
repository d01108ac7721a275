"""What the parts of the page show for a session: HTML that `rendering` writes, and the value of the stage."""

import itertools
from typing import Any

from keras_coda.data.images import png
from keras_coda.explorer import drawing, grid_rendering, rendering
from keras_coda.explorer.examples import examples
from keras_coda.explorer.networks import Networks, what_if
from keras_coda.explorer.sessions import Session
from keras_coda.explorer.view import address

TOP = ("message", "state", "controls", "gallery")
ONE = ("said", "original", "stage", "tables", "result")
GRID = ("grid-said", "grid", "grid-result")
ALL = (*TOP, *ONE, *GRID)
ALWAYS = ("message", "state", "controls")
OF_EVENT = {  # the parts that an event changes
    "current": (), "tab": (), "example": ONE, "upload": ONE, "class": ONE, "brush": ONE, "cells": GRID, "nine": GRID,
    "replace": GRID, "remove": GRID, "empty": GRID, "grid-class": GRID, "view": (*ONE, *GRID), "network": ALL,
    "open": ALL,
}  # fmt: skip
SAVES = (("png", "Picture (PNG)"), ("npz", "Numbers (NPZ)"))
_answers = itertools.count(1)
GRID_SAVES = (*SAVES, ("csv", "Table (CSV)"))


def shown(networks: Networks, session: Session, problem: str, kind: str) -> dict[str, Any]:
    """Return the values of the parts of the page that an event changes.

    Args:
        networks: those of the explorer.
        session: after the event.
        problem: what is wrong, "" for nothing.
        kind: name of the event.
    """
    network = networks[session.network]
    texts = {
        "message": lambda: rendering.message(problem),
        "state": lambda: address(session) if session.explanation is not None else "",
        "controls": lambda: rendering.controls(networks.names, session.network, network, session.view),
        "gallery": lambda: rendering.gallery(examples(network.channels)),
        **_one(network, session),
        **_grid(network, session),
    }
    values = {name: texts[name]() for name in dict.fromkeys((*ALWAYS, *OF_EVENT.get(kind, ())))}
    if problem:  # Gradio passes only values that differ on; inputs must get back what was kept
        for name in values.keys() & {"controls", "result", "grid-result"}:
            values[name] += f'<i hidden data-answer="{next(_answers)}"></i>'
    return values


def _one(network, session):
    explanation, without = session.explanation, session.without
    if explanation is None:
        return dict.fromkeys(ONE, lambda: "") | {"stage": lambda: None}
    class_ = int(explanation.classes[0, 0])

    def result():
        names = rendering.class_list("class", session.network, explanation.class_names, class_)
        bars = rendering.bars(explanation, network.labels(explanation), without)
        return f"<h2>Most probable classes</h2>{bars}{names}{rendering.saves(SAVES, of_grid=False)}"

    def tables():
        compared = what_if(explanation, session.removed, without) if without is not None else None
        table = rendering.what_if(compared, explanation.class_names[class_])
        return f"<div>{rendering.sums(explanation)}</div><div id='what-if'>{table}</div>"

    return {
        "said": lambda: rendering.said(explanation, session.top),
        "original": lambda: rendering.original(session.picture, session.original),
        "stage": lambda: stage(session),
        "tables": tables,
        "result": result,
    }


def _grid(network, session):
    if session.grid is None:
        hint = rendering.message("Upload up to nine images, or use the examples.", is_error=False)
        return {"grid-said": lambda: hint, "grid": lambda: "", "grid-result": lambda: ""}
    explanation = session.grid.explanation

    def result():
        class_ = int(explanation.classes[0, 0])
        names = rendering.class_list("grid-class", session.network, explanation.class_names, class_)
        saves = rendering.saves(GRID_SAVES, of_grid=True)
        return f"{names}{grid_rendering.grid_table(session.grid)}{saves}"

    return {
        "grid-said": lambda: grid_rendering.grid_said(session.grid),
        "grid": lambda: grid_rendering.grid_view(session.grid, session.view),
        "grid-result": result,
    }


def stage(session: Session) -> dict[str, Any]:
    """Return the value of the stage, see ``static/stage.js``: image, map, and map without the removed pixels."""
    explanation, top = session.explanation, session.top
    assert explanation is not None
    assert explanation.class_names is not None
    assert top is not None
    assert session.picture is not None
    assert session.original is not None
    image, name = explanation.images[0], explanation.class_names[explanation.classes[0, 0]]
    view, without = session.view.of_map(explanation), session.without
    end, after = drawing.limit(explanation, top, view), None
    drawn = _map(explanation, view, end, f"Map of class {name}: {view.style}")
    if without is not None:
        ends = end if view.same_scale else drawing.limit(without, without, view)
        colors = "the colors have the same scale" if view.same_scale else f"colors end at {ends:.2g}"
        note = f"{rendering.percent(without.probabilities[0, without.classes[0, 0]])} {name}; {colors}."
        after = _map(without, view, ends, f"Map of class {name} without the removed pixels: {view.style}")
        after |= {"title": "After the removal", "note": note}
    scale = rendering.scale(explanation, view, end)
    return {
        "id": session.number,
        "name": session.picture.name,
        "height": image.shape[0],
        "width": image.shape[1],
        "src": drawing.data_uri(png(image)),
        "photo": {"src": drawing.data_uri(session.original.data), "part": session.original.part},
        "quantity": f"“{name}”",
        "maps": [{"title": f"Map: {name}", "scale": scale, **drawn}, after],
    }


def _map(explanation, view, end, description):
    pixels = drawing.map_pixels(explanation, view, end)
    values = drawing.packed(explanation.contributions[0, 0])
    return {"alt": description, "src": drawing.data_uri(png(pixels)), "values": values}
