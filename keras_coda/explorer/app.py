"""The page: Gradio's components, and which action follows on which event."""

import gradio as gr

from keras_coda.explorer import downloads, views, widgets
from keras_coda.explorer.actions import Explorer
from keras_coda.explorer.networks import Networks
from keras_coda.explorer.pictures import STYLES

THEME = gr.themes.Base(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)  # fmt: skip
# One event after the other, drawing included: else an answer could come after that of a later event, and what was taken
# away would be shown again. That they are sent in their order is for `widgets.HEAD`.
QUIET = {
    "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last", "concurrency_limit": 1,
    "concurrency_id": "page",
}  # fmt: skip
# "always_last" sends the last event, but with the data of the first: right for what is read from components only.
EACH = {**QUIET, "trigger_mode": "multiple"}
SLOW = {**QUIET, "show_progress": "minimal"}  # what a first time takes seconds
INTRODUCTION = """# Explorer
Which pixels made the logit, exactly: the map of a class sums to its logit minus the bias. Red is for the class, blue
against it. Images stay in this program's memory until the page is closed, and are never kept."""


def _only_paths(component):
    """Make an input of files give their paths: this package reads them, and says what is wrong with one.

    A subclass would be the clean way, but Gradio writes a stub file beside the source of each.
    """

    def preprocess(payload):
        files = getattr(payload, "root", payload) or []
        return [file.path for file in (files if isinstance(files, list) else [files])]

    component.preprocess = preprocess
    return component


