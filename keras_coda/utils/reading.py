"""JSON and ``.npz`` files that may be damaged, or made to do harm: read within bounds, with one type of error."""

import json
import os
import zipfile
from typing import Any

import numpy as np

from keras_coda.utils.errors import UnreadableFileError

_SMALL = 2**28  # bytes: archives that claim less are read whatever their own size
_RATIO = 100  # archives may hold so many times their own size; weights and maps hardly shrink, zeros to a thousandth


def read_json(path: str | os.PathLike, most: int | None = None) -> Any:
    """Return what a JSON file holds.

    Args:
        path: of the file.
        most: the largest file to read, in bytes; None for any.

    Raises:
        UnreadableFileError: if it is no JSON, nested too deeply, or too large.
        OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(-1 if most is None else most + 1)
    if most is not None and len(content) > most:
        raise UnreadableFileError(f"The file must have at most {most} bytes. Received: '{os.fspath(path)}'")
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(
            f"The file must be JSON, complete and in UTF-8. Received: '{os.fspath(path)}' "
            f"({type(error).__name__}: {error})"
        ) from error


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of a ``.npz`` file by name. Nothing of the file is executed.

    Raises:
        UnreadableFileError: if it is no such file, damaged, or holds far more than its size.
        OSError: if it cannot be opened.
    """
    check_archive(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:  # NumPy raises many types for damaged files
        raise _damaged(path, error) from error


def check_archive(path: str | os.PathLike) -> None:
    """Raise ``UnreadableFileError`` if a zip file is damaged, or would fill the memory when it is read."""
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())  # no more than that is ever read
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise _damaged(path, error) from error
    if claimed > max(_SMALL, _RATIO * size):
        raise UnreadableFileError(
            f"An archive of {size} bytes must hold at most {max(_SMALL, _RATIO * size)}. "
            f"Received: '{os.fspath(path)}', which holds {claimed}"
        )


def _damaged(path, error):
    return UnreadableFileError(
        f"An archive must be whole. Received: '{os.fspath(path)}', which cannot be read, cut off perhaps "
        f"({type(error).__name__}: {error})"
    )
