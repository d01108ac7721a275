"""Video files, read and written one frame at a time.

FFmpeg reads and writes them, through PyAV (the extra ``video``), whose wheels contain FFmpeg.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_coda.data.images import turned
from keras_coda.utils.atomic import new_file
from keras_coda.utils.optional import import_optional

# Ending of a file: container, codec, pixel format and options of the codec. FFV1 is lossless.
_H264 = ("libx264", "yuv420p", {"preset": "veryfast", "crf": "18"})
ENCODINGS = {".mp4": ("mp4", *_H264), ".mov": ("mov", *_H264), ".mkv": ("matroska", "ffv1", "bgr0", {})}
_BT709, _LIMITED_RANGE = 1, 1  # of H.273, written into the file so that players need not guess
_WIDEST_PIXEL = 16  # width over height, or height over width; wider ones are damage, and would fill the memory
_PATIENCE = 0.5  # seconds that a video may end before the time in its header


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        time: seconds since the video began.
        ticks: the same in units of the video's ``time_base``.
        length: seconds for which it is shown.
        pixels: ``(H, W, 3)`` uint8, RGB, as players show it: with square pixels, turned or mirrored.
    """

    time: float
    ticks: int
    length: float
    pixels: np.ndarray


class VideoSource:
    """A video file; it can be read several times.

    Args:
        path: a file that FFmpeg can read.

    Raises:
        ImportError: without the extra ``video``.
        ValueError: if the file does not exist, is no video, has no readable frame, or is to be shown turned by other
            than quarter turns.

    Attributes:
        path: the file.
        size: height and width of its frames, as players show them.
        rate: frames per second, on average.
        time_base: the unit of ``Frame.ticks`` in seconds.
        duration: seconds, None if the file does not say.
        has_audio: whether there is sound.
    """

    def __init__(self, path: str | os.PathLike):
        self._av = import_optional("av", extra="video", purpose="Reading and writing videos")
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            what = "which is a folder" if self.path.is_dir() else "which does not exist"
            raise ValueError(f"A video must be a file. Received: '{path}', {what}.")
        with self._open() as (container, stream):
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
            self.time_base = Fraction(stream.time_base or 1 / self.rate)
            self._origin = stream.start_time or 0
            self._pixel_aspect = self._check_pixel_aspect(stream.sample_aspect_ratio or Fraction(1))
            self.has_audio = bool(container.streams.audio)
            self.duration = None
            if stream.duration:
                self.duration = float(stream.duration * self.time_base)
            elif container.duration and len(container.streams) == 1:  # it is that of the longest stream
                self.duration = container.duration / self._av.time_base
        first = next(self._decode(0.0), None)
        if first is None:
            raise ValueError(f"A video must have frames. Received: '{self.path}', without.")
        self.size = first.pixels.shape[:2]

    def frames(self, start: float = 0.0, end: float | None = None) -> Iterator[Frame]:
        """Read the frames of a span of time; only one is in memory at a time.

        Args:
            start: seconds.
            end: seconds, None for the end of the video. A frame at exactly this time does not belong to the span.

        Yields:
            Each :class:`Frame`, ``time`` strictly increasing.

        Raises:
            ValueError: for a damaged or cut off video and for frames of another size, once they are reached.
        """
        last = covered = 0.0
        for frame in self._decode(start if self._can_seek(start) else 0.0):
            if end is not None and frame.time >= end:
                return
            if frame.pixels.shape[:2] != self.size:
                raise ValueError(
                    f"All frames must have one size, here {_shown(self.size)}. Received: "
                    f"{_shown(frame.pixels.shape[:2])} at {frame.time:.2f} s of '{self.path}'. End before."
                )
            last, covered = frame.time, frame.time + frame.length
            if frame.time >= start:
                yield frame
        if min(self.duration or 0.0, np.inf if end is None else end) > covered + _PATIENCE:
            self._refuse(f"after {last:.2f} of {self.duration:.2f} s there are no more frames", last)

    def count(self, start: float, end: float | None) -> int | None:
        """Return the approximate number of frames of a span, or None if it is unknown."""
        if self.duration is None:
            return None
        return max(1, round((min(self.duration, self.duration if end is None else end) - start) * self.rate))

    @contextlib.contextmanager
    def _open(self):
        try:
            container = self._av.open(str(self.path.resolve()))  # a path that begins with "/" is no address
        except (self._av.FFmpegError, OSError, UnicodeError) as error:
            raise ValueError(f"A video must be readable. Received: '{self.path}' ({_cause(error)}).") from error
        with container:
            stream = container.streams.best("video")
            if stream is None:
                raise ValueError(f"A video must have pictures. Received: '{self.path}', without.")
            stream.thread_type = "AUTO"
            yield container, stream

    def _decode(self, start):
        """Read all frames, beginning with the last key frame before ``start``."""
        ticks, step = None, max(1, round(1 / (self.rate * self.time_base)))
        with self._open() as (container, stream):
            try:
                if start > 0:
                    container.seek(self._origin + int(start / self.time_base), stream=stream)
                for frame in container.decode(stream):
                    now = frame.pts - self._origin if frame.pts is not None else 0 if ticks is None else ticks + step
                    ticks = now if ticks is None else max(now, ticks + 1)
                    pixels = with_square_pixels(frame.to_ndarray(format="rgb24"), self._pixel_aspect)
                    pixels = turned(pixels, self._orientation(frame))
                    length = max(frame.duration or 0, step) * self.time_base
                    yield Frame(float(ticks * self.time_base), ticks, float(length), pixels)
            except self._av.FFmpegError as error:
                self._refuse(_cause(error), 0.0 if ticks is None else float(ticks * self.time_base), error)

    def _check_pixel_aspect(self, aspect):
        """Return width over height of a pixel, or raise."""
        if not 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL:
            raise ValueError(
                f"Pixels of a video may be up to {_WIDEST_PIXEL} times as wide as high, or as high as wide. Received: "
                f"'{self.path}', with a ratio of {aspect}. Write it again with square pixels."
            )
        return aspect

    def _orientation(self, frame):
        """Return how players turn and mirror a frame, as an EXIF orientation."""
        data = frame.side_data.get(self._av.sidedata.sidedata.Type.DISPLAYMATRIX)
        if data is None:
            return 1
        # A pixel at (x, y) is shown at (a x + c y, b x + d y), up to a shift.
        a, b, _, c, d = np.frombuffer(bytes(data), "=i4").tolist()[:5]
        orientation = orientation_of(a, b, c, d)
        if orientation is None:
            raise ValueError(
                f"A video may be turned by quarter turns, and mirrored. Received: '{self.path}', to be shown turned by "
                f"{frame.rotation} degrees. Write it again as it is to be shown."
            )
        return orientation

    def _can_seek(self, start):
        """Return whether seeking to ``start`` leads to a frame that is not after it."""
        if start <= 0:
            return False
        with contextlib.suppress(ValueError):
            first = next(self._decode(start), None)
            return first is not None and first.time <= start
        return False

    def _refuse(self, cause, last, error=None):
        fix = f"Repair it, or end at {last + 0.01:.2f} s." if last > 0 else "Repair it."
        raise ValueError(f"A video must be whole. Received: '{self.path}' ({cause}). {fix}") from error


