"""A training with its evaluation, within a given time: ``python -m benchmarks.gpu train``.

The weights are written first, as a preset folder of float16 arrays, and everything that is reported about the trained
network is measured on them. Results are written as soon as they are known, so that a process that is killed leaves what
it has. The same command continues.
"""

import argparse
import functools
import shutil
import time
import warnings
from pathlib import Path

import jax
import keras

import keras_coda
from benchmarks import records
from benchmarks.gpu import data as datasets
from benchmarks.gpu import device, networks
from benchmarks.gpu.step import Trainer
from benchmarks.gpu.training import Clock, train
from benchmarks.speed import flops
from keras_coda.utils.run_folder import RunFolder

_RESULT = "training"  # <out>/training.json
_IDENTITY = (
    *("preset", "config", "start", "images", "seconds", "batch", "rate", "ema", "clip", "precision", "augment", "seed"),
    *("held_out", "grids"),
)


def run(args: argparse.Namespace, start: float) -> dict:
    """Train, evaluate and write results to ``args.out``, or continue.

    Args:
        args: of the command.
        start: ``time.monotonic()`` when the process began.

    Returns:
        The results, as in ``<out>/training.json``.
    """
    identity = {name: getattr(args, name) for name in _IDENTITY}
    leaves = (f"{_RESULT}.json", "log.csv", "weights")
    folder = RunFolder(args.out, identity, file="arguments.json", what="training", leaves=leaves)
    keras.utils.set_random_seed(args.seed)
    data = datasets.load(args.images, args.held_out)
    print(f"{len(data.images)} images, {len(data.held_out)} held out, {time.monotonic() - start:.0f} s", flush=True)
    model = networks.network(args.preset, args.precision, **_overrides(args, data))
    if args.start is not None:
        _copy_weights(keras_coda.ExplainableClassifier.from_preset(args.start), model)
    folder.begin()
    weights = _Weights(folder.path / "weights")
    contents = records.read(_RESULT, folder.path) or device.described()
    results = contents.setdefault("results", {})
    if not results.get("is_trained"):
        results |= _train(args, start, model, data, weights, folder.path / "log.csv")
        results["is_trained"] = True
        records.write(_RESULT, contents, folder.path)
    trained = weights.load()
    with networks.PRECISIONS["float32"].scope():
        for measure in (_accuracy, functools.partial(_localization, n_grids=args.grids)):
            name = getattr(measure, "func", measure).__name__.removeprefix("_")
            if name not in results:
                began = time.monotonic()
                results[name] = measure(trained, data)
                results[name]["seconds"] = round(time.monotonic() - began, 2)
                records.write(_RESULT, contents, folder.path)
            print(f"{name}: {results[name]}", flush=True)
    contents["seconds"] = round(contents.get("seconds", 0) + time.monotonic() - start)
    records.write(_RESULT, contents, folder.path)
    print(f"done after {time.monotonic() - start:.0f} s: '{folder.path / _RESULT}.json'", flush=True)
    return contents


def _train(args, start, model, data, weights, log):
    """Train within the time, write the weights, and return the figures."""
    before = weights.restore(model)
    if before.get("seconds", 0.0) >= args.seconds:
        return {"training": before}
    is_plain = args.augment == "none"
    augment = {"pad": 0 if is_plain else data.pad, "flip": not is_plain and data.may_flip}
    augment |= {"distort": args.augment == "strong"}
    options = {"precision": args.precision, "batch": args.batch, "chunk": args.chunk, "seed": args.seed}
    options |= {"ema": args.ema, "clip": args.clip, **augment}
    trainer = Trainer(model, data.images, data.labels, **options)
    compiled = trainer.compile()
    print(f"compiled in {compiled:.1f} s ({args.precision}, batch {args.batch})", flush=True)
    seconds, done = args.seconds, before.get("seconds", 0.0)
    if args.total is not None:
        seconds = min(seconds, done + args.total - args.reserve - (time.monotonic() - start))
    print(f"training for {max(0.0, seconds - done):.0f} s", flush=True)
    plain = networks.network(args.preset, **_overrides(args, data))

    def save(figures):
        trainer.weights_to(plain)
        weights.save(plain, figures)

    progress = {"steps": before.get("steps", 0), "scale": before.get("rate_scale", 1.0)}
    clock = Clock(max(seconds, 1e-3), done)
    figures = before | train(trainer, clock, rate=args.rate, log=log, save=save, save_every=args.save_every, **progress)
    save(figures)
    speed = figures.get("images_per_second")
    operations = flops.training(flops.layers(model), args.batch) / args.batch
    return {
        "training": figures,
        "tflops": speed and speed * operations / 1e12,
        "compile_seconds": round(compiled, 2),
        "memory_mb": device.memory(trainer.compiled),
        "parameters": model.count_params(),
    }


def _overrides(args, data):
    """Arguments of the network that are not the preset's."""
    names = data.class_names
    return {"class_names": names, "num_classes": len(names), "input_shape": data.images.shape[1:]} | args.config


def _copy_weights(source, model):
    for variable, value in zip(model.variables, source.variables, strict=True):
        variable.assign(jax.numpy.copy(value.value))


def _accuracy(model, data):
    return keras_coda.evaluation.evaluate(model, data.batches(), num_images=len(data.held_out), verbose=False)


def _localization(model, data, n_grids):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", keras_coda.evaluation.FewerGridsWarning)  # the result says how many there were
        try:
            result = keras_coda.evaluation.localization(
                model, data.batches(), n_grids=n_grids, batch_size=min(25, n_grids), verbose=False
            )
        except keras_coda.evaluation.NotEnoughImagesError as error:
            return {"error": str(error)}
    return {**result.summary(), "grid": result.grid}


class _Weights:
    """Preset folders of a training, named by the number of steps; only the last one is kept."""

    def __init__(self, folder: Path):
        self._folder = folder

    def save(self, model, figures: dict) -> None:
        """Write weights and figures, whole or not at all, and then delete the ones before."""
        model.training_figures = figures
        earlier, new = self._found(), self._folder / f"{figures['steps']:07d}"
        if new not in earlier:
            model.save_to_preset(new, weights_dtype="float16")
            for each in earlier:
                shutil.rmtree(each)
        size = sum(file.stat().st_size for file in new.iterdir()) / 2**20
        print(f"weights after {figures['steps']} steps: '{new}', {size:.1f} MB", flush=True)

    def load(self):
        """Return the trained network, float32."""
        return keras_coda.ExplainableClassifier.from_preset(self._found()[-1])

    def restore(self, model) -> dict:
        """Give a network the weights, and return their figures; an empty dict if there are none yet."""
        if not self._found():
            return {}
        trained = self.load()
        _copy_weights(trained, model)
        print(f"continues after {trained.training_figures['seconds']:.0f} s", flush=True)
        return trained.training_figures

    def _found(self):
        return sorted(self._folder.glob("[0-9]*")) if self._folder.exists() else []
