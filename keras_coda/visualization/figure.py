"""Common parts of all figures: how they are made, styled, shown in notebooks and saved."""

import functools
import io
import os
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_coda.utils.atomic import new_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 144


def new_figure(width: float, height: float, **options) -> "Figure":
    """Returns an empty white figure that notebooks show as the last expression of a cell.

    It is not registered with `matplotlib.pyplot`: it needs no closing, and works in every thread.

    Args:
        width: Float, in inches.
        height: Float, in inches.
        **options: Further arguments of `matplotlib.figure.Figure`. The default layout is constrained.
    """
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), dpi=DPI, facecolor="white", **{"layout": "constrained", **options})
    # IPython calls this method of the object it displays. If pyplot is active, IPython draws all figures itself.
    figure._repr_png_ = functools.partial(to_png, figure)
    return figure


def style_axes(axes, *, size=8, grid=False):
    """Sets the common style of diagrams: no frame above and on the right, small type.

    Args:
        axes: `matplotlib.axes.Axes`.
        size: Float, size of the tick labels in points. Axis labels have 8 points.
        grid: Bool. Whether to draw light grid lines behind the data.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=size)
    axes.xaxis.label.set_size(8)
    axes.yaxis.label.set_size(8)
    if grid:
        axes.grid(color="0.93", linewidth=0.7)
        axes.set_axisbelow(True)


def to_png(figure):
    """Returns a figure as the bytes of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def save_picture(
    picture: "Figure | np.ndarray", path: str | os.PathLike, *, dpi: float = 200, upscale: int = 1
) -> None:
    """Writes a figure or an array of pixels to a PNG file.

    The picture is written to a temporary file in the same folder, which then replaces `path`: no reader ever sees an
    incomplete picture, and an error leaves an existing file unchanged.

    Args:
        picture: A `matplotlib.figure.Figure`, or an array of shape `(H, W, 3)` or `(H, W, 4)`:
            float in [0, 1] or uint8 in [0, 255].
        path: Path ending in `.png`, in a folder that exists.
        dpi: Float, dots per inch of a figure. For an array it only becomes metadata of the file.
        upscale: Int. Every pixel of an array becomes a square of this side; a figure is drawn
            with `upscale` times as many dots per inch.

    Raises:
        ValueError: If `picture`, the ending of `path` or `upscale` is not as described.
        OSError: If the file cannot be written; a `FileNotFoundError` if there is no such folder.
    """
    from matplotlib.image import imsave

    path = pathlib.Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"`path` must end in '.png'. Received: path={str(path)!r}")
    if upscale < 1 or upscale % 1:
        raise ValueError(f"`upscale` must be a positive integer. Received: {upscale=}")
    with new_file(path) as part:
        if hasattr(picture, "savefig"):
            picture.savefig(part, format="png", dpi=dpi * upscale)
        else:
            pixels = _bytes(picture).repeat(upscale, axis=0).repeat(upscale, axis=1)
            imsave(part, pixels, format="png", dpi=dpi, origin="upper")


def _bytes(picture):
    array = np.asarray(picture)
    fits = array.ndim == 3 and array.shape[-1] in (3, 4) and array.size
    if fits and array.dtype == np.uint8:
        return array
    if fits and array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:  # and no NaN
        return np.rint(255 * array).astype(np.uint8)
    raise ValueError(
        "`picture` must be a matplotlib Figure or have shape (H, W, 3) or (H, W, 4), float in "
        f"[0, 1] or uint8. Received: picture of shape {array.shape}, dtype {array.dtype}. Divide "
        "pixel values by 255; save the pictures of a batch one by one."
    )
