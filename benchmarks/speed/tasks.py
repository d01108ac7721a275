"""The measured tasks, as functions without arguments: training steps, predictions, explanations."""

from collections.abc import Callable

import keras
import numpy as np

import keras_coda
from benchmarks.speed import flops, textbook

TASKS = ("training", "prediction", "one map", "ten maps")
MAPS = {"one map": 1, "ten maps": 10}


def network(preset: str, **overrides) -> keras_coda.CoDANet:
    """A preset without trained weights and without pixel dropout, whose random masks would differ in each call."""
    keras.utils.set_random_seed(0)
    jit_compile, optimizer = overrides.pop("jit_compile", "auto"), overrides.pop("optimizer", "auto")
    model = keras_coda.CoDANet.from_preset(preset, load_weights=False, pixel_dropout=0.0, **overrides)
    model.compile(optimizer, jit_compile=jit_compile)
    return model


def batch(size: int, side: int = 32, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Random images, pixels in [0, 255], and labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, side, side, 3)).astype("float32")
    return images, rng.integers(0, classes, size)


def task(model, kind: str, images, labels, *, top_k: int | None = None) -> Callable:
    """Return ``kind`` of work as a user calls it: ``train_on_batch``, ``predict_on_batch``, ``explain``."""
    if kind == "training":
        return lambda: model.train_on_batch(images, labels)
    if kind == "prediction":
        return lambda: model.predict_on_batch(images)
    return lambda: model.explain(images, top_k=top_k or MAPS[kind], verbose=False)


def textbook_task(model, kind: str, images, labels) -> Callable:
    """The same work by the textbook."""
    if kind in ("training", "prediction"):
        return task(textbook.textbook(model), kind, images, labels)
    explain, top_k = textbook.explainer(model), MAPS[kind]
    return lambda: [tensor.numpy() for tensor in explain(images, top_k)]


def operations(counts, kind: str, size: int) -> int:
    """Operations that the work needs, see :mod:`benchmarks.speed.flops`."""
    if kind == "training":
        return flops.training(counts, size)
    return flops.prediction(counts, size) if kind == "prediction" else flops.explanation(counts, size, MAPS[kind])
