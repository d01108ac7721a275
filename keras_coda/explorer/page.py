"""The page: Gradio's components, and which handler runs at which event."""

from importlib import resources
from types import SimpleNamespace

import gradio as gr

from keras_coda.explorer import downloads
from keras_coda.explorer.handlers import Handlers
from keras_coda.explorer.networks import Networks
from keras_coda.explorer.rendering import PERCENTILES, STYLES

THEME = gr.themes.Base(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)  # fmt: skip
# Handlers run one at a time, drawing included: otherwise the result of an event could be shown after that of a later
# one, and an image that was removed would appear again. `static/page.js` keeps the order in which events are sent.
QUIET = {
    "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last", "concurrency_limit": 1,
    "concurrency_id": "page",
}  # fmt: skip
# "always_last" sends the last of several events with the data of the first: right if a handler reads components only.
EACH = {**QUIET, "trigger_mode": "multiple"}
SLOW = {**QUIET, "show_progress": "minimal"}  # handlers that take seconds when they run for the first time
INTRODUCTION = """# Explorer
The map of a class shows exactly how much each pixel contributes to its logit: the sum of the map is the logit minus the
bias. Red is evidence for the class, blue against it. Images stay in this program's memory until the page is closed, and
are not stored."""


def static(name: str) -> str:
    """Return the text of a file of the folder ``static``, which the browser runs or shows."""
    return (resources.files("keras_coda.explorer") / "static" / name).read_text(encoding="utf-8")


def build(networks: Networks) -> gr.Blocks:
    """Return the page.

    Args:
        networks: the networks to choose from.
    """
    with gr.Blocks(title="keras_coda explorer", analytics_enabled=False, delete_cache=(60, 60)) as page:
        gr.Markdown(INTRODUCTION, elem_classes="kc-title")
        top = _top(networks)
        with gr.Tab("One image", id="one"):
            one = _image_tab()
        with gr.Tab("Grid", id="grid"):
            grid = _grid_tab()
        _connect(page, Handlers(networks), top, one, grid)
    return page


# === Components ===


def _top(networks):
    wide = {"min_width": 250}
    names = list(networks.names)
    with gr.Row():
        network = gr.Dropdown(names, value=names[0], label="Network", elem_id="network", **wide)
        label = "Colors end at this percentile"
        percentile = gr.Slider(
            50, 100, PERCENTILES[STYLES[0]], step=0.5, label=label, elem_id="percentile", buttons=[], **wide
        )
        style = gr.Radio(list(STYLES), value=STYLES[0], label="Rendering", elem_id="style", **wide)
    about = gr.HTML(elem_id="about")
    save = gr.HTML(None, html_template="", js_on_load=static("download.js"), elem_id="save", visible="hidden")
    return SimpleNamespace(
        network=network, about=about, save=save, percentile=percentile, style=style, view=[percentile, style]
    )  # fmt: skip


def _image_tab():
    told = gr.HTML(elem_id="message")
    with gr.Row():
        with gr.Column(scale=3, min_width=240):
            sources = {"type": "filepath", "sources": ["upload", "webcam", "clipboard"]}
            upload = _only_paths(gr.Image(**sources, label="Your image", height=190, elem_id="upload", buttons=[]))
            gallery = gr.HTML(js_on_load=static("pick.js"), elem_id="examples")
        with gr.Column(scale=4, min_width=260):
            parts = {"html_template": static("brush.html"), "js_on_load": static("brush.js")}
            canvas = gr.HTML(None, **parts, elem_id="canvas")
            gr.Markdown("### Without these pixels")
            what_if = gr.HTML(elem_id="what-if")
        with gr.Column(scale=4, min_width=260):
            shown = gr.HTML(elem_id="map")
        with gr.Column(scale=4, min_width=260):
            bars = gr.HTML(js_on_load=static("pick.js"), elem_id="bars")
            class_ = gr.Dropdown([], label="Explained class", elem_id="class")
            saved = _download_buttons("")
    outputs = [told, canvas, shown, bars, class_, what_if]  # in the order of `Handlers.show_image`
    return SimpleNamespace(
        told=told, upload=upload, gallery=gallery, canvas=canvas, what_if=what_if, map=shown, bars=bars, class_=class_,
        saved=saved, outputs=outputs,
    )  # fmt: skip


