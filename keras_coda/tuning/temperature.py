"""What the temperature does to accuracy and maps: the same training at several temperatures."""

import dataclasses
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras

from keras_coda import training
from keras_coda.data.load import Data
from keras_coda.evaluation.localization_grids import LocalizationResult, localization
from keras_coda.evaluation.removal import pixel_removal
from keras_coda.models.coda_net import CoDANet
from keras_coda.training.recipes import Recipe
from keras_coda.tuning.results import TemperatureStudy, claim_folder
from keras_coda.utils.checks import check_finite, check_int, require
from keras_coda.utils.errors import FewerGridsWarning, NotEnoughImagesError, TrainingDivergedError

ARGUMENTS, RESULT = "study.json", "result.json"  # what a study's folder holds, beside one training per run

# What the authors published for S-CoDA on CIFAR-10: 500 grids of 3x3 images; 25 % of the pixels of 1,024 removed.
S_CODA_CIFAR10 = {
    "localization": {10: 0.314, 50: 0.445, 100: 0.637, 500: 0.840, 1000: 0.912, 5000: 0.908},
    "removal": {10: 0.801, 50: 0.856, 100: 0.865, 500: 0.951, 1000: 0.964, 5000: 0.968},
}


def temperature_study(
    data: Data,
    preset: str | os.PathLike,
    out: str | os.PathLike,
    temperatures: Sequence[float] = (10, 50, 100, 500, 1000, 5000),
    *,
    epochs: int = 10,
    learning_rate: float = 0.01,
    warmup: float = 0.1,
    seeds: Sequence[int] = (0,),
    grid: int = 3,
    n_grids: int = 500,
    n_images: int = 1024,
    overrides: dict | None = None,
    verbose: int | str = "auto",
) -> TemperatureStudy:
    """Train a network at each temperature, with one budget, and measure accuracy, localization and pixel removal.

    Every run starts from the weights that its seed gives, whatever the temperature; the order of the images goes on
    from one run to the next. The one learning rate need not be the best for each temperature. Killed, the study goes
    on with the same call, a run from its last epoch; more temperatures or seeds extend it.

    Args:
        data: see :func:`keras_coda.data.load`. Everything is measured on its validation images.
        preset: name or folder of the architecture; weights that come with it are not used.
        out: folder of this study; created if it does not exist. It gets ``result.json``, written after each run, and
            the training of each run.
        temperatures: floats > 0, different ones.
        epochs: int, passes over the training images.
        learning_rate: float > 0, the peak of :func:`keras_coda.training.schedule`.
        warmup: float in [0, 1), the share of the steps in which the rate rises.
        seeds: ints, one run each at every temperature.
        grid: int, images along a side of the grids of localization.
        n_grids: int, how many grids, if the images suffice.
        n_images: int, how many images pixels are removed from; at most the data's.
        overrides: further arguments of :class:`~keras_coda.CoDANet`, for instance ``{"dtype": "mixed_bfloat16"}``.
        verbose: 0 for silence, else as for ``keras.Model.fit``.

    Returns:
        A :class:`~keras_coda.tuning.results.TemperatureStudy`. A run whose loss stopped being finite, or whose network
        classifies too few images correctly and confidently for a single grid, has no value there and a note.

    Raises:
        ValueError: if an argument is out of range, or ``out`` holds another study.

    Example:
        ```python
        data = keras_coda.data.load("digits")
        study = temperature_study(data, "coda_digits", "study", (5, 20, 50, 200, 1000), epochs=10)
        print(study.table())
        study.plot()
        ```
    """
    temperatures = [check_finite("temperatures", temperature) for temperature in temperatures]
    seeds = [check_int("seeds", seed, minimum=0) for seed in seeds]
    is_fit = temperatures and min(temperatures) > 0 and len(set(temperatures)) == len(temperatures)
    require(is_fit, "`temperatures` must be different positive numbers", temperatures=temperatures)
    require(seeds and len(set(seeds)) == len(seeds), "`seeds` must be different integers", seeds=seeds)
    check_grid(data, grid)
    recipe = Recipe(epochs=epochs, learning_rate=learning_rate, warmup=warmup)
    n_grids, n_images = check_int("n_grids", n_grids), min(check_int("n_images", n_images), data.num_validation)
    config = untrained(preset, data, **(overrides or {})).get_config()
    config["temperature"] = None  # what differs
    arguments = {"recipe": dataclasses.asdict(recipe), "grid": grid, "n_grids": n_grids, "n_images": n_images}
    arguments |= fingerprint(data, config)
    out = Path(out).expanduser()
    claim_folder(out, ARGUMENTS, arguments, what="study", foreign=(RESULT,))

    study = TemperatureStudy.from_json(out / RESULT) if (out / RESULT).exists() else TemperatureStudy(())
    done = {(run["temperature"], run["seed"]) for run in study.runs}
    for temperature in temperatures:
        for seed in seeds:
            if (temperature, seed) in done:
                continue
            if verbose:
                print(f"Temperature {temperature:g}, seed {seed}")
            keras.utils.set_random_seed(seed)
            model = untrained(preset, data, **{**(overrides or {}), "temperature": temperature})
            folder = out / f"temperature-{temperature:g}-seed-{seed}"
            run = {"temperature": temperature, "seed": seed}
            run |= _train_and_measure(model, data, folder, recipe, (grid, n_grids, n_images), verbose)
            study = TemperatureStudy((*study.runs, run))
            study.to_json(out / RESULT)
    return study


