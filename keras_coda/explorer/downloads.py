"""Files that a visitor can download: written to a temporary folder, read, and deleted."""

import base64
import itertools
import re
import tempfile
from pathlib import Path

from keras_coda import visualization
from keras_coda.explorer.rendering import STYLES

KINDS = {"png": "image/png", "npz": "application/octet-stream"}
_numbers = itertools.count(1)


def file(session, of_grid: bool, kind: str, percentile: float, style: str) -> dict | None:
    """Return the explanation that a page shows as a file: a picture, or all numbers.

    Args:
        session: a :class:`~keras_coda.explorer.sessions.Session`.
        of_grid: whether to take the explanation of the grid instead of that of the single image.
        kind: ``"png"`` for the figure of :meth:`Explanation.plot`, or of :meth:`Explanation.plot_linear_map`;
            ``"npz"`` for the file that :meth:`Explanation.load` reads.
        percentile: where the colors of the picture end, in [0, 100]; see those methods.
        style: one of ``rendering.STYLES``.

    Returns:
        None if the page shows no explanation. Otherwise a dict of ``name``, ``kind`` (a MIME type), ``data`` (base64)
        and ``number``, a new one at every call: without it the browser would ignore a second download of the same file.
    """
    explanation = session.grid and session.grid.explanation if of_grid else session.explanation
    if explanation is None:
        return None
    class_ = explanation.class_names[explanation.classes[0, 0]]
    stem = "grid" if of_grid else Path(session.picture.name).stem
    name = re.sub(r"[^\w.-]+", "-", f"{stem}-{class_}").strip("-.")[:80] or "map"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file.{kind}"
        if kind == "npz":
            explanation.save(path)
        else:
            draw = explanation.plot if style == STYLES[0] else explanation.plot_linear_map
            visualization.save_picture(draw(percentile=percentile), path)
        data = base64.b64encode(path.read_bytes()).decode()
    return {"name": f"{name}.{kind}", "kind": KINDS[kind], "data": data, "number": next(_numbers)}
