"""The decoder of image files: the same pixels in training, explanations, the explorer and exported networks.

Exported networks decode files with TensorFlow's operations: :mod:`keras_coda.exporters.decoding`, which is tested to
return the pixels of :func:`read_image`.

Formats are recognized by the first bytes of a file, never by its name, and only these decoders of Pillow are used:
others start programs (PostScript) or have never been compared with TensorFlow's.
"""

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_coda.data import deep_pixels
from keras_coda.data.preparation import Preparation
from keras_coda.data.resizing import resize
from keras_coda.utils.checks import check_window
from keras_coda.utils.errors import UnreadableImageError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WebP", "TIFF")  # as messages name them
MAX_PIXELS = 178_956_970  # height times width; above, Pillow itself refuses a file as a decompression bomb
MAX_STEPS = 10_000  # from segment to segment of a JPEG, or from chunk to chunk of a PNG, before its pixels
SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"BM": "BMP", b"GIF8": "GIF"}  # first bytes
TIFF = (b"II*\0", b"MM\0*")  # likewise; exported networks cannot decode it
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of JPEG segments with height and width
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")  # images of Pillow with 8 bits
_ORIENTATION, _SHORT = 0x0112, 3  # EXIF: a tag and a type


def read_image(
    source: str | os.PathLike | bytes,
    channels: int,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    animated: bool = True,
    max_side: int | None = None,
    window: tuple[float, float] | None = None,
) -> np.ndarray:
    """Decode an image file: JPEG, PNG, BMP, GIF, WebP or TIFF.

    Images are turned upright as EXIF says (JPEG, PNG and WebP). An alpha channel is dropped. Transparent pixels of a
    GIF are black. Of files with several pictures the first one is read. Gray is
    ``(19595 R + 38470 G + 7471 B + 32768) // 65536``, for 16 bits per channel without rounding. Of TIFF files the plain
    ones are read: gray or RGB of 8 or 16 bits per channel, compressed without loss.

    Args:
        source: path of a file, or its content.
        channels: 1 for gray, 3 for RGB.
        name: how messages call the image; None for the path.
        max_pixels: largest number of pixels, height times width. The size is checked before pixels are decoded.
        animated: whether animations are accepted. A camera's JPEG with a second picture (MPO) is no animation.
        max_side: larger images are scaled down to this longer side, in pixels; None to leave them as they are.
        window: ``(low, high)``, the values of a file with 16 bits per channel (PNG, TIFF) that become the pixels 0 and
            255; values outside are cut off. None: 0 and 65535. Files with 8 bits are read as they are.

    Returns:
        ``(H, W, channels)`` uint8; float32 in [0, 255] for files with 16 bits per channel: no bit is lost.

    Raises:
        UnreadableImageError: if the file does not exist, is damaged, cut off, too large or of another format. The
            message has its name and the reason.

    Example:
        >>> from keras_coda.data.images import png, read_image
        >>> read_image(png(np.zeros((4, 6, 3), "uint8")), channels=1).shape
        (4, 6, 1)
    """
    window = check_window(window)
    with _opened(source, name, max_pixels, animated) as (image, orientation):
        values = deep_pixels.deep_values(image)
        if values is not None:
            pixels = deep_pixels.to_pixels(values, channels, window)
            return turned(pixels if max_side is None else deep_pixels.reduced(pixels, max_side), orientation)
        image = _decoded(image)
        if max_side is not None:
            image.thumbnail((max_side, max_side))
        return turned(to_pixels(image, channels), orientation)


def image_size(source: str | os.PathLike | bytes) -> tuple[int, int]:
    """Return height and width of an image file once it is turned upright; its pixels are not decoded.

    Args:
        source: path of a file, or its content.

    Raises:
        UnreadableImageError: if the header of the file cannot be read.
    """
    with _opened(source) as (image, orientation):
        return image.size if orientation >= 5 else image.size[::-1]


def check_image(path: str | os.PathLike) -> None:
    """Raise ``UnreadableImageError`` for a file that :func:`read_image` cannot read; for JPEG in half of its time."""
    with _opened(path) as (image, _):
        image.draft(None, (1, 1))  # of a JPEG an eighth of the size: that reads the whole file, but computes less
        _decoded(image)


