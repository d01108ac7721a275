"""The rows of audits, and audits that somebody changed."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from keras_coda.auditing import COLUMNS, row_hash, schema
from keras_coda.auditing.writing import MANIFEST, ROWS, Manifest, manifest_of, read_rows


def rows_of(out: Path) -> list[dict]:
    """Return all rows of an audit, in the order of its files."""
    return [row for path in sorted((out / ROWS).glob("*.parquet")) for row in read_rows(path)]


def change(out: Path, edit: Callable[[int, list[dict]], Iterable[dict]], *, hashes: bool, manifest: bool) -> None:
    """Change the rows of an audit, and hide it as far as wanted.

    Args:
        out: the folder of the audit.
        edit: returns the new rows of a file, given its number and its rows.
        hashes: whether the hashes of the rows are made to fit.
        manifest: whether the manifest is made to fit.
    """
    before = Manifest.from_json(out / MANIFEST)
    paths = sorted((out / ROWS).glob("*.parquet"))
    for number, path in enumerate(paths):
        rows = [{**row, "row_hash": row_hash(row)} if hashes else row for row in edit(number, read_rows(path))]
        pq.write_table(pa.Table.from_pylist(rows, schema=schema()), path)
    if manifest:
        manifest_of(paths, before.arguments).to_json(out / MANIFEST)


def tampered(row: dict, number: int) -> tuple[dict, str]:
    """Return the row with one value changed, and the name of its column; another ``number`` chooses another column."""
    columns = [name for name in COLUMNS if row[name] is not None and name not in ("image", "versions", "row_hash")]
    name = columns[number % len(columns)]
    value, kind = row[name], COLUMNS[name]
    if kind.type == "string":
        return {**row, name: value[:-1] + ("0" if value[-1] != "0" else "1")}, name
    step = 1 if kind.type == "int32" else 0.01
    if kind.lists == 0:
        return {**row, name: value + step}, name
    if kind.lists == 2:
        return {**row, name: [[value[0][0] + 1, *value[0][1:]], *value[1:]]}, name
    return {**row, name: [*value[:-1], value[-1] + step]}, name
