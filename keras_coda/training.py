"""Training that survives being killed, its recipe, and the evaluation of what came of it."""

import csv
import datetime
import json
import math
import os
import platform
import re
import shutil
import statistics
import sys
import time
from pathlib import Path

import keras
import numpy as np

from keras_coda import presets
from keras_coda.data import Data
from keras_coda.files import new_file
from keras_coda.losses import OneVsAllCrossentropy
from keras_coda.model import CoDANet
from keras_coda.validation import check_finite, check_int

ARGUMENTS, BACKUPS, LOG, MODEL = "training.json", "backup", "log.csv", "model"  # what a training's folder holds


def schedule(learning_rate: float, steps: int, warmup_steps: int = 0) -> keras.optimizers.schedules.CosineDecay:
    """Return a learning rate that rises linearly, then falls as half a cosine to zero at the last step.

    Args:
        learning_rate: float > 0, the peak.
        steps: int, optimizer steps (batches) of the whole training.
        warmup_steps: int, how many of them the rise takes; less than ``steps``.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> round(float(schedule(0.01, steps=100, warmup_steps=10)(10)), 4)
        0.01
    """
    if check_finite("learning_rate", learning_rate) <= 0:
        raise ValueError(f"`learning_rate` must be positive. Received: learning_rate={learning_rate!r}")
    if not 0 <= warmup_steps < check_int("steps", steps):
        raise ValueError(f"`warmup_steps` must be in [0, steps). Received: {warmup_steps=}, {steps=}")
    lowest = learning_rate / max(1, warmup_steps)
    warmup = {"warmup_target": learning_rate, "warmup_steps": warmup_steps} if warmup_steps else {}
    return keras.optimizers.schedules.CosineDecay(lowest, steps - warmup_steps, **warmup)


def network(preset: str | os.PathLike, data: Data, **overrides) -> tuple[CoDANet, list[str]]:
    """Build the network of a preset with the classes, channels and image size of the data.

    Args:
        preset: name or folder, see :meth:`CoDANet.from_preset`; weights it may have are the starting point.
        data: what it will be trained on.
        **overrides: further constructor arguments, for instance ``temperature``.

    Returns:
        ``(model, notes)``: one sentence in ``notes`` for everything that had to differ from the preset.
    """
    config = preset_config(preset)
    (*size, channels), (*data_size, data_channels) = config["input_shape"], data.image_shape
    differ = {"classes": (config["num_classes"], data.num_classes), "channels": (channels, data_channels)}
    differ = {what: pair for what, pair in differ.items() if pair[0] != pair[1]}
    reusable = not differ
    if any(want not in (None, got) for want, got in zip(size, data_size, strict=True)):
        differ["image size"] = ("x".join(map(str, size)), "x".join(map(str, data_size)))
        size = data_size
    notes = [f"The network gets {have} {what}, as the data have; the preset has {had}."
             for what, (had, have) in differ.items()]  # fmt: skip
    if not reusable and presets.folder(preset) is not None:
        notes.append("The preset's weights do not fit such a network: it starts from random ones.")
    overrides = {"num_classes": data.num_classes, "class_names": data.class_names, **overrides}
    overrides["input_shape"] = (*size, data_channels)
    return CoDANet.from_preset(preset, load_weights=None if reusable else False, **overrides), notes


def preset_config(preset: str | os.PathLike) -> dict:
    """Return the constructor arguments of a preset, a name or a folder."""
    folder = presets.folder(preset)
    return presets.architecture(preset) if folder is None else presets.read(folder)[0]["config"]


def is_finished(out: str | os.PathLike, arguments: dict, *, restart: bool = False) -> bool:
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
    foreign = [name for name in (BACKUPS, LOG, MODEL) if (out / name).exists()]
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


def epochs_done(out: str | os.PathLike) -> int:
    """Return how many epochs the last backup in a training's folder has seen; 0 without one."""
    backups = _backups(Path(out).expanduser() / BACKUPS)
    return backups[-1][1] if backups else 0


