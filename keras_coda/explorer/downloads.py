"""Files for a visitor to keep: written in a temporary folder, read, deleted."""

import base64
import itertools
import re
import tempfile
from pathlib import Path

from keras_coda import visualization
from keras_coda.explorer.pictures import STYLES

KINDS = {"png": "image/png", "npz": "application/octet-stream"}
_numbers = itertools.count(1)


def file(session, of_grid: bool, kind: str, percentile: float, style: str) -> dict | None:
    """Return a picture, or all numbers, of what a session shows.

    Args:
        session: a :class:`~keras_coda.explorer.sessions.Session`.
        of_grid: whether of the grid, or of the one image.
        kind: ``"png"`` for :meth:`Explanation.plot`, or the linear map in color; ``"npz"`` for what
            :meth:`Explanation.load` reads.
        percentile: where the colors of the picture end.
        style: one of ``pictures.STYLES``.

    Returns:
        None if there is nothing, or a dict of ``name``, ``kind`` (a MIME type), ``data`` (base64) and ``number``,
        another one each time.
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
