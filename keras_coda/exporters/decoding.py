"""The decoder of image files inside exported networks: TensorFlow operations that give the pixels of `read_image`.

Where TensorFlow would decode a kind of file to other pixels than :func:`keras_coda.data.images.read_image`, the file is
refused with an error that names the kind: a network never sees other pixels in serving than in training.
"""

import tensorflow as tf

from keras_coda.data.deep_pixels import TOP
from keras_coda.data.images import MAX_PIXELS, MAX_STEPS, SIGNATURES, TIFF, resizing
from keras_coda.data.preparation import Preparation
from keras_coda.exporters.preparing import prepare

_FIX = "Save it as JPEG, PNG, BMP (8, 24 or 32 bits) or GIF"


def decode(
    data,
    shape: tuple[int, int, int],
    window: tuple[float, float] | None = None,
    preparation: Preparation | None = None,
):
    """Decode a JPEG, PNG, BMP or GIF file (its first picture) in a graph, and fit it to the size of the network.

    Images of another size are scaled (bilinearly) to cover ``shape`` and cut to it about the center.

    Args:
        data: string tensor, scalar.
        shape: ``(height, width, channels)``, channels 1 or 3.
        window: see `read_image`.
        preparation: how images are brought to that shape instead, or None.

    Returns:
        float32 tensor of that shape, pixels in [0, 255].

    Raises:
        tf.errors.InvalidArgumentError: when the graph runs, for files of other kinds and damaged ones.
    """
    pixels = decode_pixels(data, shape[2], window)
    resized = resizing(shape[:2])(pixels[None])[0] if preparation is None else prepare(pixels, preparation)
    return tf.clip_by_value(tf.ensure_shape(resized, shape), 0.0, 255.0)


@tf.function(autograph=False)  # traced once for all networks that a process exports
def decode_pixels(data, channels: int, window: tuple[float, float] | None = None):
    """Decode a file to the pixels that `read_image` returns: ``(H, W, channels)`` float32.

    Args:
        data: string tensor, scalar.
        channels: 1 or 3.
        window: see `read_image`.
    """
    content = _Content(data)
    found = tf.stack([content.has(0, start) for start in SIGNATURES])
    decoders = {
        "JPEG": lambda: tf.cast(_decode_jpeg(content), tf.float32),
        "PNG": lambda: _decode_png(content, window),
        "BMP": lambda: tf.cast(_decode_bmp(content), tf.float32),
        "GIF": lambda: tf.cast(_decode_gif(content), tf.float32),
    }
    branches = [decoders[kind] for kind in SIGNATURES.values()]
    index = tf.where(tf.reduce_any(found), tf.argmax(found, output_type=tf.int32), len(branches))
    pixels = tf.switch_case(index, [*branches, lambda: _refuse_unknown(content)])
    pixels = tf.ensure_shape(pixels, (None, None, 3))
    if channels == 3:
        return pixels
    red, green, blue = tf.unstack(pixels, axis=-1)
    gray = 19595 * red + 38470 * green + 7471 * blue
    is_deep = content.is_deep_png()
    # Pillow's formula for 8 bits: float32 has all these integers. Values of 16 bits that are gray stay as they are.
    rounded, exact = tf.floor((gray + 0x8000) / 65536), tf.where(content.is_gray_png(), red, gray / 65536)
    return tf.where(is_deep, exact, rounded)[..., None]


class _Content:
    """The bytes of a file; what lies beyond its end reads as zeros."""

    def __init__(self, data):
        self.data = data
        self.size = tf.strings.length(data)
        self._bytes = tf.concat([tf.io.decode_raw(data, tf.uint8), tf.zeros(16, tf.uint8)], axis=0)

    def number(self, place, length, little=False):
        """Return the unsigned integer of ``length`` bytes at ``place``, int64; ``little`` may be a tensor."""
        places = tf.cast(place, tf.int64)[..., None] + tf.range(length, dtype=tf.int64)
        beyond = tf.cast(self.size, tf.int64) + 15
        values = tf.cast(tf.gather(self._bytes, tf.clip_by_value(places, 0, beyond)), tf.int64)
        values = tf.where(little, tf.reverse(values, [-1]), values)
        return tf.reduce_sum(values * [256 ** (length - 1 - i) for i in range(length)], axis=-1)

    def has(self, place, wanted: bytes):
        """Tell whether the bytes at ``place`` are these."""
        return tf.reduce_all(
            self.number(tf.cast(place, tf.int64) + tf.range(len(wanted), dtype=tf.int64), 1) == [*wanted]
        )

    def is_deep_png(self):
        """Tell whether this is a PNG with 16 bits per channel."""
        return self.has(0, b"\x89PNG") & self.has(12, b"IHDR") & (self.number(24, 1) == 16)

    def is_gray_png(self):
        """Tell whether this is, if it is a PNG, one without colors."""
        return (self.number(25, 1) == 0) | (self.number(25, 1) == 4)


def _refuse(fits, problem, *values):
    """Stop with ``problem`` unless ``fits``."""
    return tf.debugging.Assert(fits, [f"The image file cannot be served: {problem}. {_FIX}. Received:", *values])


