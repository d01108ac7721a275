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


def tiff_of(pixels, order="<", **tags):
    """A TIFF file of pixels (H, W, c), uint8 or uint16, not compressed; ``tags`` replace those of the file."""
    height, width, channels = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    values = {
        "width": (256, width), "height": (257, height), "bits": (258, bits), "compression": (259, 1),
        "colors": (262, 1 if channels < 3 else 2), "place": (273, 8), "orientation": (274, 1),
        "channels": (277, channels), "rows": (278, height),
        "size": (279, pixels.nbytes), "planes": (284, 1), "extra": (338, 2), "format": (339, 1),
    }  # fmt: skip
    values |= {name: (values[name][0], value) for name, value in tags.items()}
    if channels in (1, 3):
        del values["extra"]
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    several = 8 + len(data)  # where the bits and kinds of the channels are, if there are more than two
    directory = b""
    for name, (tag, value) in values.items():
        count = channels if name in ("bits", "format") else 1
        kind, form = (4, "I") if name in ("place", "size") else (3, "H")
        if count > 2:
            content = struct.pack(f"{order}I", several)
            several += 2 * count
        else:
            content = struct.pack(f"{order}{count}{form}", *[value] * count).ljust(4, b"\0")
        directory += struct.pack(f"{order}HHI", tag, kind, count) + content
    shared = b"".join(
        struct.pack(f"{order}{channels}H", *[values[name][1]] * channels) for name in ("bits", "format") if channels > 2
    )
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8 + len(data) + len(shared))
    return start + data + shared + struct.pack(f"{order}H", len(values)) + directory + bytes(4)
