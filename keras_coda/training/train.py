"""Training that survives being killed, and the evaluation of what came of it."""

import dataclasses
import datetime
import json
import math
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from keras_coda import version
from keras_coda.data.load import Data
from keras_coda.models import presets
from keras_coda.models.coda_net import CoDANet
from keras_coda.models.losses import OneVsAllCrossentropy
from keras_coda.training import checkpointing
from keras_coda.training.callbacks import ValidateAverages
from keras_coda.training.checkpointing import ARGUMENTS, BACKUPS, LOG, MODEL, epochs_done, is_finished
from keras_coda.training.recipes import Recipe
from keras_coda.training.schedules import cosine_schedule as schedule
from keras_coda.utils.errors import TrainingDivergedError

__all__ = ["ARGUMENTS", "BACKUPS", "LOG", "MODEL", "Recipe", "epochs_done", "evaluate", "is_finished", "network",
           "preset_config", "schedule", "train"]  # fmt: skip


def network(
    preset: str | os.PathLike, data: Data, *, pretrained: bool | None = None, **overrides
) -> tuple[CoDANet, list[str]]:
    """Build the network of a preset with the classes, channels and image size of the data.

    Args:
        preset: name or folder, see :meth:`CoDANet.from_preset`.
        data: what it will be trained on.
        pretrained: whether to start from the weights of the preset if they fit. None: those of a folder, yes; those
            that this package ships under a name, no.
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
    folder = presets.folder(preset)
    if pretrained is None:
        pretrained = folder is not None and not presets.is_name(preset)
    if pretrained and not reusable and folder is not None:
        notes.append("The preset's weights do not fit such a network: it starts from random ones.")
    overrides = {"num_classes": data.num_classes, "class_names": data.class_names, **overrides}
    overrides["input_shape"] = (*size, data_channels)
    return CoDANet.from_preset(preset, load_weights=pretrained and reusable, **overrides), notes


def default_preset(source: str | os.PathLike) -> str:
    """Return the name of the architecture that suits a data source for a start."""
    return "coda_digits" if source == "digits" else "coda_xs_cifar10"


def image_size(preset: str | os.PathLike, source: str | os.PathLike) -> tuple[int, int] | None:
    """Return the size to which a folder's images are resized for a preset; None for other sources, and for any size."""
    size = tuple(preset_config(preset)["input_shape"][:2])
    return size if os.path.isdir(os.path.expanduser(source)) and None not in size else None


def preset_config(preset: str | os.PathLike) -> dict:
    """Return the constructor arguments of a preset, a name or a folder."""
    folder = presets.folder(preset)
    return presets.architecture(preset) if folder is None else presets.read(folder)[0]["config"]


def train(
    model: CoDANet,
    data: Data,
    out: str | os.PathLike,
    recipe: Recipe | None = None,
    *,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    arguments: dict | None = None,
    restart: bool = False,
    verbose: int | str = "auto",
    **changes,
) -> dict:
    """Train by a recipe, so that a killed training goes on when it is called again.

    After every epoch weights and optimizer are backed up in ``out``, whole or not at all. The same call finds the last
    backup, and trains for the epochs that are left with the learning rates that are left; the order of the images
    begins anew, so the weights will not be those of an uninterrupted training to the last bit. At the end ``out``
    holds the preset folder ``model`` and the log ``log.csv``. A finished training is loaded instead of repeated.

    Args:
        model: the network; it is compiled with the default loss and metrics.
        data: see :func:`keras_coda.data.load`, which also makes the batches and the augmentation.
        out: the folder of this training; created if it does not exist.
        recipe: None for the default :class:`~keras_coda.training.recipes.Recipe`.
        callbacks: further ones, called before the log is written: what they add to the logs becomes a column.
        arguments: what defines the training (JSON-serializable): compared when it is resumed, kept in the figures.
            None: the recipe, the model's configuration, the name and size of the data.
        restart: whether to delete the training that ``out`` holds, and begin anew.
        verbose: as for ``keras.Model.fit``.
        **changes: fields of the recipe to change, for instance ``epochs=5``.

    Returns:
        The figures that are also in ``model.training_figures``: dict of validation accuracy and loss, epochs, seconds
        (of all epochs together, and the median of one), data, optimizer, recipe, versions, date.

    Raises:
        TypeError: if a change is not a field of a recipe.
        ValueError: if an argument is out of range, the data do not fit the network, or ``out`` holds something else.
        TrainingDivergedError: a ``RuntimeError``, if the loss stops being finite.

    Example:
        >>> data = keras_coda.data.load("digits")
        >>> figures = train(network("coda_digits", data)[0], data, "runs/digits", epochs=5)
    """
    recipe = dataclasses.replace(recipe or Recipe(), **changes)
    shape = (model.input.shape[-1], model.num_classes)
    if shape != (data.image_shape[-1], data.num_classes):
        raise ValueError(
            "The network must fit the channels and classes of the data, "
            f"{(data.image_shape[-1], data.num_classes)}. Received: a network for {shape}. Build it with `network`."
        )
    record = dataclasses.asdict(recipe)
    made = {"batch_size": data.batch_size, "augmentation": data.augmentation}  # by whoever loaded the data
    record |= {name: value for name, value in made.items() if value is not None}
    if arguments is None:
        arguments = {**record, "data": [data.name, data.num_train, data.num_validation], "model": model.get_config()}
        arguments["model"].pop("name")  # Keras numbers them
    out = Path(out).expanduser()
    if is_finished(out, arguments, restart=restart):
        finished = CoDANet.from_preset(out / MODEL)
        model.set_weights(finished.get_weights())
        model.training_figures = finished.training_figures
        return model.training_figures

    steps = int(data.train.cardinality())
    steps = steps if steps > 0 else sum(1 for _ in data.train)
    optimizer = recipe.optimizer(steps)
    checkpointing.begin(out, arguments, restart=restart)
    model.compile(optimizer=optimizer, **recipe.penalties)
    done = checkpointing.restore(model, out)
    averages = [] if recipe.ema is None else [ValidateAverages()]
    # In this order an epoch that was logged but not backed up will have two rows; none will lack one.
    saving = [checkpointing.Log(out), checkpointing.Backup(out)]
    callbacks = [keras.callbacks.TerminateOnNaN(), *averages, *callbacks, *saving]
    options = {"epochs": recipe.epochs, "initial_epoch": done, "callbacks": callbacks, "verbose": verbose}
    model.fit(data.train, validation_data=data.validation, shuffle=False, **options)  # the data shuffle themselves
    loss, accuracy = model.evaluate(data.validation, verbose=0)  # of averages, if there are any: `fit` ends with them
    if not math.isfinite(loss):
        raise TrainingDivergedError(
            f"The loss stopped being finite. Received: learning_rate={recipe.learning_rate}, the peak. Try a tenth of "
            "it, or another dtype policy, with `restart` (--restart)."
        )
    seconds = checkpointing.seconds_of_epochs(out)
    model.training_figures = {
        "validation_accuracy": accuracy,
        "validation_loss": loss,
        "epochs": recipe.epochs,
        "seconds": sum(seconds),
        "seconds_per_epoch": statistics.median(seconds),
        "data": data.name,
        "num_train": data.num_train,
        "num_validation": data.num_validation,
        "optimizer": recipe.describe(),
        "recipe": record,
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


def _versions():
    backend = keras.backend.backend()
    modules = {"keras_coda": version, "keras": keras, "numpy": np, backend: sys.modules.get(backend)}
    versions = {name: module.__version__ for name, module in modules.items() if hasattr(module, "__version__")}
    return {"python": platform.python_version(), **versions}
