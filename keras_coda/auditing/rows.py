"""The columns of an audit, and the rows of a batch of images: from arrays alone, without a network.

An audit of image files and a pipeline over an exported network write the same table, :data:`COLUMNS`. It has no column
of time, so that an audit that was interrupted has the rows of one that was not: the time stands in the metadata of each
file.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_coda.explanations.explanation import sigmoid
from keras_coda.utils.checks import require
from keras_coda.utils.hashing import digest
from keras_coda.utils.optional import import_optional
from keras_coda.version import __version__

REGIONS = 3  # boxes of a row, fewer where the map has no room for more
SIDES = 4  # a box has a quarter of the map's height and of its width
PACKAGES = ("keras", "numpy", "tensorflow", "jax")  # whose versions a row tells, if they are installed


@dataclasses.dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        type: of an entry: ``"string"``, ``"int32"``, ``"float32"`` or ``"float16"``.
        meaning: unit and meaning, for the documentation.
        lists: 0 for one entry in each row, 1 for a list of them, 2 for a list of lists.
    """

    type: str
    meaning: str
    lists: int = 0


COLUMNS: Mapping[str, Column] = {
    "image": Column("string", "path from the audited folder, with `/`; or another name of the image"),
    "image_hash": Column("string", "SHA-256 of the image file; without a file, a content hash of its pixels"),
    "model_hash": Column("string", "content hash of layers and weights, or of the exported network's files"),
    "preparation": Column("string", "JSON: how the file became pixels: size, channels, window of 16 bits, crop"),
    "versions": Column("string", "JSON: versions of Python and packages"),
    "error": Column("string", "why the image could not be read; then what follows is null"),
    "labels": Column("int32", "the true classes; null where they are unknown", 1),
    "logits": Column("float32", "one per class", 1),
    "probabilities": Column("float32", "sigmoids of the logits", 1),
    "calibrated_probabilities": Column("float32", "probabilities after calibration; null without one", 1),
    "predicted": Column("int32", "the class whose map is described: of the largest logit unless another was chosen"),
    "decision": Column("int32", "the classes decided for: those above their thresholds, else the predicted one", 1),
    "thresholds": Column("float32", "probability of each class from which on it is decided for; null: no threshold", 1),
    "evidence": Column("float32", "sum of the absolute contributions to the logit of `predicted`, logit units"),
    "positive_share": Column("float32", "share of the positive contributions in `evidence`, in [0, 1]"),
    "positive_area": Column(
        "float32",
        "share of the map over which the positive contributions are spread: (Σp)² / (N Σp²), 1 if they are equal at "
        "all N locations, 1/N if there is one alone",
    ),
    "map_size": Column("int32", "height and width of the map in locations, pixels unless maps are coarser", 1),
    "boxes": Column(
        "int32", "regions with most of the positive contributions, each x, y, width, height in locations of the map", 2
    ),
    "box_shares": Column("float32", "share of the positive contributions in each box", 1),
    "residual": Column("float32", "completeness error, |Σ contributions + constants - logit| / `evidence`"),
    "map_scale": Column("float32", "largest absolute contribution; null if the map is left out"),
    "map": Column("float16", "contributions divided by `map_scale`, row by row; null if it is left out", 1),
    "row_hash": Column("string", "content hash of the other columns"),
}  # fmt: skip


def schema():
    """Return the ``pyarrow.Schema`` of an audit.

    Raises:
        ImportError: if pyarrow is not installed.
    """
    pa = import_optional("pyarrow", extra="audit", purpose="An audit")

    def arrow_type(column):
        kind = getattr(pa, column.type)()
        for _ in range(column.lists):
            kind = pa.list_(kind)
        return kind

    return pa.schema([(name, arrow_type(column)) for name, column in COLUMNS.items()])