def untrained(preset: str | os.PathLike, data: Data, **overrides) -> CoDANet:
    """Build the network of a preset with random weights, and with the classes and image shape of the data."""
    options = {"num_classes": data.num_classes, "class_names": data.class_names, "input_shape": data.image_shape}
    return CoDANet.from_preset(preset, load_weights=False, **{**options, **overrides})


def fingerprint(data: Data, config: dict) -> dict:
    """Return what makes a network and its data other ones than the next, JSON-serializable.

    Args:
        data: the data.
        config: of a network, as its ``get_config`` gives it.
    """
    names = ("name", "num_train", "num_validation", "image_shape", "batch_size", "augmentation")
    config = {name: value for name, value in config.items() if name != "name"}  # Keras numbers them
    return {"data": {name: getattr(data, name) for name in names}, "model": config}


def check_grid(data: Data, grid: int) -> None:
    """Raise ``ValueError`` if the data have fewer classes than a grid has cells."""
    rule, fix = f"A grid needs {check_int('grid', grid, 2) ** 2} different classes", "Use a smaller `grid`"
    require(data.num_classes >= grid**2, rule, fix, grid=grid, num_classes=data.num_classes)


def localization_if_any(model: CoDANet, data: Data, grid: int, n_grids: int) -> LocalizationResult | None:
    """Return the localization on validation images, or None if too few are confidently right for a single grid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewerGridsWarning)  # the result has their number
        try:
            return localization(model, data.validation, grid=grid, n_grids=n_grids, verbose=False)
        except NotEnoughImagesError:
            return None


def _train_and_measure(model, data, folder, recipe, sizes, verbose):
    grid, n_grids, n_images = sizes
    metrics = ("accuracy", "localization", "removal")
    run = {name: None for metric in metrics for name in (metric, f"{metric}_error")}
    run |= {"untouched": None, "grids": 0, "images": 0, "note": ""}
    try:
        figures = training.train(model, data, folder, recipe, verbose=verbose)
    except TrainingDivergedError:
        return {**run, "note": "the loss stopped being finite"}
    share = figures["validation_accuracy"]
    run |= {"accuracy": share, "accuracy_error": math.sqrt(share * (1 - share) / data.num_validation)}
    located = localization_if_any(model, data, grid, n_grids)
    if located is None:
        run["note"] = f"no grid: fewer than {grid**2} classes are recognized with confidence"
    else:
        run |= {"localization": located.mean, "grids": located.n_grids}
        run["localization_error"] = located.standard_error if located.n_grids > 1 else None
    removed = pixel_removal(model, data.validation, n_images=n_images, verbose=bool(verbose))
    run |= {"removal": removed.auc, "removal_error": removed.standard_error if removed.n_images > 1 else None}
    return {**run, "untouched": float(removed.curve[0]), "images": removed.n_images}
