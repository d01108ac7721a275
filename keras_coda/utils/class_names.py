"""Classes given by name: the one way to find their indices, for explanations, the command line and pictures."""

import difflib
import math
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np


def as_text(name: str) -> str:
    """Return the name of a class or folder with bytes that are not UTF-8 escaped, so that all can write it."""
    return name.encode(errors="backslashreplace").decode()


def class_index(entry: str | int, names: Sequence[str] | None, count: float | None = None) -> int:
    """Return the index of a class that is given by its name or its index.

    A name that is equal comes first, then one that differs only by case or by how its accents are encoded, and then
    the index. An integer is always an index.

    Args:
        entry: name or index.
        names: one name per class, or None.
        count: number of classes; None if only the names are known, if these are.

    Raises:
        ValueError: if there is no such class, or several.
    """
    names = names or ()
    count = (len(names) or math.inf) if count is None else count
    for equal in (str, _plain) if isinstance(entry, str) else ():
        found = [index for index, name in enumerate(names) if equal(name) == equal(entry)]
        if len(found) > 1:
            shown = ", ".join(f"{names[index]!r} ({index})" for index in found[:10])
            raise ValueError(f"A name must fit one class. Received: {entry!r}, which fits {shown}. Give the index.")
        if found:
            return found[0]
    if isinstance(entry, str):
        is_index = entry.isascii() and entry.isdecimal()
    else:
        is_index = hasattr(entry, "__index__") and not isinstance(entry, bool)
    if is_index and 0 <= int(entry) < count:
        return int(entry)
    near = difflib.get_close_matches(_plain(str(entry)), [*map(_plain, names)])
    if near:
        hint = f"Did you mean {' or '.join(repr(name) for name in names if _plain(name) in near)}?"
    else:
        hint = f"Names: {', '.join(names[:20]) or 'none'}{', ...' * (len(names) > 20)}."
    raise ValueError(f"Classes are names, or indices in [0, {count - 1}]. Received: {entry!r}. {hint}")


def class_indices(entries: Iterable[str | int], names: Sequence[str] | None, count: float | None = None) -> list[int]:
    """Return the indices of classes, see :func:`class_index`."""
    return [class_index(entry, names, count) for entry in entries]


def replace_names(classes, names: Sequence[str] | None, count: float | None = None):
    """Return classes with an index in place of every name; what has no names in it is returned as it is.

    Args:
        classes: a name, or lists or arrays of any depth with names in them; or anything else.
        names: one name per class, or None.
        count: number of classes.
    """
    if isinstance(classes, np.ndarray) and classes.dtype.kind in "UO":
        classes = classes.tolist()
    if isinstance(classes, str):
        return class_index(classes, names, count)
    if isinstance(classes, (list, tuple)):
        return [replace_names(entry, names, count) for entry in classes]
    return classes


def _plain(name):
    return unicodedata.normalize("NFC", name).casefold()
