"""Whether an audit is as it was written, and as the network and the images say: every changed row is found."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_coda.auditing.recorder import AuditedImages, Recorder
from keras_coda.auditing.rows import COLUMNS, row_hash, text_of
from keras_coda.auditing.writing import MANIFEST, ROWS, Manifest, hash_of_file, read_rows
from keras_coda.explanations.explain import class_names_of
from keras_coda.utils.checks import require, summary
from keras_coda.utils.hashing import digest
from keras_coda.utils.progress import Progress

HALF = 2e-3  # what float16 rounding may change in maps, in units of their largest value
_NOT_COMPARED = ("versions", "row_hash", "boxes", "map", "map_scale")  # the last three in ways of their own
_OF_THE_LOGIT = ("logits", "evidence", "map_scale")  # columns whose rounding grows with the contributions


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something in an audit that is not as it should be.

    Attributes:
        image: the row's image; None if a whole file is meant.
        file: the Parquet file; None if there is none.
        what: what was found, a sentence without its period.
    """

    image: str | None
    file: str | None
    what: str


def verify_audit(
    folder: str | os.PathLike,
    model,
    data: str | os.PathLike,
    *,
    audit_hash: str | None = None,
    tolerance: float = 1e-5,
    verbose: bool = True,
) -> list[Finding]:
    """Compute all rows of an audit again, and compare them with what is written there.

    Three things are compared, so that a change is found even if who made it also changed hashes: files and rows with
    the hashes of the manifest; rows with their own hashes; and rows with what the network says about the images now.

    Args:
        folder: the audit.
        model: the network that it was made with.
        data: the images that it was made of.
        audit_hash: the hash that the audit printed, if it was kept elsewhere; None: it is not compared.
        tolerance: largest difference of numbers: of probabilities and shares as such, of logits relative to the sum of
            the absolute contributions, if that is above 1. Other machines round in other ways.
        verbose: whether to show a progress bar.

    Returns:
        What was found, in the order of the files; an empty list if the audit is as it was written. Rows of another
        network are not compared one by one.

    Raises:
        ValueError: if the folder holds no finished audit.
    """
    folder = Path(folder).expanduser()
    rule, fix = "The folder must hold a finished audit", "Run `keras-coda audit` to its end"
    require((folder / MANIFEST).is_file(), rule, fix, folder=str(folder), missing=MANIFEST)
    manifest = Manifest.from_json(folder / MANIFEST)
    images = AuditedImages.of(data, class_names_of(model), without=folder)
    options: dict[str, Any] = {name: manifest.arguments.get(name) for name in ("max_side", "batch_size")}
    options["batch_size"] = options["batch_size"] or 1
    recorder = Recorder(model, images, exact_maps=True, **options)
    findings = list(_files(folder, manifest, audit_hash))
    if manifest.arguments.get("model_hash") != recorder.model_hash:
        recorded = manifest.arguments.get("model_hash")
        text = f"the network has the hash {recorder.model_hash}, that of the audit {recorded}"
        return [Finding(None, MANIFEST, text), *findings]
    known = {text_of(name): name for name in images.labels}
    seen: set[str] = set()
    paths = sorted((folder / ROWS).glob("*.parquet"))
    with Progress(manifest.images, "image", verbose) as progress:
        for path in paths:
            try:
                rows = read_rows(path)
            except Exception as error:  # pyarrow raises many types for damaged files
                findings.append(Finding(None, path.name, f"the file cannot be read ({summary(error)})"))
                continue
            findings += _rows(path.name, rows, known, seen, recorder, manifest, tolerance)
            progress.add(len(rows))
    missing = [name for name in known if name not in seen]
    return findings + [Finding(name, None, "there is no row for this image") for name in missing]


def _files(folder, manifest, audit_hash):
    """Yield what is wrong with the manifest and with whole files."""
    hashes = [shard["rows_hash"] for shard in manifest.shards]
    if digest(*hashes) != manifest.audit_hash:
        yield Finding(None, MANIFEST, "the manifest was changed: its hashes do not belong together")
    if audit_hash is not None and audit_hash != manifest.audit_hash:
        yield Finding(None, MANIFEST, f"the hash of the audit is {manifest.audit_hash}, not {audit_hash}")
    listed = {shard["file"]: shard for shard in manifest.shards}
    for name in sorted(listed.keys() | {path.name for path in (folder / ROWS).glob("*.parquet")}):
        if name not in listed:
            yield Finding(None, name, "the file is not in the manifest")
        elif not (folder / ROWS / name).is_file():
            yield Finding(None, name, f"the file with {listed[name]['rows']} rows is missing")
        elif hash_of_file(folder / ROWS / name) != listed[name]["sha256"]:
            yield Finding(None, name, "the file was changed: it has another SHA-256 than in the manifest")


