"""Explanations of videos: each frame beside its map, for one class and with one color scale."""

import dataclasses
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from keras_coda.data.images import check_channels, fitting, to_pixels
from keras_coda.data.video import Frame, VideoSource, encoding, new_video
from keras_coda.explanations.compiled import compiled_explainer, default_batch_size
from keras_coda.explanations.explain import class_names_of, explain, preparation_of
from keras_coda.explanations.explanation import Explanation
from keras_coda.utils.atomic import check_writable
from keras_coda.utils.checks import check_finite, check_int, check_pair, require
from keras_coda.utils.class_names import class_index
from keras_coda.utils.errors import PixelRangeWarning
from keras_coda.utils.progress import Progress
from keras_coda.visualization.video import Panels

PERCENTILE = 99.5  # of |contribution| over all maps: end of the color scale
_EDGES = np.append(0.0, np.geomspace(1e-30, 1e39, 5400))  # of bins for |contribution|, each 3% wide
_BYTES = 2**28  # limit of the frames in memory


@dataclasses.dataclass(frozen=True)
class ExplainedVideo:
    """Facts about the video that :func:`explain_video` has written.

    Attributes:
        path: the video.
        num_frames: how many frames it has.
        seconds: time from the first frame to the last.
        label: index of the explained class.
        class_name: its name, or its index as text.
        share: share of the frames for which this class is predicted.
        limit: contribution at the end of the color scale, the same for all frames.
        residual: the largest completeness residual of all frames.
        seen: x, y, width and height of the part that the network saw, in pixels of the video.
        panels: positions of frame and map in the pictures.
        audio_dropped: whether the source has sound. The written video has none.
    """

    path: Path
    num_frames: int
    seconds: float
    label: int
    class_name: str
    share: float
    limit: float
    residual: float
    seen: tuple[int, int, int, int]
    panels: Panels
    audio_dropped: bool


