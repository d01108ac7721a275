"""Folders and files that are either complete or not there at all, also when the process is killed."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary folder to fill, and rename it to ``path`` when the block ends without an error.

    Whoever watches the parent folder, for instance a model server, never sees an incomplete folder: until it is
    renamed its name begins with a dot. After an error nothing is left behind.

    Args:
        path: the new folder; it must not exist. Missing parents are created.

    Raises:
        FileExistsError: if ``path`` exists.
    """
    path = Path(path).expanduser().resolve()
    refuse_existing(path)
    created = _make_parents(path.parent)
    temporary = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir()
        yield temporary
        # Another process may have made `path` meanwhile, and POSIX rename silently replaces an empty folder.
        refuse_existing(path)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in created:
            with contextlib.suppress(OSError):  # not empty: another process uses it
                folder.rmdir()
        raise


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to ``path`` when the block ends without an error.

    An existing file is replaced. After an error it is unchanged, and nothing else is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(path: Path, what: str = "folder", argument: str = "path") -> None:
    """Raise ``FileExistsError`` if ``path`` exists: for functions that never replace files or folders."""
    if path.exists():
        version = " (for TF Serving, the next version number)" if what == "folder" else ""
        raise FileExistsError(
            f"The {what} to write must not exist yet. Received: {argument}='{path}'. Choose another{version}, or "
            "delete it first."
        )


def _make_parents(parent: Path) -> list[Path]:
    """Create ``parent`` and its missing parents; return the new folders, innermost first."""
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    return missing
