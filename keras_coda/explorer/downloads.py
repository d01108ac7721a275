"""Files that a visitor can download: written to a temporary folder, read, and deleted."""

import base64
import csv
import itertools
import re
import tempfile
from pathlib import Path

import numpy as np

from keras_coda import visualization
from keras_coda.explorer import drawing
from keras_coda.explorer.view import STYLES

KINDS = {"png": "image/png", "npz": "application/octet-stream", "csv": "text/csv"}
_numbers = itertools.count(1)


def file(session, network: str, of_grid: bool, kind: str) -> dict | None:
    """Return the explanation that a page shows as a file: a picture, all numbers, or the table of a grid.

    Args:
        session: a :class:`~keras_coda.explorer.sessions.Session`.
        network: name of the network, for the name of the file and the picture.
        of_grid: whether to take the explanation of the grid instead of that of the single image.
        kind: ``"png"`` for the figure of :meth:`Explanation.plot`, or of :meth:`Explanation.plot_linear_map`, with the
            colors of the page, for a grid with lines between the cells and their shares; ``"npz"`` for the file that
            :meth:`Explanation.load` reads; ``"csv"`` for the cells of a grid with their shares.

    Returns:
        None if the page shows no such explanation. Otherwise a dict of ``name``, ``kind`` (a MIME type), ``data``
        (base64) and ``number``, a new one at every call: without it the browser would ignore a second download of the
        same file.
    """
    grid = session.grid if of_grid else None
    explanation = grid.explanation if grid else None if of_grid else session.explanation
    if explanation is None or kind not in KINDS or (kind == "csv" and grid is None):
        return None
    class_ = explanation.class_names[explanation.classes[0, 0]]
    stem = "grid" if of_grid else Path(session.picture.name).stem
    name = re.sub(r"[^\w.-]+", "-", f"{stem}-{network}-{class_}").strip("-.")[:120] or "map"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file.{kind}"
        if kind == "npz":
            explanation.save(path)
        elif kind == "csv":
            _write_table(path, grid, network, class_)
        else:
            source = f"grid of {', '.join(grid.names)}" if grid else session.picture.name
            top = grid.top if grid else session.top
            figure = _figure(explanation, top, grid, session.view, f"{network} · {class_} · {source}")
            visualization.save_picture(figure, path)
        data = base64.b64encode(path.read_bytes()).decode()
    return {"name": f"{name}.{kind}", "kind": KINDS[kind], "data": data, "number": next(_numbers)}


def _figure(explanation, top, grid, view, title):
    """Return the figure of an explanation with the colors of the page, and the cells of a grid."""
    view = view.of_map(explanation)
    if view.style == STYLES[0]:
        end = drawing.limit(explanation, top, view)
        figure = explanation.plot(percentile=view.percentile, limit=end)
    else:
        figure = explanation.plot_linear_map(percentile=view.percentile)
    image, shown = figure.axes[:2]
    if grid:
        height, width = explanation.images.shape[1:3]
        for axes in (image, shown):
            for row in range(1, grid.rows):
                axes.axhline(row * height / grid.rows - 0.5, color="0.35", linewidth=0.6)
            for column in range(1, grid.columns):
                axes.axvline(column * width / grid.columns - 0.5, color="0.35", linewidth=0.6)
        for index, share in enumerate(grid.shares):
            row, column = divmod(index, grid.columns)
            corner = (column * width / grid.columns - 0.5, row * height / grid.rows - 0.5)
            box = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 0.8}
            place = {"xytext": (2, -2), "textcoords": "offset points", "va": "top", "size": 5, "bbox": box}
            shown.annotate(f"{100 * share:.0f}%", corner, **place)
    shortened = title if len(title) <= 90 else f"{title[:89]}…"
    figure.text(0.01, 0.005, shortened, size=5, color="0.35", parse_math=False)
    return figure


def _write_table(path, grid, network, class_):
    with path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(("network", "class", "row", "column", "image", "predicted alone", "share"))
        for index, share in enumerate(np.asarray(grid.shares).tolist()):
            row, column = divmod(index, grid.columns)
            is_empty = index >= len(grid.names)
            alone = "" if is_empty else grid.explanation.class_names[grid.alone[index]]
            name = "" if is_empty else grid.names[index]
            writer.writerow((network, class_, row + 1, column + 1, _text(name), alone, f"{share:.6f}"))


def _text(value):
    """Return a name so that a spreadsheet does not compute it as a formula."""
    return f"'{value}" if value[:1] in "=+-@" else value
