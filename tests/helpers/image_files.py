"""Image files of all kinds, made of arrays."""

import io
import struct
import zlib

from PIL import Image


def file_of(image, kind, **options):
    """The bytes of an image of Pillow as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def orientation(number, order="<"):
    """EXIF data that says how to turn an image, in either byte order."""
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x0112] = "maker", number
    return exif


def png_of(pixels, bits=8, interlaced=False, chunks=(), size=None):
    """A PNG file of pixels (H, W, c), as Pillow cannot write it: 16 bits, interlaced, with a wrong size."""
    channels = pixels.shape[2]
    height, width = size or pixels.shape[:2]
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b""
    for x, y, right, down in passes if interlaced else ((0, 0, 1, 1),):
        part = pixels[y::down, x::right]
        if part.size:
            rows += b"".join(b"\0" + row.astype(">u2" if bits == 16 else "u1").tobytes() for row in part)
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlaced)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
