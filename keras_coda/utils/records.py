"""Dataclasses that are written to JSON files and read again."""

import dataclasses
import json
import math
import os
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import require
from keras_coda.utils.reading import read_json

_T = TypeVar("_T")


class Record:
    """Base of dataclasses whose fields are numbers, strings, None, arrays, tuples, dicts, and records.

    Arrays become lists, and NaN becomes null. When a file is read, a list becomes an array (null in it: NaN) if the
    field is annotated as ``np.ndarray``, and a tuple otherwise.

    Example:
        >>> @dataclasses.dataclass
        ... class Point(Record):
        ...     x: float
        >>> print(Point(math.nan).to_json())
        {"kind": "Point", "x": null}
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]  # every subclass is a dataclass
    json_key: ClassVar[str] = "kind"  # the key of the class's name in the file
    json_indent: ClassVar[int | None] = None

    def extra_json(self) -> dict:
        """Return what else to write to the file, for its readers; :meth:`from_json` ignores it."""
        return {}

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """Return all fields as JSON, and also write them to a file if ``path`` is given.

        The file appears whole or not at all; an existing one is replaced.
        """
        return to_json(self, path, indent=self.json_indent)

    @classmethod
    def from_json(cls, path: str | os.PathLike) -> Self:
        """Read a file that :meth:`to_json` wrote.

        Raises:
            ValueError: if the file holds something else.
            UnreadableFileError: a ``ValueError``, if it is no JSON.
        """
        contents = read_json(path)
        is_dict = isinstance(contents, dict)
        found = contents.get(cls.json_key) if is_dict else type(contents).__name__
        fields = dataclasses.fields(cls)
        missing = [field.name for field in fields if is_dict and field.name not in contents and _is_required(field)]
        is_right = is_dict and not missing and found == cls.__name__
        received = {"path": str(path), cls.json_key: found, **({"missing": missing} if missing else {})}
        require(is_right, f"The file must hold a {cls.__name__}", **received)
        return cls(**{field.name: _read(field, contents[field.name]) for field in fields if field.name in contents})


def from_fields(kind: type[_T], value: Any, name: str, form: str) -> _T | None:
    """Return a value of a dataclass, given as one or as its fields by name; None for None.

    Args:
        kind: the dataclass.
        value: what was given.
        name: of the argument, for the error.
        form: how its fields are written, for the error.

    Raises:
        ValueError: for anything else.
    """
    if value is None or isinstance(value, kind):
        return value
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    is_known = isinstance(value, dict) and set(value) == fields
    require(is_known, f"`{name}` must be {form} or None", **{name: value})
    return kind(**value)


def to_json(value, path: str | os.PathLike | None = None, *, indent: int | None = None) -> str:
    """Return a record, or a dict or sequence of records, as JSON; see :meth:`Record.to_json`."""
    text = json.dumps(_plain(value), indent=indent, allow_nan=False)
    if path is not None:
        with new_file(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    return text


def _is_required(field):
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _plain(value):
    """Return a value as what JSON knows."""
    if isinstance(value, Record):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {value.json_key: type(value).__name__, **_plain(value.extra_json()), **fields}
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _read(field, value):
    if not isinstance(value, list):
        return math.nan if value is None and field.type is float else value
    if field.type is not np.ndarray:
        return tuple(value)
    array = np.array(value)
    return array.astype("float64") if array.dtype == object else array  # null among numbers