def _grid_tab():
    told = gr.HTML(elem_id="grid-message")
    with gr.Row():
        with gr.Column(scale=3, min_width=240):
            several = {"file_count": "multiple", "file_types": ["image"]}
            files = _only_paths(gr.File(**several, label="Up to nine images", height=150, elem_id="files"))
            with gr.Row():
                examples = gr.Button("Examples", size="sm", elem_id="nine", min_width=90)
                empty = gr.Button("Empty", size="sm", elem_id="empty", min_width=90)
        with gr.Column(scale=4, min_width=260):
            image = gr.HTML(elem_id="grid-image")
        with gr.Column(scale=4, min_width=260):
            shown = gr.HTML(elem_id="grid-map")
        with gr.Column(scale=4, min_width=260):
            class_ = gr.Dropdown([], label="Explained class", elem_id="grid-class")
            table = gr.HTML(elem_id="evidence")
            saved = _download_buttons("grid-")
    outputs = [told, image, shown, class_, table]  # in the order of `Handlers.show_grid`
    return SimpleNamespace(
        files=files, examples=examples, empty=empty, map=shown, class_=class_, saved=saved, outputs=outputs
    )  # fmt: skip


def _download_buttons(prefix):
    with gr.Row():
        picture = gr.Button("Picture (PNG)", size="sm", elem_id=f"{prefix}png", min_width=110)
        numbers = gr.Button("Numbers (NPZ)", size="sm", elem_id=f"{prefix}npz", min_width=110)
    return {"png": picture, "npz": numbers}


def _only_paths(component):
    """Make an input of files give their paths: this package reads the files, and says what is wrong with one.

    A subclass would be the clean way, but Gradio writes a stub file beside the source of every subclass.
    """

    def preprocess(payload):
        files = getattr(payload, "root", payload) or []
        return [file.path for file in (files if isinstance(files, list) else [files])]

    component.preprocess = preprocess
    return component


# === Events ===


def _connect(page, handlers, top, one, grid):
    """Connect events with handlers. Gradio fills in `event` and `request` by the annotations of these functions."""

    def without_value(handler, show):
        def run(percentile, style, request: gr.Request):
            return show(handler(request), percentile, style)

        return run

    def with_value(handler, show):
        def run(value, percentile, style, request: gr.Request):
            return show(handler(value, request), percentile, style)

        return run

    def with_index(handler, show):
        def run(percentile, style, event: gr.EventData, request: gr.Request):
            return show(handler(event.index, request), percentile, style)

        return run

    def uploaded(paths, percentile, style, request: gr.Request):
        if not paths:  # the cross of the input was clicked
            return [None, *[gr.skip()] * len(one.outputs)]
        return [None, *handlers.show_image(handlers.upload(paths[0], request), percentile, style)]

    def cells_uploaded(paths, percentile, style, request: gr.Request):
        return [None, *handlers.show_grid(handlers.upload_cells(paths, request), percentile, style)]

    def brushed(event: gr.EventData, request: gr.Request):
        return handlers.show_what_if(handlers.brush(event.id, event.removed, request))

    def saving(of_grid, kind):
        def save(percentile, style, request: gr.Request):
            return downloads.file(handlers.current(request)[0], of_grid, kind, percentile, style)

        return save

    def restyled(style, request: gr.Request):
        percentile = PERCENTILES[style]
        return [percentile, *handlers.show_maps(handlers.current(request), percentile, style)]

    def closed(request: gr.Request):
        handlers.close(request)

    view, everything = top.view, [top.about, one.gallery, *one.outputs, *grid.outputs]
    page.load(without_value(handlers.open, handlers.show_all), view, everything, **QUIET)
    page.unload(closed)
    chosen = with_value(handlers.choose_network, handlers.show_all)
    top.network.input(chosen, [top.network, *view], everything, **SLOW)
    redrawn, drawn = without_value(handlers.current, handlers.show_maps), [one.told, one.map, grid.map]
    top.percentile.change(redrawn, view, drawn, **QUIET)
    top.style.change(restyled, top.style, [top.percentile, *drawn], **QUIET)

    one.upload.input(uploaded, [one.upload, *view], [one.upload, *one.outputs], **QUIET)
    one.gallery.pick(with_index(handlers.example, handlers.show_image), view, one.outputs, **EACH)
    one.bars.pick(with_index(handlers.choose_class, handlers.show_image), view, one.outputs, **EACH)
    chosen = with_value(handlers.choose_class, handlers.show_image)
    one.class_.input(chosen, [one.class_, *view], one.outputs, **QUIET)
    one.canvas.brush(brushed, None, [one.told, one.what_if], **EACH)

    grid.files.upload(cells_uploaded, [grid.files, *view], [grid.files, *grid.outputs], **SLOW)
    grid.examples.click(without_value(handlers.example_cells, handlers.show_grid), view, grid.outputs, **SLOW)
    grid.empty.click(without_value(handlers.clear_cells, handlers.show_grid), view, grid.outputs, **QUIET)
    chosen = with_value(handlers.choose_grid_class, handlers.show_grid)
    grid.class_.input(chosen, [grid.class_, *view], grid.outputs, **SLOW)

    for tab, of_grid in ((one, False), (grid, True)):
        for kind, button in tab.saved.items():
            button.click(saving(of_grid, kind), view, top.save, **QUIET)
