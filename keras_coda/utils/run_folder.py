"""The folder of a run that can be interrupted: it is resumed only with the arguments that it began with."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from keras_coda.utils.atomic import check_writable, new_file
from keras_coda.utils.errors import UnreadableFileError
from keras_coda.utils.reading import read_json


class RunFolder:
    """A folder with a JSON file of the arguments of the run (a training, search, study or comparison) in it.

    The folder is checked when the object is made, and nothing is written before :meth:`begin`.

    Args:
        path: the folder; it need not exist.
        arguments: the settings that identify the run, JSON-serializable (NumPy scalars become floats).
        file: name of the JSON file.
        what: the kind of run in error messages, for instance ``"training"``.
        leaves: names of the files and folders that such a run writes beside ``file``. Without ``file`` they belong to
            something else. None: every file in the folder does.
        restart: True to delete an earlier run at :meth:`begin`, whatever its arguments; False to resume it; None for
            runs that have no such option, which error messages then do not mention.
        additive: name of an argument, a dict, that may get more entries when the run is resumed. Entries that only
            the earlier call had are kept.
        upgrade: turns the arguments that an earlier version of this package recorded into those of this version.
        fix: a sentence, without its period, that the error about other arguments ends with.

    Attributes:
        path: the folder, ``~`` expanded.
        arguments: the arguments as they are in the file, or will be after :meth:`begin`.
        is_begun: whether the folder holds this run already (False with ``restart``).

    Raises:
        OSError: if a new run cannot be written there.
        ValueError: if the folder holds something else, or a run with other arguments.

    Example:
        >>> import tempfile
        >>> folder = RunFolder(tempfile.mkdtemp(), {"epochs": 5}, file="run.json", what="training")
        >>> folder.is_begun
        False
        >>> folder.begin()
        >>> RunFolder(folder.path, {"epochs": 5}, file="run.json", what="training").is_begun
        True
    """

    def __init__(
        self,
        path: str | os.PathLike,
        arguments: Mapping,
        *,
        file: str,
        what: str,
        leaves: Sequence[str] | None = None,
        restart: bool | None = None,
        additive: str | None = None,
        upgrade: Callable[[dict], dict] | None = None,
        fix: str = "",
    ):
        self.path = Path(path).expanduser()
        self._now = json.loads(json.dumps(arguments, default=float))
        self._file, self._what, self._leaves = self.path / file, what, leaves
        self._restart, self._additive, self._upgrade = restart, additive, upgrade
        self._fix = f" {fix}." if fix else ""
        found = self._found()  # before the file is looked for: another process may begin the same run meanwhile
        if found and not self._file.exists():
            state = "new" if leaves is not None else "new, empty"
            raise ValueError(
                f"The folder must be {state} or hold a {what}. Received: out='{self.path}', with {found[:10]} but "
                f"without '{file}'. Choose another folder."
            )
        self.is_begun = self._file.exists() and not restart
        if not self.is_begun:  # a finished run may be read where nothing can be written
            check_writable(self.path, "out")
        self.arguments = self._merged()

    def begin(self) -> None:
        """Create the folder and write the arguments to it; with ``restart``, first delete the run that is there.

        Raises:
            OSError: if the folder cannot be written to.
            ValueError: if another process has begun a run with other arguments meanwhile.
        """
        check_writable(self.path, "out")
        if self._restart:
            for name in self._leaves or self._found():
                _remove(self.path / name)
            _remove(self._file)  # last, because it marks the folder as one of such a run
            self._restart = False
        self.arguments = self._merged()
        if self._recorded() != self.arguments:
            self.path.mkdir(parents=True, exist_ok=True)
            with new_file(self._file) as temporary:
                temporary.write_text(json.dumps(self.arguments, indent=2) + "\n", encoding="utf-8")
        self.is_begun = True

    def _found(self):
        """Return the names of what lies beside the file of arguments; hidden and half-written files excepted."""
        if self.path.exists() and not self.path.is_dir():
            return [self.path.name]
        if self._leaves is not None:
            return [name for name in self._leaves if (self.path / name).exists()]
        names = sorted(path.name for path in self.path.iterdir()) if self.path.exists() else []
        return [name for name in names if name != self._file.name and name[0] != "."]

    def _recorded(self):
        if self._restart or not self._file.exists():
            return None
        recorded = read_json(self._file)
        if not isinstance(recorded, dict):
            raise UnreadableFileError(f"The arguments of a {self._what} must be an object. Received: '{self._file}'")
        return self._upgrade(recorded) if self._upgrade else recorded

    def _merged(self):
        """Return the arguments with what an earlier call added, or raise ``ValueError`` if they differ from it."""
        before, now = self._recorded(), self._now
        if before is None:
            return now
        comparable = now
        if self._additive:
            old, new = before.get(self._additive, {}), now[self._additive]
            comparable = {**now, self._additive: old | {key: new[key] for key in old.keys() & new.keys()}}
            now = {**now, self._additive: old | new}
        changed = [f"{name}={new!r} (it was {old!r})" for name, old, new in _differences(before, comparable)]
        if changed:
            restart = "" if self._restart is None else ", or begin anew with `restart` (--restart)"
            raise ValueError(
                f"A {self._what} can be resumed only with the arguments that it began with. Received: "
                f"out='{self.path}' with {', '.join(changed)}. Repeat them as they were{',' if restart else ' or'} "
                f"choose another folder{restart}.{self._fix}"
            )
        return now


def _differences(before, now, prefix=""):
    """Yield ``(name, old, new)`` of every value that differs, None where it is missing; dicts are compared inside."""
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
