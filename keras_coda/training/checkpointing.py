"""The folder of a training: its arguments, log and backups, and in the end the network."""

import csv
import math
import os
import re
import shutil
import time
import warnings
from pathlib import Path

import keras

from keras_coda.models.distribution import on_its_own
from keras_coda.models.weights_files import array_shapes
from keras_coda.training.recipes import upgrade
from keras_coda.utils.atomic import new_file, new_folder
from keras_coda.utils.errors import UnreadableFileError
from keras_coda.utils.run_folder import RunFolder

ARGUMENTS, BACKUPS, LOG, MODEL = "training.json", "backup", "log.csv", "model"
MAPS, TENSORBOARD = "maps", "tensorboard"  # written by callbacks of the command line
_WEIGHTS = "training.weights.h5"


def run_folder(out: str | os.PathLike, arguments: dict, *, restart: bool = False) -> RunFolder:
    """Check the folder of a training and its arguments.

    Args:
        out: the folder, which need not exist.
        arguments: the settings that identify the training, JSON-serializable.
        restart: whether the training in the folder, if any, will be deleted.

    Raises:
        ValueError: if the folder holds a training with other arguments, or files of something else.
    """
    model = Path(out).expanduser() / MODEL
    further = f"To train the finished network further, start from it in another folder: preset='{model}' (--preset)"
    return RunFolder(
        out,
        arguments,
        file=ARGUMENTS,
        what="training",
        leaves=(MODEL, BACKUPS, MAPS, TENSORBOARD, LOG),
        restart=restart,
        upgrade=upgrade,
        fix=further if model.is_dir() else "",
    )


def is_finished(out: str | os.PathLike, arguments: dict, *, restart: bool = False) -> bool:
    """Return whether a folder holds a finished training with these arguments.

    Args:
        out: the folder, which need not exist.
        arguments: the settings that identify the training, JSON-serializable.
        restart: whether the training in the folder will be deleted; then the answer is False.

    Raises:
        ValueError: if the folder holds a training with other arguments, or files of something else.
    """
    folder = run_folder(out, arguments, restart=restart)
    return folder.is_begun and (folder.path / MODEL).is_dir()


def epochs_done(out: str | os.PathLike) -> int:
    """Return the number of epochs that the last backup in a training's folder has seen; 0 without a backup."""
    backups = _backups(Path(out).expanduser() / BACKUPS)
    return backups[-1][1] if backups else 0


def restore(model: keras.Model, out: Path) -> int:
    """Load the weights and the state of the optimizer from the last backup; return how many epochs it has seen.

    Raises:
        UnreadableFileError: a ``ValueError``, if the backup is damaged or belongs to another network.
    """
    backups = _backups(out / BACKUPS)
    if not backups:
        return 0
    path, epoch = backups[-1]
    model.optimizer.build(model.trainable_variables)
    try:
        array_shapes(path / _WEIGHTS)
        model.load_weights(str(path / _WEIGHTS))
    except Exception as error:  # Keras and HDF5 raise many types for damaged files
        raise UnreadableFileError(
            f"The backup must fit the network. Received: '{path}' ({error}). Begin anew with `restart` (--restart)."
        ) from error
    return epoch


def seconds_of_epochs(out: Path) -> list[float]:
    """Return the duration of every epoch in seconds that is in the log: rows can be lost."""
    with (out / LOG).open(encoding="utf-8", newline="") as file:
        return list({row["epoch"]: float(row["seconds"]) for row in csv.DictReader(file)}.values())


class Backup(keras.callbacks.Callback):
    """Backs up the weights and the state of the optimizer, including averaged weights, after every epoch.

    A backup is written completely or not at all. After an epoch whose loss is not finite the last one is kept.

    Args:
        out: the folder of the training; None to write nothing, in a process that another one writes for.
    """

    # Keras' BackupAndRestore overwrites the last backup, and writes the epoch to another file. If it is killed while it
    # writes, a file is cut off, or the epoch does not belong to the weights.

    def __init__(self, out: Path | None):
        super().__init__()
        self._folder = None if out is None else out / BACKUPS

    def on_epoch_end(self, epoch, logs=None):
        """Write a new backup, then delete the earlier ones."""
        if not math.isfinite((logs or {}).get("loss", math.nan)):
            return
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()  # sets the variables, which several processes must do together
        if self._folder is None:
            return
        with on_its_own(), new_folder(self._folder / f"epoch-{epoch + 1:06d}") as temporary:
            self.model.save_weights(str(temporary / _WEIGHTS))
        for path, _ in _backups(self._folder)[:-1]:
            shutil.rmtree(path, ignore_errors=True)


class Log(keras.callbacks.CSVLogger):
    """Keras' CSV log with epochs counted from 1, and with columns for the learning rate and the seconds.

    It extends an existing file. An epoch that was logged but not backed up before an interruption gets two rows, of
    which the last one counts. Damaged rows of an existing file are deleted with a warning: a power failure or a full
    disk can cut off the last one, and the next epoch would be written into it.

    Args:
        out: the folder of the training; None to write nothing, in a process that another one writes for.
    """

    def __init__(self, out: Path | None):
        super().__init__(os.devnull if out is None else str(out / LOG), append=True)

    def on_train_begin(self, logs=None):
        """Open the file. An existing file keeps its columns and whole rows."""
        _delete_damaged_rows(Path(self.filename))
        super().on_train_begin(logs)
        if not self.append_header:
            with open(self.filename, encoding="utf-8", newline="") as file:
                self.keys = next(csv.reader(file))[1:]

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Write a row."""
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        seconds = round(time.perf_counter() - self._start, 3)
        logs = {**(logs or {}), "learning_rate": rate, "seconds": seconds}
        known = self.keys or logs
        super().on_epoch_end(epoch + 1, {name: value for name, value in logs.items() if name in known})


def _delete_damaged_rows(path):
    """Rewrite a log without the rows that are not whole; without a whole header, without any row."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    header = _fields(lines[0]) if lines else []
    rows = [_fields(line) for line in lines[1:]]
    kept = [line for line, row in zip(lines[1:], rows, strict=True) if len(row) == len(header) and row[0].isdecimal()]
    kept = lines[:1] + kept if header else []
    if kept != lines:
        with new_file(path) as temporary:
            temporary.write_bytes(b"".join(kept))
        warnings.warn(
            f"Damaged rows of the log were deleted: the figures of their epochs are lost. Received: '{path}', with "
            f"{len(lines) - len(kept)} damaged of {len(lines)} lines. The training itself is not affected.",
            stacklevel=2,
        )


def _fields(line):
    """Return the fields of a line of a log, none if its end is missing or it is no text."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return []
    return next(csv.reader([text]), []) if text.endswith("\n") and "\0" not in text else []


def _backups(folder):
    """Return ``(path, epochs done)`` of every backup, the last one last."""
    found = ((path, re.fullmatch(r"epoch-(\d+)", path.name)) for path in folder.glob("epoch-*"))
    return sorted((path, int(match[1])) for path, match in found if match)