def check_channels(channels: int) -> None:
    """Raise the ``ValueError`` for networks whose images have other channels than image files."""
    if channels not in (1, 3):
        raise ValueError(f"Image files have 1 or 3 channels. Received: a network for {channels}. Use `model.explain`.")


def to_pixels(image, channels: int) -> np.ndarray:
    """Return an image of Pillow as ``(H, W, channels)``, uint8: gray or RGB."""
    image = _rgb(image)  # also on the way to gray: palettes would be rounded in another way
    array = np.asarray(image.convert("L") if channels == 1 else image)
    return array.reshape(*array.shape[:2], channels)


def pillow_pixels(image, channels: int, window: tuple[float, float] | None = None) -> np.ndarray:
    """Return an image of Pillow turned upright, as EXIF says: ``(H, W, channels)`` uint8, of 16 bits float32.

    Pillow itself keeps eight bits of colors with 16: pass the path of such a file.

    Args:
        image: of Pillow.
        channels: 1 for gray, 3 for RGB.
        window: see :func:`read_image`.

    Raises:
        ValueError: for modes whose values need not lie between 0 and 255.
    """
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if image.mode not in _MODES and not is_16_bit:
        raise ValueError(
            f"An image of Pillow must have one of the modes {', '.join(_MODES)} or I;16. Received: mode "
            f"{image.mode!r}. Pass an array with values in [0, 255]."
        )
    if is_16_bit:
        pixels = deep_pixels.to_pixels(deep_pixels.gray_values(image), channels, window)
    else:
        pixels = to_pixels(image, channels)
    return turned(pixels, exif_orientation(image.info.get("exif", b"").removeprefix(b"Exif\0\0")))


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels ``(H, W, c)`` upright, for an EXIF orientation from 1 (nothing to do) to 8."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def fitting(size, preparation: Preparation | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that makes the float32 image that a network takes from pixels ``(H, W, c)``.

    Args:
        size: height and width of the network's input. If both are known, images are cut evenly on their longer side to
            the same proportions and then resized (bilinearly); otherwise they keep their size.
        preparation: what is done to images instead, or None.
    """
    if preparation is not None:
        return preparation
    if None in size:
        return lambda pixels: pixels.astype("float32")
    import keras

    if keras.backend.backend() != "tensorflow":
        return lambda pixels: resize(pixels, size)
    layer = resizing(size)
    return lambda pixels: np.asarray(layer(pixels.astype("float32")))


def resizing(size):
    """Return the Keras layer that all images are resized with: scaled to cover ``size``, and cut to it."""
    import keras

    options = {"crop_to_aspect_ratio": True, "data_format": "channels_last", "dtype": "float32"}
    return keras.layers.Resizing(*size, **options)


def png(pixels: np.ndarray) -> bytes:
    """Encode pixels ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``, uint8 or float in [0, 255], as a PNG file."""
    from PIL import Image

    pixels = np.rint(np.clip(pixels, 0, 255)).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def kind_of(data: bytes) -> str | None:
    """Return which of ``FORMATS`` the first bytes of a file announce, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith(TIFF):
        return "TIFF"
    return next((kind for start, kind in SIGNATURES.items() if data.startswith(start)), None)


@contextlib.contextmanager
def _opened(source, name=None, max_pixels=MAX_PIXELS, animated=True):
    """Yield an image of Pillow that is open but not decoded, and its orientation; name the image in errors."""
    from PIL import Image, UnidentifiedImageError

    is_content = isinstance(source, (bytes, bytearray, memoryview))
    name = name or ("bytes" if is_content else os.fspath(source))
    try:
        data = bytes(source) if is_content else Path(source).read_bytes()
        kind = kind_of(data)
        if kind is None:
            raise ValueError(f"no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file" if data else "an empty file")
        exif = {"JPEG": _jpeg_exif, "PNG": _png_exif}.get(kind, lambda data: b"")(data)
        image = Image.open(io.BytesIO(data), formats=(kind.upper(),))
        if image.width * image.height > max_pixels:
            raise UnreadableImageError(
                f"An image may have up to {max_pixels / 1e6:.0f} million pixels. Received: '{name}' with "
                f"{image.width}x{image.height}. Make it smaller."
            )
        # The second picture of a camera's JPEG (MPO) is a preview or the other eye's view.
        frames = 1 if animated or kind == "JPEG" else getattr(image, "n_frames", 1)
        if frames > 1:
            raise UnreadableImageError(
                f"An image must not be animated. Received: '{name}' with {frames} frames. Save one of them."
            )
        if kind == "GIF" and image.size != struct.unpack_from("<HH", data, 6):
            raise ValueError("the first picture of the GIF is larger than the whole")  # TensorFlow would cut it
        if kind == "WebP":
            exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
        if kind == "TIFF":
            deep_pixels.check_tiff(image)
        yield image, exif_orientation(exif)
    except UnreadableImageError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        if isinstance(error, UnidentifiedImageError):  # whose text has nothing but an address in memory
            reason = "its header is damaged"
        raise UnreadableImageError(
            f"An image must be readable. Received: '{name}' ({reason}). Save it again as PNG or JPEG."
        ) from error


