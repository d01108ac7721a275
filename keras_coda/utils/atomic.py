"""Folders and files that are either complete or not there at all, also when the process is killed."""

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows, where nothing is swept
    fcntl = None  # type: ignore[assignment]

# Temporary folders lie beside what they become, and are locked as long as their process lives.
_TEMPORARY = re.compile(r"(\.tmp-.*|keras-coda-explorer)-[0-9a-f]{12}", re.DOTALL)
# Those of version 0.1.0 had no lock.
_FORMER = re.compile(r"\.tmp-.*-[0-9a-f]{8}|\.[0-9a-f]{32}\.part|keras-coda-explorer-[a-z0-9_]{8}", re.DOTALL)
_LONG_AGO = 24 * 3600  # seconds
_PART_OF_NAME = 40  # characters; the names of files may have 255 bytes
_swept: set[Path] = set()


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary folder to fill, and rename it to ``path`` when the block ends without an error.

    Whoever watches the parent folder, for instance a model server, never sees an incomplete folder: until it is
    renamed its name begins with a dot. After an error nothing is left behind. What a killed process left in the parent
    folder is deleted.

    Args:
        path: the new folder; it must not exist. Missing parents are created.

    Raises:
        FileExistsError: if ``path`` exists.
        OSError: if it cannot be created.
    """
    path = Path(path).expanduser().resolve()
    refuse_existing(path)
    created = _make_parents(path.parent)
    try:
        with temporary_folder(path.parent, _hidden(path.name)) as temporary:
            yield temporary
            # Another process may have made `path` meanwhile, and POSIX rename silently replaces an empty folder.
            refuse_existing(path)
            temporary.rename(path)
    except BaseException:
        for folder in created:
            with contextlib.suppress(OSError):  # not empty: another process uses it
                folder.rmdir()
        raise


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to ``path`` when the block ends without an error.

    An existing file is replaced. After an error it is unchanged, and nothing else is left behind. What a killed process
    left in the folder is deleted.

    Raises:
        OSError: if the folder does not exist, or cannot be written to.
    """
    path = Path(path)
    with temporary_folder(path.parent, _hidden(path.name)) as folder:
        temporary = folder / path.name
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in ``parent``; delete it at the end if it is still there.

    Args:
        parent: it must exist. What a killed process left in it is deleted, once in a process.
        prefix: of the folder's name, one that :func:`sweep` knows.
    """
    if parent.absolute() not in _swept:
        _swept.add(parent.absolute())
        sweep(parent)
    folder, lock = _locked_folder(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def sweep(parent: Path) -> None:
    """Delete the temporary files and folders in ``parent`` whose processes have ended."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                lock, is_mine = _lock(entry.path)
                if is_mine:
                    shutil.rmtree(entry.path, ignore_errors=True)
                if lock is not None:
                    os.close(lock)
            elif _FORMER.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > _LONG_AGO:
                shutil.rmtree(entry.path, ignore_errors=True)
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def check_new(path: str | os.PathLike, what: str = "folder", argument: str = "path") -> Path:
    """Check, before work begins, that nothing is at a path and that a file or folder can be written there.

    Args:
        path: of the new file or folder. Parents that do not exist will be created.
        what: "file" or "folder", for the error.
        argument: name of the argument, for the error.

    Returns:
        The path, absolute.

    Raises:
        FileExistsError: if something is there.
        OSError: if nothing can be written there, or a name is too long.
    """
    path = Path(path).expanduser().resolve()
    refuse_existing(path, what, argument)
    check_writable(path, argument)
    return path


def check_writable(path: Path, argument: str = "path") -> None:
    """Check that a file or folder can be written to, or created where the parents do not exist either.

    Raises:
        OSError: if that is not so, or a name is too long.
    """
    places = (path, *path.absolute().parents)
    existing = next(place for place in places if os.path.lexists(place))
    if existing == path and not os.path.isdir(path):  # a file, which is replaced
        existing = path.absolute().parent
    rule = f"{argument} must lie in a folder that can be written to"
    if not os.path.isdir(existing):
        raise NotADirectoryError(f"{rule}. Received: '{path}', and '{existing}' is no folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"{rule}. Received: '{path}'. Choose another.")
    longest = os.pathconf(existing, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255  # bytes
    too_long = [part for part in path.parts if len(os.fsencode(part)) > longest]
    if too_long:
        raise OSError(
            f"A name may have {longest} bytes. Received: {argument}='{path}', of which one has "
            f"{len(os.fsencode(too_long[0]))}. Choose a shorter one."
        )


def refuse_existing(path: Path, what: str = "folder", argument: str = "path") -> None:
    """Raise ``FileExistsError`` if ``path`` exists: for functions that never replace files or folders."""
    if os.path.lexists(path):
        version = " (for TF Serving, the next version number)" if what == "folder" else ""
        raise FileExistsError(
            f"The {what} to write must not exist yet. Received: {argument}='{path}'. Choose another{version}, or "
            "delete it first."
        )


def _hidden(name):
    return f".tmp-{name[:_PART_OF_NAME]}"


def _locked_folder(parent, prefix):
    """Make a folder that no sweep deletes; return it and the open lock, None where there are no locks."""
    while True:
        folder = parent / f"{prefix}-{uuid.uuid4().hex[:12]}"
        folder.mkdir()
        lock, is_mine = _lock(folder)
        if is_mine or (lock is None and folder.is_dir()):
            return folder, lock
        if lock is not None:  # a sweep was faster, and deletes it
            os.close(lock)


def _lock(folder):
    """Return an open file and whether it locks the folder; None for the file where there are no locks."""
    if fcntl is None:
        return None, False
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return None, False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock, os.path.isdir(folder)
    except BlockingIOError:
        return lock, False
    except OSError:  # a file system without locks
        os.close(lock)
        return None, False


def _make_parents(parent: Path) -> list[Path]:
    """Create ``parent`` and its missing parents; return the new folders, innermost first."""
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    return missing
