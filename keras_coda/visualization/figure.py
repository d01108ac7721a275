"""What all figures share: resolution, how notebooks show them, and files written whole or not at all."""

import io
import pathlib

import numpy as np

from keras_coda.utils.atomic import new_file

DPI = 144  # of the figures; the lengths below are in inches, type in points


def save_picture(picture, path, *, dpi=200, upscale=1):
    """Writes a figure or an array of pixels as a PNG file, whole or not at all.

    The file is written beside its final place and then moved there: nobody ever sees half a
    picture, and an error leaves what was there before.

    Args:
        picture: A `matplotlib.figure.Figure`, or an array of shape `(H, W, 3)` or `(H, W, 4)`:
            float in [0, 1] or uint8 in [0, 255].
        path: Path ending in `.png`, in a folder that exists.
        dpi: Float, dots per inch of a figure. For an array it is only noted in the file.
        upscale: Int. Every pixel of an array becomes a square of this side; a figure is drawn
            with as many times the dots per inch.

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


def _png(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