def _refuse_unknown(content):
    is_webp = content.has(0, b"RIFF") & content.has(8, b"WEBP")
    is_tiff = tf.reduce_any([content.has(0, start) for start in TIFF])
    checks = [
        _refuse(~is_webp, "it is a WebP", content.size),
        _refuse(~is_tiff, "it is a TIFF", content.size),
        _refuse(is_webp | is_tiff, "it is no JPEG, PNG, BMP or GIF", content.size),
    ]
    with tf.control_dependencies(checks):
        return tf.zeros((1, 1, 3), tf.float32)


def _check_size(height, width):
    return _refuse(height * width <= MAX_PIXELS, f"it has more than {MAX_PIXELS} pixels", height, width)


def _decode_jpeg(content):
    exif, end, frame, adobe = _walk_jpeg(content)
    channels = content.number(frame + 9, 1)
    checks = [
        _refuse(frame > 0, "it is a JPEG without a picture", frame),
        _refuse(
            (channels == 1) | (channels == 3) | (channels == 4), "it is a JPEG of 2 or more than 4 channels", channels
        ),
        _refuse((channels != 4) | (adobe > 0), "it is a CMYK JPEG without the marker of Adobe", channels),
        _check_size(content.number(frame + 5, 2), content.number(frame + 7, 2)),
    ]
    with tf.control_dependencies(checks):
        pixels = tf.io.decode_jpeg(content.data, channels=3, dct_method="INTEGER_ACCURATE", fancy_upscaling=True)
    return _turned(pixels, _orientation(content, exif, end))


def _walk_jpeg(content):
    """Return where EXIF data begins and ends, and where the frame header and Adobe's marker are; 0 for none."""
    zero = tf.constant(0, tf.int64)

    def step(place, exif, end, frame, adobe, goes_on):
        marker, length = content.number(place + 1, 1), content.number(place + 2, 2)
        is_padding = (content.number(place, 1) != 0xFF) | (marker == 0xFF)
        has_no_length = (marker <= 0x01) | ((marker >= 0xD0) & (marker <= 0xD8))
        is_segment = ~is_padding & ~has_no_length
        goes_on = ~is_segment | ((marker != 0xDA) & (marker != 0xD9))
        is_segment &= goes_on
        is_exif = is_segment & (exif == 0) & (marker == 0xE1) & (length >= 8) & content.has(place + 4, b"Exif\0\0")
        is_frame = is_segment & (marker >= 0xC0) & (marker <= 0xCF)
        is_frame &= (marker != 0xC4) & (marker != 0xC8) & (marker != 0xCC)
        exif, end = tf.where(is_exif, place + 10, exif), tf.where(is_exif, place + 2 + length, end)
        frame = tf.where(is_frame & (frame == 0), place, frame)
        is_adobe = is_segment & (marker == 0xEE) & (length >= 14) & content.has(place + 4, b"Adobe")
        adobe = tf.where(is_adobe, place, adobe)
        place += tf.where(
            is_padding, tf.constant(1, tf.int64), tf.where(has_no_length, tf.constant(2, tf.int64), 2 + length)
        )
        return place, exif, end, frame, adobe, goes_on

    size = tf.cast(content.size, tf.int64)
    _, exif, end, frame, adobe, _ = tf.while_loop(
        lambda place, exif, end, frame, adobe, goes_on: goes_on & (place + 4 <= size),
        step,
        (zero + 2, zero, zero, zero, zero, tf.constant(True)),
        maximum_iterations=MAX_STEPS,
    )
    return exif, tf.minimum(end, size), frame, adobe


def _decode_png(content, window):
    low, high = (0.0, TOP) if window is None else window

    def deep():  # as `keras_coda.data.deep_pixels.to_pixels`
        values = tf.cast(tf.io.decode_png(content.data, channels=3, dtype=tf.uint16), tf.float32)
        return tf.clip_by_value((values - low) / ((high - low) / 255), 0.0, 255.0)

    def plain():
        return tf.cast(tf.io.decode_png(content.data, channels=3), tf.float32)

    exif, end = _walk_png(content)
    with tf.control_dependencies([_check_size(content.number(20, 4), content.number(16, 4))]):
        pixels = tf.cond(content.is_deep_png(), deep, plain)
    return _turned(pixels, _orientation(content, exif, end))


def _walk_png(content):
    """Return where EXIF data before the pixels begins and ends, (0, 0) for none."""
    zero, size = tf.constant(0, tf.int64), tf.cast(content.size, tf.int64)

    def step(place, exif, end):
        after = place + 8 + content.number(place, 4)
        is_exif = (exif == 0) & content.has(place + 4, b"eXIf")
        return after + 4, tf.where(is_exif, place + 8, exif), tf.where(is_exif, after, end)

    _, exif, end = tf.while_loop(
        lambda place, exif, end: (place + 12 <= size) & ~content.has(place + 4, b"IDAT"),
        step,
        (zero + 8, zero, zero),
        maximum_iterations=MAX_STEPS,
    )
    return exif, tf.minimum(end, size)