def with_square_pixels(pixels: np.ndarray, aspect: Fraction) -> np.ndarray:
    """Enlarge the width or the height of pixels ``(H, W, c)`` uint8, so that pixels of a ratio become square.

    Args:
        pixels: the frame as it is stored.
        aspect: width over height of one of its pixels.
    """
    if aspect == 1:
        return pixels
    from PIL import Image

    height, width = pixels.shape[:2]
    size = (width, max(1, round(height / aspect))) if aspect < 1 else (max(1, round(width * aspect)), height)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def orientation_of(a: float, b: float, c: float, d: float) -> int | None:
    """Return the EXIF orientation of the transformation ``(x, y) -> (a x + c y, b x + d y)``, y downwards.

    Returns:
        1 to 8; None if it is none of these, up to rounding and a scale. All zeros, which some devices write, are 1.
    """
    straight, crossed = (a, d), (b, c)
    is_crossed = max(map(abs, crossed)) > max(map(abs, straight))
    main, rest = (crossed, straight) if is_crossed else (straight, crossed)
    largest = max(map(abs, main))
    if largest == 0:
        return 1
    if max(map(abs, rest)) > 0.01 * largest or 0 in main:
        return None
    mirrors = (c < 0, b < 0) if is_crossed else (a < 0, d < 0)  # of columns, of rows
    return {(False, False): 1, (True, False): 2, (True, True): 3, (False, True): 4}[mirrors] + 4 * is_crossed


@contextlib.contextmanager
def new_video(
    path: str | os.PathLike, size: tuple[int, int], time_base: Fraction, rate: Fraction
) -> Iterator[Callable[[np.ndarray, int], None]]:
    """Yield a function that adds frames to a new video; the file appears when the block ends without an error.

    Args:
        path: file to write, completely or not at all; an existing file is replaced. Its ending chooses the format:
            ``.mp4`` and ``.mov`` are H.264, which all players know; ``.mkv`` is FFV1, which is lossless.
        size: height and width, even numbers for H.264.
        time_base: unit of ticks, in seconds.
        rate: frames per second, on average.

    Yields:
        ``add(pixels, ticks)``: pixels ``(H, W, 3)`` uint8, ticks increasing from 0.

    Raises:
        ImportError: without the extra ``video``.
        ValueError: if the ending of ``path`` is another one.
    """
    av = import_optional("av", extra="video", purpose="Reading and writing videos")
    container_format, codec, pixel_format, options = encoding(path)
    with new_file(path) as temporary, av.open(str(temporary.resolve()), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        stream.time_base = stream.codec_context.time_base = time_base
        colors = {}
        if codec != "ffv1":
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED_RANGE
            colors = {"dst_colorspace": _BT709, "dst_color_range": _LIMITED_RANGE}

        def add(pixels, ticks):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format=pixel_format, **colors)
            frame.pts, frame.time_base = ticks, time_base
            container.mux(stream.encode(frame))

        yield add
        container.mux(stream.encode())  # frames that the encoder still holds


def encoding(path: str | os.PathLike) -> tuple[str, str, str, dict[str, str]]:
    """Return container, codec, pixel format and options for a path; raise ``ValueError`` if its ending is unknown."""
    suffix = Path(path).suffix.lower()
    if suffix not in ENCODINGS:
        raise ValueError(
            f"A video to write must end in {', '.join(ENCODINGS)}. Received: '{path}'. Take .mp4 to look at it, .mkv "
            "to keep every pixel as it is."
        )
    return ENCODINGS[suffix]


def _cause(error):
    return getattr(error, "strerror", None) or str(error)


def _shown(size):
    return f"{size[1]}x{size[0]} pixels"
