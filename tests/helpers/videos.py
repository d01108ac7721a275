"""Small synthetic videos, written and read with PyAV alone."""

from fractions import Fraction

import av
import keras
import numpy as np

from keras_coda import CoDANet

SIZE = 36, 52  # height and width of the frames
NAMES = ("ant", "bee", "cat")


def small_model():
    """A network, not trained, for 8x8 color images."""
    keras.utils.set_random_seed(0)
    return CoDANet(3, input_shape=(8, 8, 3), filters=(4, 3), ranks=2, temperature=1.0, class_names=NAMES)


def write_video(path, frames, ticks=None, unit=Fraction(1, 25), sound=False, aspect=None, **options):
    """Write a source, FFV1 where the ending is .mkv (every pixel as it is), otherwise H.264.

    ``aspect`` is width over height of one pixel.
    """
    codec, pixel_format = ("ffv1", "bgr0") if path.suffix == ".mkv" else ("libx264", "yuv420p")
    with av.open(str(path), "w", options=options.pop("container", {})) as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixel_format
        stream.time_base = stream.codec_context.time_base = unit
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        silence = container.add_stream("aac", rate=8000) if sound else None
        for tick, pixels in zip(range(len(frames)) if ticks is None else ticks, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = tick, unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "float32"), format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 8000, 0
            container.mux([*silence.encode(samples), *silence.encode()])
    return path


def set_display_matrix(path, a, b, c, d):
    """Make players show the pixel (x, y) of an .mp4 at (a x + c y, b x + d y), up to a shift."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    numbers = [round(number * (1 << 16)) for number in (a, b, 0, c, d, 0, 0, 0)]
    content[place : place + 36] = np.array([*numbers, 1 << 30], ">i4").tobytes()
    path.write_bytes(content)
    return path


def read_video(path):
    """All frames of a video, `(T, H, W, 3)`, and their times."""
    with av.open(str(path)) as container:
        frames = [(frame.to_ndarray(format="rgb24"), float(frame.time)) for frame in container.decode(video=0)]
    return np.stack([pixels for pixels, _ in frames]), np.array([time for _, time in frames])


def noise(count, size=SIZE, seed=0):
    """Frames of colored squares that codecs keep."""
    squares = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype="uint8")
    rows, columns = (np.arange(side) * 4 // side for side in size)
    return list(squares[:, rows][:, :, columns])
