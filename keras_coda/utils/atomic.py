"""Folders and files that appear whole or not at all."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary folder to fill, and rename it to ``path`` once the block ends without an error.

    A reader that watches the parent folder (a model server, for one) never sees a half-written folder: until the
    rename its name begins with a dot. After an error nothing remains.

    Args:
        path: the folder to be; it must not exist. Missing parents are created.

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
        # POSIX rename replaces an empty folder silently; one that came up meanwhile is somebody else's.
        refuse_existing(path)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in created:
            with contextlib.suppress(OSError):  # no longer empty: somebody uses it by now
                folder.rmdir()
        raise


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to ``path`` once the block ends without an error.

    A file of that name is replaced; after an error it is as it was, and nothing else remains.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(path: Path, what: str = "folder", argument: str = "path") -> None:
    """Raise the ``FileExistsError`` that a function which never replaces anything ends with."""
    if path.exists():
        version = " (for TF Serving, the next version number)" if what == "folder" else ""
        raise FileExistsError(
            f"The {what} to write must not exist yet. Received: {argument}='{path}'. Choose another{version}, or "
            "delete it first."
        )


def _make_parents(parent: Path) -> list[Path]:
    """Create missing folders up to ``parent``; return those created, innermost first."""
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    return missing