def make_rows(
    images: Sequence[str],
    *,
    logits,
    contributions,
    model_hash: str,
    image_hashes: Sequence[str] | None = None,
    pixels=None,
    predicted=None,
    bias: float = 0.0,
    offsets=None,
    thresholds: Sequence[float] | None = None,
    calibrated=None,
    labels: Sequence[Sequence[int] | None] | None = None,
    preparation: Mapping | None = None,
    package_versions: Mapping[str, str] | None = None,
    keep_maps: bool = False,
) -> list[dict[str, Any]]:
    """Return the rows of a batch, a dict by the names of :data:`COLUMNS` for each image.

    Args:
        images: name of each image, B of them.
        logits: ``(B, C)``.
        contributions: ``(B, H, W)``: the map of the class ``predicted`` of each image, logit units.
        model_hash: content hash of the network.
        image_hashes: content hash of each image; None: of ``pixels``.
        pixels: ``(B, H, W, c)``, used for the hashes alone.
        predicted: ``(B,)``, the classes of the maps; None: those of the largest logits.
        bias: the constant that belongs to each logit, beside the map.
        offsets: None, or ``(B,)``: what constants of inner layers add.
        thresholds: one probability for each class, from which on an image has it; None: an image has the one predicted
            class.
        calibrated: None, or ``(B, C)``: probabilities after calibration.
        labels: None, or the true classes of each image, None where they are unknown.
        preparation: how files became pixels, JSON-serializable.
        package_versions: None: those of this process, :func:`versions`.
        keep_maps: whether rows hold the maps, rounded to float16.

    Raises:
        ValueError: for arrays that do not fit each other or are not finite.

    Example:
        >>> rows = make_rows(["a.png"], logits=[[1.0, -2.0]], contributions=[[[0.75, 0.25]]], model_hash="0",
        ...                  image_hashes=["1"])
        >>> rows[0]["predicted"], rows[0]["positive_share"], rows[0]["residual"]
        (0, 1.0, 0.0)
    """
    logits, maps = np.asarray(logits, "float32"), np.asarray(contributions, "float32")
    count = len(images)
    fits = logits.ndim == 2 and maps.ndim == 3 and len(logits) == len(maps) == count and maps.size > 0
    rule = "There must be logits (B, C) and a map (H, W) for each of B images"
    require(fits, rule, images=count, logits=logits.shape, contributions=maps.shape)
    is_finite = np.isfinite(logits).all() and np.isfinite(maps).all()
    require(is_finite, "Logits and maps must be finite", first_image=images[0])
    require(image_hashes is not None or pixels is not None, "Images must have hashes or pixels", image_hashes=None)
    hashes = [digest(np.asarray(each)) for each in pixels] if image_hashes is None else list(image_hashes)
    chosen = logits.argmax(axis=1) if predicted is None else np.asarray(predicted).astype("int64")
    own = logits[np.arange(count), chosen].astype("float64")
    constants = np.zeros(count) + bias + (0 if offsets is None else np.asarray(offsets, "float64"))
    probabilities = sigmoid(logits)
    decided = np.arange(logits.shape[1]) == chosen[:, None]
    if thresholds is not None:
        decided = probabilities >= np.asarray(thresholds, "float32")
    statistics = _statistics(maps, own, constants)
    shared = {
        "model_hash": model_hash,
        "preparation": None if preparation is None else json.dumps(preparation, sort_keys=True),
        "versions": json.dumps(versions() if package_versions is None else dict(package_versions), sort_keys=True),
        "thresholds": None if thresholds is None else _floats(thresholds),
        "map_size": [*maps.shape[1:]],
    }
    rows = []
    for index, name in enumerate(images):
        row = dict.fromkeys(COLUMNS) | shared | {key: value[index] for key, value in statistics.items()}
        row |= {"image": text_of(name), "image_hash": hashes[index], "predicted": int(chosen[index])}
        row |= {"logits": _floats(logits[index]), "probabilities": _floats(probabilities[index])}
        row["decision"] = np.flatnonzero(decided[index]).tolist()
        if calibrated is not None:
            row["calibrated_probabilities"] = _floats(calibrated[index])
        if labels is not None and labels[index] is not None:
            row["labels"] = [int(label) for label in labels[index]]  # type: ignore[union-attr]
        if keep_maps:
            row |= _rounded(maps[index])
        rows.append(row | {"row_hash": row_hash(row)})
    return rows