def train(
    model: CoDANet,
    data: Data,
    out: str | os.PathLike,
    *,
    epochs: int = 20,
    learning_rate: float = 0.01,
    warmup: float = 0.1,
    arguments: dict | None = None,
    restart: bool = False,
    verbose: int | str = "auto",
) -> dict:
    """Train with Adam, a warm-up and a cosine schedule, so that a killed training goes on when it is called again.

    After every epoch weights and optimizer are backed up in ``out``, whole or not at all. The same call finds the last
    backup, and trains for the epochs that are left with the learning rates that are left; the order of the images
    begins anew, so the weights will not be those of an uninterrupted training to the last bit. At the end ``out``
    holds the preset folder ``model`` and the log ``log.csv``. A finished training is loaded instead of repeated.

    Args:
        model: the network; it is compiled with the default loss and metrics.
        data: see :func:`keras_coda.data.load`.
        out: the folder of this training; created if it does not exist.
        epochs: int, passes over the training images.
        learning_rate: float > 0, the peak of :func:`schedule`.
        warmup: float in [0, 1), the share of the steps in which the rate rises.
        arguments: what defines the training (JSON-serializable): compared when it is resumed, kept in the figures.
            None: the model's configuration, the name and size of the data, and the three arguments above.
        restart: whether to delete the training that ``out`` holds, and begin anew.
        verbose: as for ``keras.Model.fit``.

    Returns:
        The figures that are also in ``model.training_figures``: dict of validation accuracy and loss, epochs, seconds
        per epoch (median), data, optimizer, versions, date.

    Raises:
        ValueError: if an argument is out of range, the data do not fit the network, or ``out`` holds something else.
        RuntimeError: if the loss stops being finite.

    Example:
        >>> data = keras_coda.data.load("digits")
        >>> figures = train(network("coda_digits", data)[0], data, "runs/digits", epochs=5)
    """
    epochs = check_int("epochs", epochs)
    if not 0 <= check_finite("warmup", warmup) < 1:
        raise ValueError(f"`warmup` must be in [0, 1). Received: warmup={warmup!r}")
    shape = (model.input.shape[-1], model.num_classes)
    if shape != (data.image_shape[-1], data.num_classes):
        raise ValueError(
            "The network must fit the channels and classes of the data, "
            f"{(data.image_shape[-1], data.num_classes)}. Received: a network for {shape}. Build it with `network`."
        )
    if arguments is None:
        arguments = {"epochs": epochs, "learning_rate": learning_rate, "warmup": warmup}
        arguments |= {"data": [data.name, data.num_train, data.num_validation], "model": model.get_config()}
        arguments["model"].pop("name")  # Keras numbers them
    out = Path(out).expanduser()
    if is_finished(out, arguments, restart=restart):
        finished = CoDANet.from_preset(out / MODEL)
        model.set_weights(finished.get_weights())
        model.training_figures = finished.training_figures
        return model.training_figures

    steps = int(data.train.cardinality())
    steps = steps if steps > 0 else sum(1 for _ in data.train)
    rates = schedule(learning_rate, epochs * steps, int(warmup * epochs * steps))
    if restart:
        _clear(out)
    out.mkdir(parents=True, exist_ok=True)
    with new_file(out / ARGUMENTS) as temporary:
        temporary.write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")
    model.compile(optimizer=keras.optimizers.Adam(rates))
    done = _restore(model, out / BACKUPS)
    # In this order an epoch that was logged but not backed up will have two rows; none will lack one.
    callbacks = [keras.callbacks.TerminateOnNaN(), _Log(str(out / LOG), append=True), _Backup(out / BACKUPS)]
    options = {"epochs": epochs, "initial_epoch": done, "callbacks": callbacks, "verbose": verbose}
    model.fit(data.train, validation_data=data.validation, shuffle=False, **options)  # the data shuffle themselves
    loss, accuracy = model.evaluate(data.validation, verbose=0)
    if not math.isfinite(loss):
        raise RuntimeError(
            f"The loss stopped being finite. Received: learning_rate={learning_rate}, the peak. Try a tenth of it, or "
            "another dtype policy, with `restart` (--restart)."
        )
    with (out / LOG).open(encoding="utf-8", newline="") as file:
        seconds = statistics.median(float(row["seconds"]) for row in csv.DictReader(file))
    model.training_figures = {
        "validation_accuracy": accuracy,
        "validation_loss": loss,
        "epochs": epochs,
        "seconds_per_epoch": seconds,
        "data": data.name,
        "num_train": data.num_train,
        "num_validation": data.num_validation,
        "optimizer": "Adam, linear warm-up, cosine decay to 0",
        "learning_rate": learning_rate,
        "arguments": json.loads(json.dumps(arguments)),
        "versions": _versions(),
        "date": datetime.date.today().isoformat(),
    }
    model.compile()  # at the end of its schedule the optimizer would no longer learn
    model.save_to_preset(out / MODEL)
    shutil.rmtree(out / BACKUPS, ignore_errors=True)
    return model.training_figures


