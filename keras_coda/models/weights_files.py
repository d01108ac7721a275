"""Weights files of Keras (``.weights.h5``): what they claim, checked before a network is built for them."""

import contextlib
import math
import os
import zipfile
from pathlib import Path

import h5py

from keras_coda.utils.errors import UnreadableFileError

_IN_KERAS_FILE = "model.weights.h5"
_KINDS = "fiuV"  # floats, counters of random numbers, and bfloat16, which HDF5 does not know


def array_shapes(path: str | os.PathLike) -> list[tuple[int, ...]]:
    """Return the shapes of all arrays in a weights file, or in the one inside of a ``.keras`` file.

    Raises:
        UnreadableFileError: if the file is damaged, or an array is not in the file as Keras writes it: it may be a link
            to another file, or a few bytes that claim to be terabytes.
    """
    try:
        with _opened(path) as (source, size), h5py.File(source, "r") as file:
            arrays = _arrays(file)
            shapes = [tuple(array.shape) for array in arrays]
            claimed = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)
    except Exception as error:  # HDF5 raises many types for damaged files
        reason = error if isinstance(error, _NotInFileError) else f"{type(error).__name__}: {error}"
        raise _unreadable(path, reason) from error
    if claimed > size:
        raise _unreadable(path, f"its arrays have {claimed} bytes, more than the file")
    return shapes


class _NotInFileError(Exception):
    """An array is not in the file."""


@contextlib.contextmanager
def _opened(path):
    """Yield what `h5py` can open, and its size."""
    if not zipfile.is_zipfile(path):
        yield path, Path(path).stat().st_size
        return
    with zipfile.ZipFile(path) as archive, archive.open(_IN_KERAS_FILE) as file:
        yield file, archive.getinfo(_IN_KERAS_FILE).file_size


def _arrays(file):
    found, groups = [], [file]
    while groups:
        group = groups.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _NotInFileError(f"'{group.name}/{name}' is a link")
            item = group[name]
            if h5py.h5o.get_info(item.id).rc != 1:  # a group that holds itself has no end
                raise _NotInFileError(f"'{item.name}' has several names")
            if isinstance(item, h5py.Group):
                groups.append(item)
                continue
            is_plain = item.dtype.kind in _KINDS and item.external is None and not item.is_virtual
            if not is_plain or item.id.get_storage_size() < math.prod(item.shape) * item.dtype.itemsize:
                raise _NotInFileError(f"'{item.name}' has its numbers elsewhere, or none")
            found.append(item)
    return found


def _unreadable(path, reason):
    return UnreadableFileError(
        f"The weights must be as `save_weights` writes them. Received: '{os.fspath(path)}' ({reason})"
    )