def unreadable_row(
    image: str,
    error: str,
    *,
    model_hash: str,
    image_hash: str | None = None,
    labels: Sequence[int] | None = None,
    preparation: Mapping | None = None,
    package_versions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the row of an image that could not be read.

    Args:
        image: name of the image.
        error: the reason, for people.
        model_hash: content hash of the network.
        image_hash: content hash of the file; None if not even its bytes could be read.
        labels: the true classes, None where they are unknown.
        preparation: as for :func:`make_rows`.
        package_versions: as for :func:`make_rows`.
    """
    row = dict.fromkeys(COLUMNS) | {"image": text_of(image), "image_hash": image_hash, "model_hash": model_hash}
    row["error"] = text_of(" ".join(error.split()))
    row["labels"] = None if labels is None else [int(label) for label in labels]
    row["preparation"] = None if preparation is None else json.dumps(preparation, sort_keys=True)
    row["versions"] = json.dumps(versions() if package_versions is None else dict(package_versions), sort_keys=True)
    return row | {"row_hash": row_hash(row)}


def row_hash(row: Mapping[str, Any]) -> str:
    """Return the content hash of a row, 32 hexadecimal digits: of every column but ``row_hash`` itself.

    It is the same for a row of :func:`make_rows` and for that row after it was written and read.
    """
    found = hashlib.blake2b(digest_size=16)
    for name, column in COLUMNS.items():
        value = row.get(name)
        if name == "row_hash":
            continue
        if value is None:
            content, kind = b"", "null"
        elif column.type == "string":
            content, kind = value.encode(), "string"
        else:  # the lengths of inner lists belong to the content
            array = np.asarray(value, column.type)
            content, kind = array.tobytes(), f"{column.type} {array.shape}"
        found.update(f"{name} {kind} {len(content)} ".encode() + content)
    return found.hexdigest()


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of those that it computes with."""
    found = {"python": platform.python_version(), "keras_coda": __version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def text_of(name):
    """Return the name of a file as text, which it need not be, and which alone a table holds."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _statistics(maps, logits, constants) -> dict[str, list]:
    """Return the columns that describe maps ``(B, H, W)`` of classes with these ``logits`` (B,)."""
    exact = maps.astype("float64")
    positive = np.maximum(exact, 0)
    evidence, gained = np.abs(exact).sum(axis=(1, 2)), positive.sum(axis=(1, 2))
    squares = (positive**2).sum(axis=(1, 2)) * maps[0].size
    error = np.abs(exact.sum(axis=(1, 2)) + constants - logits)
    boxes, shares = _regions(positive, gained)
    return {
        "evidence": _floats(evidence),
        "positive_share": _floats(_ratio(gained, evidence)),
        "positive_area": _floats(_ratio(gained**2, squares)),
        "residual": _floats(_ratio(error, evidence)),
        "boxes": boxes,
        "box_shares": shares,
    }


def _regions(positive, total) -> tuple[list, list]:
    """Return for each map ``(B, H, W)`` the boxes with most in them, none over another, and the share of each."""
    batch, height, width = positive.shape
    tall, wide = max(round(height / SIDES), 1), max(round(width / SIDES), 1)
    sums = np.zeros((batch, height + 1, width + 1))
    sums[:, 1:, 1:] = positive.cumsum(axis=1).cumsum(axis=2)
    inside = sums[:, tall:, wide:] - sums[:, :-tall, wide:] - sums[:, tall:, :-wide] + sums[:, :-tall, :-wide]
    tops, lefts = np.arange(inside.shape[1])[:, None], np.arange(inside.shape[2])
    boxes: list[list] = [[] for _ in range(batch)]
    shares: list[list] = [[] for _ in range(batch)]
    for _ in range(REGIONS):
        best = inside.reshape(batch, -1).argmax(axis=1)
        for index, (top, left) in enumerate(zip(*np.unravel_index(best, inside.shape[1:]), strict=True)):
            held = inside[index, top, left]
            if held <= 0 or total[index] <= 0:  # nothing is left, or everything was taken
                continue
            boxes[index].append([int(left), int(top), wide, tall])
            shares[index].append(float(np.float32(min(held / total[index], 1.0))))
            inside[index][(np.abs(tops - top) < tall) & (np.abs(lefts - left) < wide)] = -1
    return boxes, shares


def _rounded(one_map) -> dict[str, Any]:
    """Return the columns of a stored map; it is divided by its largest value, so that float16 does not overflow."""
    scale = float(np.abs(one_map).max())
    shares = np.zeros_like(one_map) if scale == 0 else one_map / np.float32(scale)
    return {"map_scale": scale, "map": shares.astype("float16").ravel().tolist()}


def _ratio(numerator, denominator):
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)


def _floats(values) -> list[float]:
    """Return numbers as floats that float32 holds exactly: what a reader of the file finds."""
    return np.asarray(values, "float32").tolist()