def _decode_bmp(content):
    header, bits = content.number(14, 4, little=True), content.number(28, 2, little=True)
    compression = content.number(30, 4, little=True)
    has_palette = bits == 8
    checks = [
        _refuse(header >= 40, "it is a BMP of OS/2", header),
        _refuse(compression == 0, "it is a compressed BMP", compression),
        _refuse(
            has_palette | (bits == 24) | (bits == 32), "it is a BMP of other bits per pixel than 8, 24 or 32", bits
        ),
    ]
    with tf.control_dependencies(checks):
        pixels = tf.io.decode_bmp(content.data)

    def look_up():
        """Replace palette indices by colors, stored as blue, green, red, zero."""
        count = content.number(46, 4, little=True)
        count = tf.where(count == 0, tf.constant(256, tf.int64), count)
        largest = tf.cast(tf.reduce_max(pixels), tf.int64)
        with tf.control_dependencies([_refuse(largest < count, "a color is not in its palette", largest)]):
            places = 14 + header + 4 * tf.cast(pixels[..., 0], tf.int64)
        return tf.cast(tf.stack([content.number(places + i, 1) for i in (2, 1, 0)], axis=-1), tf.uint8)

    return tf.cond(has_palette, look_up, lambda: pixels[..., :3])


def _decode_gif(content):
    height, width = content.number(8, 2, little=True), content.number(6, 2, little=True)
    is_known = content.has(0, b"GIF87a") | content.has(0, b"GIF89a")
    checks = [_check_size(height, width), _refuse(is_known, "it is a GIF of another version than 87a and 89a")]
    with tf.control_dependencies(checks):
        pixels = tf.io.decode_image(content.data, channels=3, expand_animations=False)
    # TensorFlow gives the result the size of the largest picture in the file, which may differ from the canvas.
    shape, picture = tf.shape(pixels, tf.int64), _find_gif_picture(content)
    right, bottom = (content.number(picture + i, 2, True) + content.number(picture + i + 4, 2, True) for i in (1, 3))
    is_large_enough = (shape[0] >= height) & (shape[1] >= width)
    is_inside = (shape[0] <= height) & (shape[1] <= width) & (right <= width) & (bottom <= height)
    checks = [
        _refuse(is_large_enough, "it is a GIF whose pictures are all smaller than the whole", shape, height, width),
        _refuse(is_inside | ~is_large_enough, "it is a GIF with a picture larger than the whole", shape, height, width),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(pixels)


def _find_gif_picture(content):
    """Return where the first picture begins: its left, top, width and height are two bytes each from the next byte."""
    flags, size = content.number(10, 1), tf.cast(content.size, tf.int64)
    colors = tf.where(flags >= 128, 2 ** (flags % 8 + 1), tf.constant(0, tf.int64))

    def step(place, in_extension):
        value = content.number(place, 1)
        begins = ~in_extension & (value == 0x21)  # an extension: a label, then blocks up to an empty one
        forward = tf.where(in_extension, value + 1, tf.where(begins, tf.constant(2, tf.int64), 1))
        return place + forward, begins | (in_extension & (value > 0))

    place, _ = tf.while_loop(
        lambda place, in_extension: (place < size) & (in_extension | (content.number(place, 1) != 0x2C)),
        step,
        (13 + 3 * colors, tf.constant(False)),
        maximum_iterations=MAX_STEPS,
    )
    return place


def _orientation(content, start, end):
    """Return the EXIF orientation, from 1 to 8; 1 where there is none. See `keras_coda.data.images`."""
    little = content.has(start, b"II*\0")
    known = (end - start >= 8) & (little | content.has(start, b"MM\0*"))
    entries = content.number(start + 4, 4, little)
    known &= entries + 2 <= end - start
    entries = tf.where(known, start + entries, tf.constant(0, tf.int64))
    count = tf.where(known, content.number(entries, 2, little), tf.constant(0, tf.int64))
    places = entries + 2 + 12 * tf.range(count)
    fits = (content.number(places, 2, little) == 0x0112) & (places + 12 <= end)
    place = entries + 2 + 12 * tf.argmax(tf.concat([fits, [True]], axis=0))  # the first one, else beyond the last
    value = content.number(place + 8, 2, little)
    is_valid = tf.reduce_any(fits) & (content.number(place + 2, 2, little) == 3)
    is_valid &= (content.number(place + 4, 4, little) == 1) & (value >= 1) & (value <= 8)
    return tf.where(is_valid, value, tf.constant(1, tf.int64))


def _turned(pixels, orientation):
    """Turn stored pixels upright, see `keras_coda.data.images.turned`."""
    pixels = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
    for axis, turns in ((1, (2, 3, 6, 7)), (0, (3, 4, 7, 8))):
        is_turned = tf.reduce_any(orientation == tf.constant(turns, tf.int64))
        pixels = tf.cond(is_turned, lambda axis=axis, p=pixels: tf.reverse(p, [axis]), lambda p=pixels: p)
    return pixels
