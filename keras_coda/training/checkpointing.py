"""What the folder of a training holds: its arguments, log and backups, and in the end the network."""

import csv
import json
import math
import re
import shutil
import time
from pathlib import Path

import keras

from keras_coda.utils.atomic import new_file, new_folder

ARGUMENTS, BACKUPS, LOG, MODEL = "training.json", "backup", "log.csv", "model"
MAPS, TENSORBOARD = "maps", "tensorboard"  # if they are asked for
_WEIGHTS = "training.weights.h5"


def is_finished(out, arguments: dict, *, restart: bool = False) -> bool:
    """Tell whether the training in a folder has come to its end.

    Args:
        out: the folder, which need not exist.
        arguments: what defines the training, JSON-serializable.
        restart: whether a training in the folder will be deleted anyway, so that the answer is no.

    Raises:
        ValueError: if the folder holds a training with other arguments, or files that no training left there.
    """
    out = Path(out).expanduser()
    recorded = out / ARGUMENTS
    foreign = [name for name in (BACKUPS, LOG, MODEL, MAPS, TENSORBOARD) if (out / name).exists()]
    if foreign and not recorded.exists():
        raise ValueError(
            f"The folder must be new or hold a training. Received: out='{out}', with {foreign} but without "
            f"'{ARGUMENTS}'. Choose another folder."
        )
    if restart or not recorded.exists():
        return False
    before, now = json.loads(recorded.read_text(encoding="utf-8")), json.loads(json.dumps(arguments))
    changed = [
        f"{name}={now.get(name)!r} (it was {before.get(name)!r})"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise ValueError(
            f"A training goes on with the arguments it began with. Received: out='{out}' with {', '.join(changed)}. "
            "Repeat them as they were, choose another folder, or begin anew with `restart` (--restart)."
        )
    return (out / MODEL).is_dir()


def epochs_done(out) -> int:
    """Return how many epochs the last backup in a training's folder has seen; 0 without one."""
    backups = _backups(Path(out).expanduser() / BACKUPS)
    return backups[-1][1] if backups else 0


def begin(out: Path, arguments: dict, *, restart: bool) -> None:
    """Create the folder and write down the arguments; with ``restart``, first delete the training that is there."""
    if restart:
        for name in (MODEL, BACKUPS, MAPS, TENSORBOARD):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in (LOG, ARGUMENTS):  # last what marks the folder as a training
            (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    with new_file(out / ARGUMENTS) as temporary:
        temporary.write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")


def restore(model: keras.Model, out: Path) -> int:
    """Load weights and optimizer from the last backup; return the number of epochs it has seen.

    Raises:
        ValueError: if the backup is damaged or that of another network.
    """
    backups = _backups(out / BACKUPS)
    if not backups:
        return 0
    path, epoch = backups[-1]
    model.optimizer.build(model.trainable_variables)
    try:
        model.load_weights(str(path / _WEIGHTS))
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"The backup must fit the network. Received: '{path}' ({error}). Begin anew with `restart` (--restart)."
        ) from error
    return epoch


def seconds_of_epochs(out: Path) -> list[float]:
    """Return the seconds that every epoch took, as the log has them."""
    with (out / LOG).open(encoding="utf-8", newline="") as file:
        return list({row["epoch"]: float(row["seconds"]) for row in csv.DictReader(file)}.values())


class Backup(keras.callbacks.Callback):
    """Keeps weights and optimizer of the last epoch, averages of weights among them, whole or not at all."""

    # Keras' BackupAndRestore writes over the last backup in place, and the epoch to another file: killed meanwhile, it
    # leaves half a file, or weights and an epoch that do not belong together.

    def __init__(self, out: Path):
        super().__init__()
        self._folder = out / BACKUPS

    def on_epoch_end(self, epoch, logs=None):
        """Write a new backup, then delete those before it."""
        if not math.isfinite((logs or {}).get("loss", math.nan)):
            return
        with new_folder(self._folder / f"epoch-{epoch + 1:06d}") as temporary:
            self.model.save_weights(str(temporary / _WEIGHTS))
        for path, _ in _backups(self._folder)[:-1]:
            shutil.rmtree(path, ignore_errors=True)


class Log(keras.callbacks.CSVLogger):
    """Keras' CSV log with the epoch counted from 1, the learning rate and the seconds; it goes on in a file there is.

    An epoch that was logged but not backed up will have two rows; the last one counts.
    """

    def __init__(self, out: Path):
        super().__init__(str(out / LOG), append=True)

    def on_train_begin(self, logs=None):
        """Open the file. A file that exists keeps its columns."""
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


def _backups(folder):
    """Return ``(path, epochs done)`` of every backup, the last one last."""
    found = ((path, re.fullmatch(r"epoch-(\d+)", path.name)) for path in folder.glob("epoch-*"))
    return sorted((path, int(match[1])) for path, match in found if match)
