"""The page: Gradio's components, and how events reach the handlers."""

from importlib import resources

import gradio as gr

from keras_coda.explorer import downloads
from keras_coda.explorer.handlers import Handlers
from keras_coda.explorer.networks import Networks
from keras_coda.explorer.shown import ALL, shown

THEME = gr.themes.Base(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)  # fmt: skip
# Handlers run one at a time, drawing included: otherwise the result of an event could be shown after that of a later
# one, and an image that was removed would appear again. `static/page.js` keeps the order in which events are sent.
OPTIONS = {
    "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple", "concurrency_limit": 1,
    "concurrency_id": "page",
}  # fmt: skip
FIELDS = ("kind", "value", "name", "index", "id", "removed", "path", "paths", "network", "tab", "file")  # of an event


def static(name: str) -> str:
    """Return the text of a file of the folder ``static``, which the browser runs or shows."""
    return (resources.files("keras_coda.explorer") / "static" / name).read_text(encoding="utf-8")


def build(networks: Networks, max_upload_mb: int = 10) -> gr.Blocks:
    """Return the page.

    Args:
        networks: the networks to choose from.
        max_upload_mb: the largest file that can be uploaded, in MiB, for messages.
    """
    with gr.Blocks(title="keras_coda explorer", analytics_enabled=False, delete_cache=(60, 60)) as page:
        _html(static("title.html").replace("MAX_UPLOAD_MB", str(max_upload_mb)), elem_id="title")
        parts = {"message": _part("message", "message.html"), "controls": _part("controls")}
        with gr.Tabs() as tabs:
            with gr.Tab("One image", id="one") as one:
                sources = [_image_tab(parts)]
            with gr.Tab("Grid", id="grid") as grid:
                sources.append(_grid_tab(parts))
        _html(static("words.html"), elem_id="words")
        silent = {"html_template": "", "visible": "hidden"}
        parts["state"] = _html(None, js_on_load=static("state.js"), elem_id="state", **silent)
        save = _html(None, js_on_load=static("download.js"), elem_id="save", **silent)
        _connect(page, Handlers(networks), parts, sources, save, tabs, {"one": one, "grid": grid})
    return page


# === Components ===


def _html(*value, **options):
    return gr.HTML(*value, apply_default_css=False, **options)


def _part(name, template="part.html"):
    return _html(None, html_template=static(template), js_on_load=static("part.js"), elem_id=name)


def _source(kind):
    return _html(
        None, html_template=static("source.html"), js_on_load=static("source.js"), elem_id=f"{kind}-source", kind=kind
    )


def _image_tab(parts):
    parts["said"] = _part("said", "said.html")
    with gr.Row(elem_classes="kc-columns"):
        with gr.Column(scale=3, min_width=200, elem_classes="kc-from"):
            source = _source("upload")
            parts["gallery"] = _part("gallery")
            parts["original"] = _part("original")
        with gr.Column(scale=10, min_width=320):
            stage = {"html_template": static("stage.html"), "js_on_load": static("stage.js")}
            parts["stage"] = _html(None, **stage, elem_id="stage")
        with gr.Column(scale=4, min_width=260, elem_classes="kc-to"):
            parts["result"] = _part("result")
    parts["tables"] = _part("tables")
    return source


def _grid_tab(parts):
    parts["grid-said"] = _part("grid-said", "said.html")
    with gr.Row(elem_classes="kc-columns"):
        with gr.Column(scale=3, min_width=200, elem_classes="kc-from"):
            source = _source("cells")
            parts["grid-buttons"] = _html(
                static("grid_buttons.html"), html_template=static("part.html"), js_on_load=static("part.js")
            )
        with gr.Column(scale=8, min_width=320):
            parts["grid"] = _part("grid")
        with gr.Column(scale=6, min_width=320, elem_classes="kc-to"):
            parts["grid-result"] = _part("grid-result")
    return source


# === Events ===


def _field(event, name):
    """Return what a page sent under a name; None if it did not, or sent no names at all."""
    try:
        return getattr(event, name, None)
    except TypeError:
        return None


def _connect(page, handlers, parts, sources, save, tabs, by_name):
    """Connect events with handlers. Gradio fills in `event` and `request` by the annotations of these functions."""
    outputs = [parts[name] for name in ALL]

    def update(kind, outcome):
        values = shown(handlers.networks, *outcome, kind)
        return {parts[name]: value for name, value in values.items()}

    def acted(event: gr.EventData, request: gr.Request):
        data = {name: _field(event, name) for name in FIELDS}
        kind = str(data["kind"])
        if kind == "save":
            session, problem = handlers.act("current", {}, request.session_hash)
            file = downloads.file(session, session.network, data["tab"] == "grid", str(data["file"]))
            return {save: file, **update("current", (session, problem))}
        given = {name: value for name, value in data.items() if value is not None}
        return update(kind, handlers.act(kind, given, request.session_hash))

    def opened(request: gr.Request):
        outcome = handlers.open(dict(request.query_params or {}), request.session_hash)
        return {**update("open", outcome), tabs: gr.Tabs(selected=outcome[0].tab)}

    def selected(name):
        def select(request: gr.Request):
            return update("tab", handlers.act("tab", {"value": name}, request.session_hash))

        return select

    def closed(request: gr.Request):
        handlers.close(request.session_hash)

    page.load(opened, None, [*outputs, tabs], **OPTIONS)
    page.unload(closed)
    for part in (*[part for name, part in parts.items() if name != "state"], *sources):
        part.act(acted, None, [*outputs, save], **OPTIONS)
    for name, tab in by_name.items():
        tab.select(selected(name), None, outputs, **OPTIONS)
