"""Reads state dicts of PyTorch networks: pickles, ``.npz`` and ``.safetensors`` files. No code of a file is run."""

import itertools
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_coda.utils.checks import require
from keras_coda.utils.errors import UnreadableFileError
from keras_coda.utils.optional import import_optional
from keras_coda.utils.reading import check_archive, read_npz

_MOST_HEADER = 10**8  # bytes: the limit of the format's own library
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
           "BOOL": "?", "BF16": "<u2"}  # fmt: skip


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of a file by key.

    Args:
        path: a ``.safetensors`` file, a ``.npz`` file, or a PyTorch pickle, whatever its name (needs PyTorch; read with
            ``weights_only=True``).

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if the file is a pickle and PyTorch is not installed.
        UnreadableFileError: a ``ValueError``, if the file cannot be read, or holds far more than its size.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"A checkpoint is a file. Received: path='{path}', which does not exist.")
    try:
        if path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
        return read_npz(path) if _holds_only_arrays(path) else _read_pickle(path)
    except (ImportError, UnreadableFileError):
        raise
    except Exception as error:  # PyTorch raises many types of errors for damaged files
        raise UnreadableFileError(
            "A checkpoint is a PyTorch state dict, or a .npz or .safetensors file of one. "
            f"Received: '{path}', which cannot be read, truncated perhaps ({type(error).__name__}: {error})"
        ) from error


def _holds_only_arrays(path: Path) -> bool:
    """Return whether a file is a .npz. PyTorch files are zip files, too, but have members other than .npy files."""
    if not zipfile.is_zipfile(path):
        return False
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    torch = import_optional(
        "torch",
        extra="torch",
        purpose="Reading a PyTorch checkpoint",
        package="PyTorch",
        alternative="convert the state dict to .npz on a machine that has PyTorch",
    )
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key, value in state.items():
        # A tensor may repeat one number as often as it likes.
        has_all = value.numel() * value.element_size() <= value.untyped_storage().nbytes()
        require(isinstance(key, str) and has_all, "A state dict holds whole tensors by name", key=key)
    return {key: value.detach().to(torch.float32).numpy() for key, value in state.items()}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read eight bytes with the length of a JSON text, that text, and the tensors, one behind the other."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        require(length <= _MOST_HEADER, f"The header must have at most {_MOST_HEADER} bytes", length=length)
        entries: dict[str, Any] = json.loads(file.read(length).decode())
        data = file.read()
    entries.pop("__metadata__", None)
    places = sorted([*entry["data_offsets"]] for entry in entries.values())
    ends = [0, *itertools.chain.from_iterable(places), len(data)]
    is_whole = all(stop == start for stop, start in zip(ends[::2], ends[1::2], strict=True))
    require(is_whole, "Tensors must lie one behind the other, up to the end of the file", bytes=len(data))
    return {key: _tensor(key, entry, data) for key, entry in entries.items()}


def _tensor(key: str, entry: dict, data: bytes) -> np.ndarray:
    shape, kind, (start, stop) = entry["shape"], entry["dtype"], entry["data_offsets"]
    require(kind in _DTYPES, f"A dtype must be one of {', '.join(_DTYPES)}", key=key, dtype=kind)
    is_shape = all(isinstance(size, int) and size >= 0 for size in shape)
    dtype, count = np.dtype(_DTYPES[kind]), math.prod(shape) if is_shape else -1
    fits = 0 <= start <= stop and count * dtype.itemsize == stop - start
    require(fits, "The size of a tensor must follow from its shape", key=key, shape=shape, bytes=stop - start)
    array = np.frombuffer(data, dtype, count, start)
    if kind == "BF16":  # the upper half of a float32
        array = (array.astype("<u4") << 16).view("<f4")
    return array.reshape(shape)