def _decoded(image):
    """Decode the first picture of an open file; return it as RGB, or gray as it is if that has 16 bits."""
    from PIL import Image

    area = image.tile[0][1] if image.format == "GIF" and image.tile else None
    image.load()
    if image.mode[0] == "I":
        return image
    transparent = image.info.get("transparency")
    if area is None or (transparent is None and area == (0, 0, *image.size)):
        return _rgb(image)
    # TensorFlow begins a GIF with a black picture. Pillow takes colors of the palette.
    shown = np.zeros(image.size[::-1], bool)
    shown[area[1] : area[3], area[0] : area[2]] = True
    if transparent is not None:
        shown &= np.asarray(image) != transparent
    return Image.fromarray(np.where(shown[..., None], np.asarray(image.convert("RGB")), np.uint8(0)))


def _rgb(image):
    """Return an image of Pillow as RGB."""
    from PIL import Image

    if image.mode == "CMYK":  # as TensorFlow does it; Pillow rounds in another way
        rest = 255 - np.asarray(image, "uint16")
        return Image.fromarray((rest[..., :3] * rest[..., 3:] // 255).astype("uint8"))
    return image if image.mode == "RGB" else image.convert("RGB")


def exif_orientation(exif: bytes) -> int:
    """Return the orientation, from 1 to 8, that EXIF data, beginning with its TIFF header, has; 1 if it has none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    start = struct.unpack_from(f"{order}I", exif, 4)[0]
    if start + 2 > len(exif):
        return 1
    count = struct.unpack_from(f"{order}H", exif, start)[0]
    for place in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, number, value = struct.unpack_from(f"{order}HHIH", exif, place)
        if tag == _ORIENTATION:
            return value if kind == _SHORT and number == 1 and 1 <= value <= 8 else 1
    return 1


def _jpeg_exif(data):
    """Return the EXIF data of a JPEG file, b"" for none."""
    place, exif, has_frame = 2, None, False
    for _ in range(MAX_STEPS):
        if place + 4 > len(data):
            break
        marker = data[place + 1]
        if data[place] != 0xFF or marker == 0xFF:  # padding
            place += 1
            continue
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # without length
            place += 2
            continue
        if marker in (0xDA, 0xD9):  # pixels follow, or nothing
            break
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        content = data[place + 4 : place + 2 + length]
        if marker == 0xE1 and exif is None and content[:6] == b"Exif\0\0":
            exif = content[6:]
        has_frame |= marker in _FRAME_HEADERS
        place += 2 + length
    if not has_frame:
        raise ValueError("a JPEG file without a picture")
    return exif or b""


def _png_exif(data):
    """Return the EXIF data of a PNG file, b"" for none; raise if it is cut off or a checksum is wrong."""
    place, exif, has_pixels, kind = 8, None, False, b""
    while kind != b"IEND":
        if place + 12 > len(data):
            raise ValueError("the file is cut off")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            raise ValueError("the file is cut off")
        is_critical = not kind[0] & 32
        if is_critical and zlib.crc32(memoryview(data)[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError(f"the checksum of a part, {kind.decode('latin-1')}, is wrong")
        has_pixels |= kind == b"IDAT"
        if kind == b"eXIf" and exif is None and not has_pixels:
            exif = data[place + 8 : end]
        place = end + 4
    return exif or b""