def _rows(file, rows, known, seen, recorder, manifest, tolerance):
    """Yield what is wrong with the rows of one file; add their images to ``seen``."""
    fresh = []
    for row in rows:
        if row["image"] in seen or row["image"] is None:
            yield Finding(row["image"], file, "there is another row for this image")
        elif row["image"] not in known:
            yield Finding(row["image"], file, "there is no such image")
        else:
            fresh.append(row)
        seen.add(row["image"])
    expected = (row for batch in recorder.rows([known[row["image"]] for row in fresh]) for row in batch)
    for row, own in zip(fresh, expected, strict=True):
        columns = ["row_hash"] if row["row_hash"] != row_hash(row) else []
        if row["image_hash"] != own["image_hash"]:
            yield Finding(row["image"], file, "the image is another one than that of the row: image_hash")
            continue
        columns += differences(row, own, tolerance, has_map=bool(manifest.arguments.get("keep_maps")))
        if columns:
            yield Finding(row["image"], file, f"the row was changed: {', '.join(columns)}")


def differences(row: Mapping[str, Any], own: Mapping[str, Any], tolerance: float, has_map: bool) -> list[str]:
    """Return the names of the columns in which a row differs from the one that was computed now.

    Args:
        row: as it was recorded.
        own: as it was computed, with ``exact_map`` unless the image could not be read.
        tolerance: see :func:`verify_audit`.
        has_map: whether the audit holds maps.
    """
    scale, exact = max(1.0, own["evidence"] or 0.0), own.get("exact_map")
    changed = []
    for name, column in COLUMNS.items():
        if name in _NOT_COMPARED:
            continue
        limit = tolerance * (scale if name in _OF_THE_LOGIT else 1.0)
        if not (_near(row[name], own[name], limit) if column.type == "float32" else row[name] == own[name]):
            changed.append(name)
    if exact is None or not has_map:
        changed += [name for name in ("map", "map_scale") if row[name] is not None]
    else:
        largest = float(np.abs(exact).max())
        shares = exact.ravel() / (largest or 1.0)
        changed += [] if _near(row["map_scale"], largest, tolerance * scale) else ["map_scale"]
        changed += [] if _near(row["map"], shares, HALF) else ["map"]
    if row["boxes"] != own["boxes"] and not _equally_good(row, own, tolerance):
        changed.append("boxes")
    return changed


def _near(value, own, limit):
    if value is None or own is None:
        return value is own
    return np.shape(value) == np.shape(own) and bool(np.all(np.abs(np.subtract(value, own)) <= limit))  # False for NaN


def _equally_good(row, own, tolerance) -> bool:
    """Return whether other boxes hold as much: rounding decides among equal ones, as in images of one color."""
    if None in (row["boxes"], own["boxes"], row["box_shares"]) or len(row["boxes"]) != len(own["boxes"]):
        return False
    height, width = own["map_size"]
    if any(box[2:] != own["boxes"][0][2:] for box in row["boxes"]):
        return False
    if any(not (0 <= x <= width - wide and 0 <= y <= height - tall) for x, y, wide, tall in row["boxes"]):
        return False
    positive = np.maximum(own["exact_map"].astype("float64"), 0)
    held = [positive[y : y + tall, x : x + wide].sum() for x, y, wide, tall in row["boxes"]]
    return _near(np.divide(held, max(positive.sum(), 1e-30)), row["box_shares"], tolerance)


def short_list(findings: Sequence[Finding], most: int = 20) -> str:
    """Return findings as lines of text, the first of many."""
    lines = [": ".join(filter(None, (each.file, each.image, each.what))) for each in findings[:most]]
    return "\n".join([*lines, *([f"and {len(findings) - most} more"] if len(findings) > most else [])])