def build(networks: Networks) -> gr.Blocks:
    """Return the page.

    Args:
        networks: those to choose from.
    """
    explorer = Explorer(networks)
    with gr.Blocks(title="keras_coda explorer", analytics_enabled=False, delete_cache=(60, 60)) as page:
        gr.Markdown(INTRODUCTION, elem_classes="kc-title")
        with gr.Row():
            first = networks.names[0]
            network = gr.Dropdown(
                list(networks.names), value=first, label="Network", elem_id="network", min_width=250
            )  # fmt: skip
            cut = gr.Slider(
                50, 100, 99.5, step=0.5, label="Colors end at this percentile", elem_id="percentile",
                min_width=250, buttons=[],
            )  # fmt: skip
            style = gr.Radio(list(STYLES), value=STYLES[0], label="Rendering", elem_id="style", min_width=250)
        about = gr.HTML(elem_id="about")
        save = gr.HTML(None, html_template="", js_on_load=widgets.DOWNLOAD_JS, elem_id="save", visible="hidden")
        with gr.Tab("One image", id="one"):
            told = gr.HTML(elem_id="message")
            with gr.Row():
                with gr.Column(scale=3, min_width=240):
                    upload = _only_paths(gr.Image(
                        type="filepath", sources=["upload", "webcam", "clipboard"], label="Your image", height=190,
                        elem_id="upload", buttons=[],
                    ))  # fmt: skip
                    gallery = gr.HTML(js_on_load=widgets.PICK_JS, elem_id="examples")
                with gr.Column(scale=4, min_width=260):
                    canvas = gr.HTML(
                        None, html_template=widgets.BRUSH_HTML, js_on_load=widgets.BRUSH_JS, elem_id="canvas"
                    )  # fmt: skip
                    gr.Markdown("### Without these pixels")
                    what_if = gr.HTML(elem_id="what-if")
                with gr.Column(scale=4, min_width=260):
                    shown = gr.HTML(elem_id="map")
                with gr.Column(scale=4, min_width=260):
                    bars = gr.HTML(js_on_load=widgets.PICK_JS, elem_id="bars")
                    class_ = gr.Dropdown([], label="Class explained", elem_id="class")
                    with gr.Row():
                        picture = gr.Button("Picture (PNG)", size="sm", elem_id="png", min_width=110)
                        numbers = gr.Button("Numbers (NPZ)", size="sm", elem_id="npz", min_width=110)
        with gr.Tab("Grid", id="grid"):
            grid_told = gr.HTML(elem_id="grid-message")
            with gr.Row():
                with gr.Column(scale=3, min_width=240):
                    files = _only_paths(gr.File(
                        file_count="multiple", file_types=["image"], label="Up to nine images", height=150,
                        elem_id="files",
                    ))  # fmt: skip
                    with gr.Row():
                        nine = gr.Button("Examples", size="sm", elem_id="nine", min_width=90)
                        empty = gr.Button("Empty", size="sm", elem_id="empty", min_width=90)
                with gr.Column(scale=4, min_width=260):
                    grid_image = gr.HTML(elem_id="grid-image")
                with gr.Column(scale=4, min_width=260):
                    grid_map = gr.HTML(elem_id="grid-map")
                with gr.Column(scale=4, min_width=260):
                    grid_class = gr.Dropdown([], label="Class explained", elem_id="grid-class")
                    table = gr.HTML(elem_id="evidence")
                    with gr.Row():
                        grid_picture = gr.Button("Picture (PNG)", size="sm", elem_id="grid-png", min_width=110)
                        grid_numbers = gr.Button("Numbers (NPZ)", size="sm", elem_id="grid-npz", min_width=110)

        view = [cut, style]
        one = [told, canvas, shown, bars, class_, what_if]
        grid = [grid_told, grid_image, grid_map, grid_class, table]

        # Gradio injects events and requests by the annotations of these functions.
        def opened(percentile, style, request: gr.Request):
            return explorer.everything(explorer.open(request), percentile, style)

        def network_chosen(name, percentile, style, request: gr.Request):
            return explorer.everything(explorer.choose_network(name, request), percentile, style)

        def given(paths, percentile, style, request: gr.Request):
            if not paths:  # the cross of the input was clicked
                return [None, *[gr.skip()] * len(one)]
            return [None, *explorer.one(explorer.give(paths[0], request), percentile, style)]

        def example_picked(percentile, style, event: gr.EventData, request: gr.Request):
            return explorer.one(explorer.example(event.index, request), percentile, style)

        def bar_picked(percentile, style, event: gr.EventData, request: gr.Request):
            return explorer.one(explorer.choose_class(event.index, request), percentile, style)

        def class_chosen(index, percentile, style, request: gr.Request):
            return explorer.one(explorer.choose_class(index, request), percentile, style)

        def brushed(event: gr.EventData, request: gr.Request):
            session, problem = explorer.brush(event.id, event.gone, request)
            return views.message(problem), explorer.what_if(session)

        def restyled(percentile, style, request: gr.Request):
            session, problem = explorer.look(request)
            return views.message(problem), *explorer.maps(session, percentile, style)

        def added(paths, percentile, style, request: gr.Request):
            return [None, *explorer.grid(explorer.add_cells(paths, request), percentile, style)]

        def nine_examples(percentile, style, request: gr.Request):
            return explorer.grid(explorer.example_cells(request), percentile, style)

        def emptied(percentile, style, request: gr.Request):
            return explorer.grid(explorer.clear_cells(request), percentile, style)

        def grid_class_chosen(index, percentile, style, request: gr.Request):
            return explorer.grid(explorer.choose_grid_class(index, request), percentile, style)

        def closed(request: gr.Request):
            explorer.close(request)

        def saving(of_grid, kind):
            def save(percentile, style, request: gr.Request):
                return downloads.file(explorer.look(request)[0], of_grid, kind, percentile, style)

            return save

        page.load(opened, view, [about, gallery, *one, *grid], **QUIET)
        page.unload(closed)
        network.input(network_chosen, [network, *view], [about, gallery, *one, *grid], **SLOW)
        upload.input(given, [upload, *view], [upload, *one], **QUIET)
        gallery.pick(example_picked, view, one, **EACH)
        bars.pick(bar_picked, view, one, **EACH)
        class_.input(class_chosen, [class_, *view], one, **QUIET)
        canvas.brush(brushed, None, [told, what_if], **EACH)
        for control in view:
            control.change(restyled, view, [told, shown, grid_map], **QUIET)
        files.upload(added, [files, *view], [files, *grid], **SLOW)
        nine.click(nine_examples, view, grid, **SLOW)
        empty.click(emptied, view, grid, **QUIET)
        grid_class.input(grid_class_chosen, [grid_class, *view], grid, **SLOW)
        for button, of_grid, kind in (
            (picture, False, "png"), (numbers, False, "npz"), (grid_picture, True, "png"), (grid_numbers, True, "npz")
        ):  # fmt: skip
            button.click(saving(of_grid, kind), view, save, **QUIET)
    return page
