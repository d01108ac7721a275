"""Image files with 16 bits per channel: their values without loss, and how these become pixels in [0, 255].

Pillow keeps the upper eight bits of colors. What it reads as the upper byte of a big-endian number is the lower byte of
a little-endian one: decoded twice, an image gives both.
"""

import io
import struct
import sys
import zlib

import numpy as np

TOP = 65535  # the largest value
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}  # byte orders; N is the machine's
_HEADER = slice(12, 29)  # of a PNG file: the kind of its first part, then height, width, bits and so on
_COMPRESSIONS = {1: "none", 5: "LZW", 8: "Deflate", 32773: "PackBits", 32946: "Deflate"}


def check_tiff(image) -> None:
    """Raise ``ValueError`` for TIFF files of which other programs may read other pixels: only plain ones are taken."""
    tags = image.tag_v2
    bits, extra = tuple(tags.get(258, (1,))), tuple(tags.get(338, ()))
    colors = {1: (1, 2), 2: (3, 4)}.get(tags.get(262), ())  # gray or RGB, without or with alpha
    checks = {
        "other colors than gray (0 is black) or RGB": len(bits) in colors,
        "other bits per channel than 8 or 16, unsigned": set(bits) in ({8}, {16}) and set(tags.get(339, (1,))) == {1},
        "alpha that is multiplied into the colors": 1 not in extra,
        "channels stored one after the other": tags.get(284, 1) == 1,
        "a compression with loss, or an unusual one": tags.get(259, 1) in _COMPRESSIONS,
        "an orientation": tags.get(274, 1) == 1,
        "reversed bits": tags.get(266, 1) == 1,
    }
    wrong = [problem for problem, fits in checks.items() if not fits]
    if wrong:
        raise ValueError(f"a TIFF file with {wrong[0]}")


def deep_values(image) -> np.ndarray | None:
    """Return the values of an open file of Pillow that is not decoded yet; only PNG and TIFF files can have 16 bits.

    Returns:
        ``(H, W, 1)`` or ``(H, W, 3)`` uint16, alpha dropped; None for a file with at most 8 bits per channel.
    """
    if image.format not in ("PNG", "TIFF"):
        return None
    modes = {tile[3] if isinstance(tile[3], str) else tile[3][0] for tile in image.tile}
    if not any(";16" in mode for mode in modes):
        return None
    if image.mode[0] == "I":
        return gray_values(image)
    data = image.fp.getvalue()
    if modes == {"LA;16B"}:
        return _gray_with_alpha(data)
    high = np.asarray(image)[..., :3].astype("uint16")
    again = _open(data, image.format)
    again.tile = [_with_mode(tile, _swapped) for tile in again.tile]
    return (high << 8) + np.asarray(again)[..., :3]


def gray_values(image) -> np.ndarray:
    """Return the values of a gray image of Pillow with 16 bits, ``(H, W, 1)`` uint16."""
    return np.asarray(image).astype("uint16")[..., None]


def to_pixels(values: np.ndarray, channels: int, window: tuple[float, float] | None = None) -> np.ndarray:
    """Return 16-bit values as pixels.

    Args:
        values: ``(H, W, 1)`` or ``(H, W, 3)`` uint16.
        channels: 1 for gray, 3 for RGB.
        window: ``(low, high)``, the values that become 0 and 255, those outside being cut off; None: 0 and 65535.

    Returns:
        ``(H, W, channels)`` float32 in [0, 255]. Without a window, every value has a pixel of its own.
    """
    low, high = (0.0, TOP) if window is None else window
    # The exporters' decoder has the same operations in the same order.
    pixels = (values.astype("float32") - np.float32(low)) / np.float32((high - low) / 255)
    pixels = np.clip(pixels, np.float32(0), np.float32(255))
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
    if pixels.shape[-1] == 3:
        red, green, blue = np.moveaxis(pixels, -1, 0)
        pixels = ((19595 * red + 38470 * green + 7471 * blue) / np.float32(65536))[..., None]
    return pixels


def reduced(pixels: np.ndarray, max_side: int) -> np.ndarray:
    """Scale float pixels down to a longer side of at most ``max_side``, as Pillow scales images of 8 bits."""
    from PIL import Image

    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(pixels, -1, 0)]
    for channel in channels:
        channel.thumbnail((max_side, max_side))
    return np.clip(np.stack([np.asarray(channel) for channel in channels], axis=-1), 0, 255)


def _gray_with_alpha(data):
    """Decode gray and alpha of 16 bits as four channels of 8 bits, which a PNG file stores in the same way."""
    kind, header = data[12:16], bytearray(data[_HEADER])
    if kind != b"IHDR":
        raise ValueError("a PNG file must begin with its header")
    header[12:14] = 8, 6  # bits, and the kind of colors
    checksum = struct.pack(">I", zlib.crc32(header))
    pairs = np.asarray(_open(data[:12] + header + checksum + data[33:], "PNG")).astype("uint16")
    return (pairs[..., :1] << 8) + pairs[..., 1:2]


def _open(data, format):
    from PIL import Image

    return Image.open(io.BytesIO(data), formats=(format,))


def _with_mode(tile, change):
    """Return what Pillow decodes, a tuple, with the layout of its bytes changed."""
    arguments = change(tile[3]) if isinstance(tile[3], str) else (change(tile[3][0]), *tile[3][1:])
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)


def _swapped(mode):
    return mode[:-1] + _SWAPPED[mode[-1]]