def evaluate(model: keras.Model, dataset, *, num_images: int | None = None, verbose: bool = True) -> dict:
    """Predict and explain every image of a data set: how right, how complete and how fast.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`.
        dataset: yields ``(images, labels)``: ``(batch, H, W, c)``, pixels in [0, 255], and int ``(batch,)``.
        num_images: int, how many there are, for the progress bar, or None.
        verbose: whether to show one.

    Returns:
        dict of ``accuracy`` and ``loss`` (means over images), ``largest_residual`` (the completeness error
        ``|Σ contributions + bias - logit|`` of the predicted class), ``images_per_second`` (prediction and map;
        compilation excluded) and ``num_images``.

    Raises:
        ValueError: if there are no images, or they do not fit the model.
    """
    criterion = OneVsAllCrossentropy(reduction=None)
    bar = keras.utils.Progbar(num_images, unit_name="image") if verbose else None
    losses, hits, residuals, seconds = [], [], [], 0.0
    for images, labels in dataset:
        images, labels = np.asarray(images), np.asarray(labels)
        if not losses:
            model.explain(images)  # compiles
        start = time.perf_counter()
        explanation = model.explain(images, batch_size=len(images), verbose=False)
        seconds += time.perf_counter() - start
        losses.append(keras.ops.convert_to_numpy(criterion(labels, explanation.logits)))
        hits.append(explanation.classes[:, 0] == labels)
        residuals.append(explanation.residual)
        if bar:
            bar.add(len(images))
    if not losses:
        raise ValueError("The data set must hold images. Received: no images")
    hits, losses, residuals = map(np.concatenate, (hits, losses, residuals))
    return {
        "accuracy": float(hits.mean()),
        "loss": float(losses.mean()),
        "largest_residual": float(residuals.max()),
        "images_per_second": len(hits) / seconds,
        "num_images": len(hits),
    }


# === Callbacks and files ===


class _Backup(keras.callbacks.Callback):
    # Keras' BackupAndRestore writes over the last backup in place, and the epoch to another file: killed meanwhile, it
    # leaves half a file, or weights and an epoch that do not belong together.

    def __init__(self, folder):
        super().__init__()
        self._folder = folder

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite((logs or {}).get("loss", math.nan)):
            return
        self._folder.mkdir(exist_ok=True)
        part = self._folder / ".part.weights.h5"
        self.model.save_weights(str(part), overwrite=True)
        os.replace(part, self._folder / f"epoch-{epoch + 1:06d}.weights.h5")
        for path, _ in _backups(self._folder)[:-1]:
            path.unlink()


class _Log(keras.callbacks.CSVLogger):
    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        seconds = round(time.perf_counter() - self._start, 3)
        super().on_epoch_end(epoch + 1, {**(logs or {}), "learning_rate": rate, "seconds": seconds})


def _backups(folder):
    """Return ``(path, epochs done)`` of every backup, the last one last."""
    found = ((path, re.fullmatch(r"epoch-(\d+)\.weights\.h5", path.name)) for path in folder.glob("epoch-*"))
    return sorted((path, int(match[1])) for path, match in found if match)


def _restore(model, folder):
    """Load the last backup; return the number of epochs it has seen."""
    if not _backups(folder):
        return 0
    path, epoch = _backups(folder)[-1]
    model.optimizer.build(model.trainable_variables)
    try:
        model.load_weights(str(path))
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"The backup must fit the network. Received: '{path}' ({error}). Begin anew with `restart` (--restart)."
        ) from error
    return epoch


def _clear(out):
    for name in (MODEL, BACKUPS):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (LOG, ARGUMENTS):  # last what marks the folder as a training
        (out / name).unlink(missing_ok=True)


def _versions():
    import keras_coda

    backend = keras.backend.backend()
    modules = {"keras_coda": keras_coda, "keras": keras, "numpy": np, backend: sys.modules.get(backend)}
    versions = {name: module.__version__ for name, module in modules.items() if hasattr(module, "__version__")}
    return {"python": platform.python_version(), **versions}