def explain_video(
    model,
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    class_: str | int | None = None,
    region: tuple[int, int, int, int] | None = None,
    start: float = 0.0,
    end: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> ExplainedVideo:
    """Explain a video: write a video that shows each frame beside its contribution map.

    The video is read twice. The first pass finds the class, unless it is given, and the color scale, which ends at the
    99.5th percentile of ``|contribution|`` over all pixels of all maps of that class (with ``class_=None``, of the
    frames for which it is the prediction), to within 3%, and is the same for all frames, so that colors do not
    flicker. The second pass writes. At most ``batch_size`` frames are in memory, however long the video is.

    Frames keep their times, also where the frame rate varies; sound is dropped. They are shown as players show them:
    with square pixels, turned and mirrored. They are converted to the network's channels and size as image files are
    (:func:`keras_coda.explanations.explain_files`): a network of fixed size sees the middle of the frame, or of
    ``region``, cut to its proportions; one with a ``preparation`` what that leaves. The map covers only that part.

    Args:
        model: a trained model, as for :func:`keras_coda.explain`, for images of one or three channels.
        source: a video file that FFmpeg can read.
        out: video to write, in a folder that exists: ``.mp4`` or ``.mov`` (H.264), or ``.mkv`` (FFV1: large, and every
            pixel as it is). It appears whole or not at all.
        class_: name or index of the class to explain; None for the most frequent prediction (of equally frequent ones
            the first).
        region: x, y, width and height of the part that the network should see, in pixels of the video
            as it is shown; None for all.
        start: seconds, where to begin.
        end: seconds, where to end; None for the end of the video.
        image_size: side or height and width to which frames are resized, for a network of any size, in place of its
            ``preparation``; None to leave them as they are, which takes memory in proportion to their pixels.
        batch_size: frames explained at a time; None: chosen from the image size, at most 32.
        overwrite: whether to replace ``out`` if it exists.
        verbose: whether to show progress.

    Returns:
        An :class:`ExplainedVideo`.

    Raises:
        ImportError: without the extra ``video``.
        ValueError: for a source that is no video, is damaged or cut off, a span without frames, a region outside of
            the frame, an unknown class, another ending of ``out``, ``image_size`` for a network of fixed size, a model
            for other channels.
        FileExistsError: if ``out`` exists and ``overwrite`` is False, or if it is the source.
        FileNotFoundError: if the folder of ``out`` does not exist.

    Example::

        from keras_coda.explanations import explain_video

        explain_video(model, "street.mp4", "reasons.mp4", class_="bicycle", region=(200, 0, 640, 640), end=20)
    """
    decomposition = compiled_explainer(model).decomposition
    *size, channels = decomposition.input_shape
    check_channels(channels)
    names, num_classes = class_names_of(model), decomposition.num_classes
    label = None if class_ is None else class_index(class_, names, num_classes)
    start, end = check_finite("start", start), None if end is None else check_finite("end", end)
    require(start >= 0 and (end is None or end > start), "A span must begin at 0 s or later, and end after it began",
            start=start, end=end)  # fmt: skip
    if image_size is not None:
        require(None in size, f"This network's images are {size[1]}x{size[0]} pixels", "Leave `image_size` out",
                image_size=image_size)  # fmt: skip
        size = check_pair("image_size", image_size)
    preparation = preparation_of(model) if image_size is None else None
    if preparation is not None:
        size = preparation.crop, preparation.crop
    out = _check_out(out, source, overwrite)
    video = VideoSource(source)
    region = _check_region(region, video.size)
    seen = seen_part(region, size, preparation)
    if batch_size is None:
        batch_size = default_batch_size(*(seen[3:1:-1] if None in size else size))
        batch_size = min(batch_size, max(1, _BYTES // (3 * math.prod(video.size))))
    batch_size, fit = check_int("batch_size", batch_size), fitting(size, preparation)

    def explained(classes, total) -> Iterator[tuple[Explanation, list[Frame]]]:
        with Progress(total, "frame", show=verbose) as progress:  # the total of the first pass is an estimate
            for frames in _batches(video.frames(start, end), batch_size):
                images = np.stack([fit(_cut(frame.pixels, region, channels)) for frame in frames])
                yield _explain(model, images, classes), frames
                progress.add(len(images))

    say = print if verbose else lambda *_, **__: None
    say("First pass: " + ("which class, and " if label is None else "") + "which color scale")
    survey = Survey(num_classes)
    for explanation, _ in explained(label, video.count(start, end)):
        survey.add(explanation)
    if not survey.num_frames:
        where = f"start={start:g}" + ("" if end is None else f", end={end:g}")
        lasts = "" if video.duration is None else f" It lasts {video.duration:.2f} s."
        raise ValueError(f"The span must hold frames. Received: {where}, and none of '{source}'.{lasts}")
    label = survey.most_frequent() if label is None else label
    name = names[label] if names else str(label)
    limit, residual, seconds, first = survey.limit(label), 0.0, 0.0, None
    panels = Panels(video.size, seen, limit)
    say(f"Writing {out}: {name}, the prediction for {survey.share(label):.0%} of {survey.num_frames} frames")
    with new_video(out, panels.shape, video.time_base, video.rate) as add:
        for explanation, frames in explained(label, survey.num_frames):
            residual = max(residual, float(explanation.residual.max()))
            for index, frame in enumerate(frames):
                first = frame if first is None else first
                seconds = frame.time - first.time
                picture = panels.draw(frame.pixels, explanation.contributions[index, 0],
                                      _captions(explanation, index, frame, name, limit))  # fmt: skip
                add(picture, frame.ticks - first.ticks)
        if not overwrite and out.exists():
            raise FileExistsError(f"Results must not replace files. Received: '{out}', which was created meanwhile.")
    return ExplainedVideo(
        out, survey.num_frames, seconds, label, name, survey.share(label), limit, residual, seen, panels,
        video.has_audio,
    )  # fmt: skip


class Survey:
    """Statistics of the explanations of all frames, in a bounded amount of memory.

    Args:
        num_classes: int.
    """

    def __init__(self, num_classes):
        self._predicted, self._bins = np.zeros(num_classes, int), {}

    @property
    def num_frames(self) -> int:
        """Number of frames that were added."""
        return int(self._predicted.sum())

    def add(self, explanation) -> None:
        """Count the predictions and contributions of an explanation."""
        np.add.at(self._predicted, explanation.logits.argmax(axis=1), 1)
        labels = explanation.classes[:, 0]
        for label in np.unique(labels):
            count = np.histogram(np.abs(explanation.contributions[labels == label, 0]), _EDGES)[0]
            self._bins[label] = self._bins.get(label, 0) + count

    def most_frequent(self) -> int:
        """Return the most frequently predicted class, of equally frequent ones the first."""
        return int(self._predicted.argmax())

    def share(self, label: int) -> float:
        """Return the share of the frames for which a class is predicted."""
        return float(self._predicted[label] / self.num_frames)

    def limit(self, label: int) -> float:
        """Return the absolute contribution to a class at the percentile; never 0."""
        totals = np.cumsum(self._bins[label])
        place = int(np.searchsorted(totals, PERCENTILE / 100 * totals[-1]))
        place = place or int(np.flatnonzero(self._bins[label])[-1])  # if nearly all are 0, the largest one is taken
        return float(_EDGES[place + 1]) if place else 1.0


def _explain(model, images, label):
    """Explain the images for a class, or for the predicted one. Dark frames are no sign of a wrong pixel range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PixelRangeWarning)
        return explain(model, images, label, batch_size=len(images), verbose=False)


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    """Yield lists of ``size`` frames; each list is emptied before the next frames are read."""
    while batch := list(islice(frames, size)):
        yield batch
        batch.clear()


def _cut(pixels, region, channels):
    from PIL import Image

    x, y, width, height = region
    return to_pixels(Image.fromarray(np.ascontiguousarray(pixels[y : y + height, x : x + width])), channels)


def seen_part(region, size, preparation=None):
    """Return the part of a region that a network sees, as Keras' `Resizing` crops it.

    Args:
        region: x, y, width and height.
        size: height and width of the network's input, None for any.
        preparation: what makes images of that size instead, or None.

    Returns:
        x, y, width and height.
    """
    if None in size:
        return region
    x, y, width, height = region
    if preparation is not None:
        left, top, wide, high = preparation.seen(height, width)
        left, top, right, bottom = round(left), round(top), round(left + wide), round(top + high)
        return x + left, y + top, max(1, right - left), max(1, bottom - top)
    wide = max(1, min(width, int(np.float32(height * size[1]) / np.float32(size[0]))))
    high = max(1, min(height, int(np.float32(width * size[0]) / np.float32(size[1]))))
    return x + (width - wide) // 2, y + (height - high) // 2, wide, high


def _captions(explanation, index, frame, name, limit):
    predicted = int(explanation.logits[index].argmax())
    called = explanation.class_names[predicted] if explanation.class_names else str(predicted)
    logit, probability = explanation.explained_logits[index, 0], explanation.probabilities[index]
    explained = f"{logit:.2f}".replace("-", "−") + f" ({probability[explanation.classes[index, 0]]:.0%})"
    layer = "" if explanation.wrt is None else f" from layer {explanation.wrt} on"
    return (
        f"{frame.time:.2f} s · prediction {called} {probability[predicted]:.0%}",
        f"reasons for {name}{layer}: logit {explained} · colors to ±{limit:.2g}",
    )


def _check_region(region, size):
    """Return x, y, width and height as ints, or raise."""
    height, width = size
    if region is None:
        return 0, 0, width, height
    rule = "A region must be (x, y, width, height), four integers"
    require(isinstance(region, (tuple, list)) and len(region) == 4, rule, region=region)
    x, y, wide, high = (check_int("region", entry, low) for entry, low in zip(region, (0, 0, 1, 1), strict=True))
    if x + wide > width or y + high > height:
        raise ValueError(
            f"A region must lie within the frame, {width}x{height} pixels. Received: region={tuple(region)}, whose "
            f"lower right corner is ({x + wide}, {y + high})."
        )
    return x, y, wide, high


def _check_out(out, source, overwrite) -> Path:
    out, source = Path(out).expanduser(), Path(source).expanduser()
    encoding(out)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"The folder to write to must exist. Received: '{out}'. Create '{out.parent}'.")
    if out.exists():
        if source.exists() and out.samefile(source):
            raise FileExistsError(f"The result must not replace its source. Received: '{out}'. Choose another name.")
        if out.is_dir() or not overwrite:
            fix = "Choose another name." if out.is_dir() else "Choose another name, or replace it: --overwrite."
            raise FileExistsError(f"Results must not replace files. Received: '{out}'. {fix}")
    check_writable(out, "out")
    return out
