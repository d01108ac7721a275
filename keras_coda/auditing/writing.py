"""Audits of image files: one row for each image, in Parquet files that a killed audit goes on with."""

import dataclasses
import datetime
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_coda.auditing.recorder import AuditedImages, Recorder, hash_of_names, names_of_classes
from keras_coda.auditing.rows import schema, versions
from keras_coda.explanations.explain import class_names_of
from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import check_int
from keras_coda.utils.hashing import digest
from keras_coda.utils.optional import import_optional, require_installed
from keras_coda.utils.progress import Progress
from keras_coda.utils.records import Record
from keras_coda.utils.run_folder import RunFolder

ARGUMENTS, MANIFEST, ROWS = "audit.json", "manifest.json", "rows"
WRITTEN = b"keras_coda.written"  # key of the time in the metadata of a Parquet file


@dataclasses.dataclass(frozen=True)
class Manifest(Record):
    """What an audit consists of, so that nobody can remove rows unnoticed.

    Attributes:
        audit_hash: content hash of all rows. It does not depend on when, and in how many runs, they were written. Keep
            it elsewhere: who may write in the folder may also write another manifest.
        images: number of rows.
        unreadable: number of images among them that could not be read.
        shards: for each Parquet file its name (``file``), number of rows, hash of its rows, and SHA-256.
        arguments: the arguments of the audit.
        finished: time at which the manifest was written, UTC.
    """

    json_indent = 2

    audit_hash: str
    images: int
    unreadable: int
    shards: tuple[dict, ...]
    arguments: dict
    finished: str


def audit(
    model,
    data: str | os.PathLike,
    out: str | os.PathLike,
    *,
    keep_maps: bool = False,
    shard_size: int = 1000,
    batch_size: int = 32,
    max_side: int | None = None,
    verbose: bool = True,
) -> Manifest:
    """Write a row for each image of a folder: what the network decided, and why; see :data:`COLUMNS`.

    An audit that was killed goes on with the next call with the same arguments, and has the same rows. A finished
    one is left as it is. Memory does not grow with the number of images.

    Args:
        model: as for :func:`keras_coda.explain`, for images of one or three channels.
        data: a folder of images, at every depth; or a CSV file of labels as for :func:`keras_coda.data.load`. The label
            of an image of a folder is the innermost folder that is named like a class.
        out: folder for the audit: ``rows/part-00000-of-00005.parquet`` and so on, ``audit.json`` with the arguments,
            and at the end ``manifest.json``.
        keep_maps: whether rows hold the contribution maps, as float16.
        shard_size: rows of a Parquet file. A killed audit repeats at most the work of one.
        batch_size: images explained at a time, if the network has a fixed image size.
        max_side: see :func:`~keras_coda.explanations.explain_files`.
        verbose: whether to show a progress bar.

    Returns:
        The :class:`Manifest`.

    Raises:
        ValueError: for a folder without images, a model for other channels, and an audit in ``out`` that was begun with
            another network, other images, versions or arguments.
        ImportError: if pyarrow is not installed.
    """
    require_installed("pyarrow", extra="audit", purpose="An audit")
    out = Path(out).expanduser()
    images = AuditedImages.of(data, class_names_of(model), without=out)
    names = list(images.labels)
    size = check_int("shard_size", shard_size)
    options: dict[str, Any] = {"keep_maps": bool(keep_maps), "max_side": max_side}
    options["batch_size"] = check_int("batch_size", batch_size)
    recorder = Recorder(model, images, **options)
    facts: dict[str, Any] = {
        "model_hash": recorder.model_hash,
        "class_names": names_of_classes(model),
        "versions": versions(),
    }
    facts |= {"images": len(names), "names_hash": hash_of_names(names), "preparation": recorder.preparation}
    folder = RunFolder(out, {**facts, **options, "shard_size": size}, file=ARGUMENTS, what="audit")
    folder.begin()
    if (out / MANIFEST).exists():  # what was changed since is found by `verify_audit`, and must not become the truth
        return Manifest.from_json(out / MANIFEST)
    count = -(-len(names) // size)
    paths = [out / ROWS / f"part-{number:05}-of-{count:05}.parquet" for number in range(count)]
    (out / ROWS).mkdir(exist_ok=True)
    with Progress(len(names), "image", verbose) as progress:
        for number, path in enumerate(paths):
            chosen = names[number * size : (number + 1) * size]
            if path.exists():
                progress.add(len(chosen))
                continue
            write_shard(path, _counted(recorder.rows(chosen), progress))
    manifest = manifest_of(paths, folder.arguments)
    manifest.to_json(out / MANIFEST)
    return manifest


def write_shard(path: Path, batches: Iterator[list[dict]]) -> None:
    """Write rows to a Parquet file, which appears whole or not at all; the time is in its metadata."""
    pa = import_optional("pyarrow", extra="audit", purpose="An audit")
    pq = import_optional("pyarrow.parquet", extra="audit", purpose="An audit")
    plain = schema()
    found = [pa.RecordBatch.from_pylist(rows, schema=plain) for rows in batches]
    table = pa.Table.from_batches(found, schema=plain).replace_schema_metadata({WRITTEN: _now()})
    with new_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def manifest_of(paths: Sequence[Path], arguments: dict) -> Manifest:
    """Return the manifest of the Parquet files of an audit."""
    pq = import_optional("pyarrow.parquet", extra="audit", purpose="An audit")
    shards: list[dict[str, Any]] = []
    images = unreadable = 0
    for path in paths:
        table = pq.read_table(path, columns=["row_hash", "error"])
        hashes = table.column("row_hash").to_pylist()
        images, unreadable = images + len(table), unreadable + len(table) - table.column("error").null_count
        entry = {"file": path.name, "rows": len(table), "rows_hash": digest(*hashes), "sha256": hash_of_file(path)}
        shards.append(entry)
    whole = digest(*(shard["rows_hash"] for shard in shards))
    return Manifest(whole, images, unreadable, tuple(shards), arguments, _now())


def hash_of_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_rows(path: Path) -> list[dict]:
    """Return the rows of a Parquet file."""
    pq = import_optional("pyarrow.parquet", extra="audit", purpose="An audit")
    return pq.ParquetFile(path).read().to_pylist()


def _counted(batches, progress):
    for rows in batches:
        yield rows
        progress.add(len(rows))


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
