"""HTML of the tab with the grid."""

from html import escape

import numpy as np

from keras_coda.explorer.drawing import limit, map_pixels
from keras_coda.explorer.rendering import picture, scale, sums
from keras_coda.explorer.view import View


def grid_view(grid, view: View) -> str:
    """Return the joined image of a grid and its map, with lines between the cells, and shares on the map."""
    view = view.of_map(grid.explanation)
    pixels = grid.explanation.images[0]
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    count, name = len(grid.names), grid.explanation.class_names[grid.explanation.classes[0, 0]]
    over = _cells(grid, [""] * (grid.rows * grid.columns))
    image = picture(pixels, f"Grid of {', '.join(grid.names)}", over)
    end = limit(grid.explanation, grid.top, view)
    over = _cells(grid, [f"{100 * share:.0f}%" for share in grid.shares])
    drawn = picture(map_pixels(grid.explanation, view, end), f"Map of class {name} on the grid: {view.style}", over)
    return (
        f'<div class="kc-panels"><section class="kc-panel" data-panel="image"><h2 class="kc-heading">{count} '
        f'image{"s" * (count > 1)} in one grid</h2>{image}</section><section class="kc-panel" data-panel="map">'
        f'<h2 class="kc-heading">Map: {escape(name)}</h2>{drawn}{scale(grid.explanation, view, end)}'
        f"</section></div>{sums(grid.explanation)}"
    )


def grid_said(grid) -> str:
    """Return what a grid shows, in words."""
    name = escape(grid.explanation.class_names[grid.explanation.classes[0, 0]])
    if not grid.shares.any():
        return f"<p>No pixel of the grid speaks for “{name}”.</p>"
    best = int(grid.shares.argmax())
    cell = escape(grid.names[best]) if best < len(grid.names) else "an empty cell"
    return (
        f"<p>The network looked at all images at once and was asked for “<b>{name}</b>”. The map shows where it finds "
        f"evidence: <b>{100 * grid.shares[best]:.0f}%</b> of what speaks for “{name}” is in the cell of {cell}.</p>"
    )


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
        changes = "" if is_empty else _changes(index, grid.names[index])
        rows.append(
            f'<tr><td>{place}</td><td class="kc-file-name">{escape(name)}</td><td>{escape(alone)}</td>'
            f'<td class="kc-share">{100 * share:.1f}%</td><td class="kc-changes">{changes}</td></tr>'
        )
    return (
        '<table class="kc-table kc-evidence"><caption>Evidence for the class in each cell</caption><thead><tr>'
        '<th scope="col">cell</th><th scope="col">image</th><th scope="col">alone</th><th scope="col">share</th><td>'
        f'</td></tr></thead><tbody>{"".join(rows)}</tbody></table><p class="kc-note">Cell: row, column. Alone: the '
        "answer for this image alone. Share: of all contributions that speak for the class.</p>"
    )


def _changes(index, name):
    name = escape(name)
    return (
        f'<label class="kc-button" title="Replace {name}">↻<input class="kc-file" type="file" accept="image/*" '
        f'aria-label="Replace {name}" data-kind="replace" data-index="{index}"></label>'
        f'<button type="button" class="kc-button" title="Remove {name}" aria-label="Remove {name}" data-kind="remove" '
        f'data-index="{index}">×</button>'
    )
