"""Resumable training."""

import dataclasses
import datetime
import math
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_coda.data.load import Data
from keras_coda.evaluation.several_labels import best_thresholds
from keras_coda.models.classifier import ExplainableClassifier
from keras_coda.models.distribution import is_writer, on_its_own, own_part, require_same, wait_for_all
from keras_coda.training import checkpointing
from keras_coda.training.callbacks import ValidateAverages
from keras_coda.training.checkpointing import BACKUPS, MODEL
from keras_coda.training.recipes import Recipe
from keras_coda.utils.checks import require
from keras_coda.utils.errors import TrainingDivergedError
from keras_coda.utils.progress import steps_per_epoch
from keras_coda.version import __version__


def train(
    model: ExplainableClassifier,
    data: Data,
    out: str | os.PathLike,
    recipe: Recipe | None = None,
    *,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    arguments: dict | None = None,
    restart: bool = False,
    verbose: int | str = "auto",
    **changes: Any,
) -> dict[str, Any]:
    """Train a network by a recipe; the same call resumes a training that was interrupted.

    After every epoch the weights and the state of the optimizer are backed up in ``out``; a backup is written
    completely or not at all. Called again with the same arguments, the training continues from the last backup with
    the remaining epochs and their learning rates. The images are shuffled anew, so the weights differ slightly from
    those of an uninterrupted training. At the end ``out`` holds the preset folder ``model`` and the log ``log.csv``.
    A finished training is loaded instead of repeated. To train its network further, start from the preset folder
    ``model`` in another ``out``.

    Within :func:`~keras_coda.training.distributed` all devices train, also those of several processes. Then every
    process calls this function with the same arguments, sees the same images and the same ``out``, and reads its own
    rows of each batch; the first process writes the files. When one ends, start all of them again.

    Args:
        model: the network. It is compiled with the default loss and metrics, and the optimizer of the recipe.
        data: see :func:`keras_coda.data.load`, which also makes the batches and augments the images.
        out: the folder of this training; created if it does not exist.
        recipe: None for the default :class:`~keras_coda.training.Recipe`.
        callbacks: further callbacks. They run before the log is written: values that they add to the logs become
            columns of it.
        arguments: dict of the settings that identify this training, JSON-serializable. They must be the same when the
            training is resumed, and are stored in the figures. None: the recipe, the model's configuration, and the
            name and number of the images.
        restart: whether to delete the training in ``out`` and start again.
        verbose: as for ``keras.Model.fit``.
        **changes: fields of the recipe to change, for instance ``epochs=5``.

    Returns:
        dict, also set as ``model.training_figures``: ``validation_loss``, ``validation_accuracy``, ``epochs``,
        ``seconds`` (all epochs together), ``seconds_per_epoch`` (median), ``data``, ``num_train``, ``num_validation``,
        ``optimizer``, ``recipe``, ``arguments``, ``versions`` and ``date``. With several labels there are
        ``validation_binary_accuracy``, ``validation_auroc`` and ``validation_mean_average_precision`` in place of the
        accuracy, and the network gets the ``thresholds`` that are best on the validation images.

    Raises:
        TypeError: if a change is not a field of a recipe.
        ValueError: if an argument is out of range, the data do not fit the network, or ``out`` holds a training with
            other arguments or files of something else.
        TrainingDivergedError: a ``RuntimeError``, if the loss becomes NaN or infinite.

    Example:
        >>> data = keras_coda.data.load("digits")
        >>> model, notes = keras_coda.training.network("coda_digits", data)
        >>> figures = train(model, data, "runs/digits", epochs=5)
    """
    recipe = dataclasses.replace(recipe or Recipe(), **changes)
    shape = (model.input.shape[-1], model.num_classes)
    if shape != (data.image_shape[-1], data.num_classes):
        raise ValueError(
            "The network must fit the channels and classes of the data, "
            f"{(data.image_shape[-1], data.num_classes)}. Received: a network for {shape}. Build it with `network`."
        )
    fix = f"compile(multi_label={data.multi_label}), as `network` does"
    rule = "The network and the data must agree on whether images have several labels"
    require(model.multi_label == data.multi_label, rule, fix, model=model.multi_label, data=data.multi_label)
    rule = "The network must have the window of the data's 16-bit images"
    require(model.window == data.window, rule, "Set `model.window`", model=model.window, data=data.window)
    record = dataclasses.asdict(recipe)
    made = {"batch_size": data.batch_size, "augmentation": data.augmentation}  # as the data were really loaded
    record |= {name: value for name, value in made.items() if value is not None}
    if arguments is None:
        arguments = {**record, "data": [data.name, data.num_train, data.num_validation], "model": model.get_config()}
        arguments["model"].pop("name")  # Keras numbers the models of a process
        fitted = ("thresholds", "calibration")  # from validation images, after a training
        arguments |= {name: value for name, value in model.conventions.stored().items() if name not in fitted}
    folder = checkpointing.run_folder(out, arguments, restart=restart)
    out = folder.path
    part = own_part(data)
    begun = (folder.is_begun, restart, checkpointing.epochs_done(out), (out / MODEL).is_dir())
    images = (data.name, data.num_train, data.num_validation, data.class_names)
    require_same({"arguments": folder.arguments, "images": images, "folder of results": begun})
    if folder.is_begun and (out / MODEL).is_dir():
        finished = ExplainableClassifier.from_preset(out / MODEL)
        model.set_weights(finished.get_weights())
        model.training_figures, model.conventions = finished.training_figures, finished.conventions
        return model.training_figures

    optimizer = recipe.optimizer(steps_per_epoch(data.train))
    if is_writer():
        folder.begin()
    wait_for_all("the folder is ready")
    model.compile(optimizer=optimizer, penalties=recipe.penalties)
    done = checkpointing.restore(model, out)
    averages = [] if recipe.ema is None else [ValidateAverages()]
    # The log comes first: an epoch that is interrupted between the two gets a second row, but no row is missing.
    folder_to_write = out if is_writer() else None
    saving = [checkpointing.Log(folder_to_write), checkpointing.Backup(folder_to_write)]
    verbose = verbose if is_writer() else 0
    callbacks = [keras.callbacks.TerminateOnNaN(), *averages, *callbacks, *saving]
    options = {"epochs": recipe.epochs, "initial_epoch": done, "callbacks": callbacks, "verbose": verbose}
    model.fit(part.train, validation_data=part.validation, shuffle=False, **options)  # the data shuffle themselves
    # `fit` has left the averaged weights, if any.
    measured = model.evaluate(part.validation, verbose=0, return_dict=True)
    if not math.isfinite(measured["loss"]):
        raise TrainingDivergedError(
            f"The loss stopped being finite. Received: learning_rate={recipe.learning_rate} (the peak). Try a tenth of "
            "it, or another dtype policy, with `restart` (--restart)."
        )
    if model.multi_label:
        model.thresholds = best_thresholds(model, data.validation, verbose=False)
    seconds = checkpointing.seconds_of_epochs(out)
    model.training_figures = {
        **{f"validation_{name}": value for name, value in measured.items()},
        "epochs": recipe.epochs,
        "seconds": sum(seconds),
        "seconds_per_epoch": statistics.median(seconds or [0.0]),  # none if the log was lost after the last epoch
        "data": data.name,
        "num_train": data.num_train,
        "num_validation": data.num_validation,
        "optimizer": recipe.describe(),
        "recipe": record,
        "arguments": folder.arguments,
        "versions": _versions(),
        "date": datetime.date.today().isoformat(),
    }
    model.compile()  # a new optimizer: the learning rate of this one has ended at its lowest value
    if is_writer():
        with on_its_own():
            model.save_to_preset(out / MODEL)
        shutil.rmtree(out / BACKUPS, ignore_errors=True)
    wait_for_all("the network is saved")
    return model.training_figures


def _versions():
    backend = keras.backend.backend()
    modules = {"keras": keras, "numpy": np, backend: sys.modules.get(backend)}
    versions = {name: module.__version__ for name, module in modules.items() if hasattr(module, "__version__")}
    return {"python": platform.python_version(), "keras_coda": __version__, **versions}
