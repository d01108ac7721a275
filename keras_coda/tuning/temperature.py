"""The effect of the temperature on accuracy and maps: the same training at several temperatures."""

import dataclasses
import math
import os
from collections.abc import Sequence

import keras

from keras_coda.data.load import Data
from keras_coda.evaluation import grids
from keras_coda.evaluation.removal import pixel_removal
from keras_coda.training.recipes import Recipe, upgrade
from keras_coda.training.train import train
from keras_coda.tuning.results import TemperatureStudy
from keras_coda.tuning.trials import identity, localization_if_any, untrained
from keras_coda.utils.checks import check_finite, check_int, require
from keras_coda.utils.errors import TrainingDivergedError
from keras_coda.utils.run_folder import RunFolder

ARGUMENTS, RESULT = "study.json", "result.json"  # files of a study's folder; each run has a folder in it

# What the authors published for S-CoDA on CIFAR-10: 500 grids of 3x3 images; 25% of the pixels of 1,024 removed.
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
    grid: grids.Grid | None = None,
    n_grids: int = 500,
    n_images: int = 1024,
    overrides: dict | None = None,
    verbose: int | str = "auto",
) -> TemperatureStudy:
    """Train a network at each temperature for the same epochs, and measure accuracy, localization and pixel removal.

    The random weights at the start depend on the seed only, not on the temperature; the order of the images differs
    from run to run. All runs use the same learning rate, which need not be the best for each temperature. The same
    call resumes a study that was interrupted, from the last epoch of the run; more temperatures or seeds extend it.

    Args:
        data: see :func:`keras_coda.data.load`. Everything is measured on its validation images.
        preset: name or folder of the architecture; its weights, if any, are not used.
        out: folder of this study; created if it does not exist. It holds the training of each run, and
            ``result.json``, which is written after each run.
        temperatures: floats > 0, each once.
        epochs: int, passes over the training images in each run.
        learning_rate: float > 0, the peak of :func:`keras_coda.training.cosine_schedule`.
        warmup: float in [0, 1), the share of the steps in which the rate rises.
        seeds: ints; there is one run for each temperature and seed.
        grid: of localization, as for :func:`keras_coda.evaluation.localization`; None for the largest, up to 3x3, that
            the data have classes for. All runs use the same.
        n_grids: int, number of grids, or as many as the images suffice for.
        n_images: int, number of images from which pixels are removed, or all validation images if there are fewer.
        overrides: further arguments of :class:`~keras_coda.CoDANet`, for instance ``{"dtype": "mixed_bfloat16"}``.
        verbose: 0 for silence, else as for ``keras.Model.fit``.

    Returns:
        A :class:`~keras_coda.tuning.TemperatureStudy`. If the loss of a run stopped being finite, or its network
        classifies too few images correctly and confidently for a single grid, the values are None and a note says why.

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
    grid = grids.choose(grid, data.num_classes)
    recipe = Recipe(epochs=epochs, learning_rate=learning_rate, warmup=warmup)
    n_grids, n_images = check_int("n_grids", n_grids), min(check_int("n_images", n_images), data.num_validation)
    config = untrained(preset, data, **(overrides or {})).get_config()
    config["temperature"] = None  # differs from run to run
    arguments = {"recipe": dataclasses.asdict(recipe), "grid": grid, "n_grids": n_grids, "n_images": n_images}
    arguments |= identity(data, config)
    folder = RunFolder(out, arguments, file=ARGUMENTS, what="study", leaves=(RESULT,), upgrade=upgrade)
    folder.begin()

    result = folder.path / RESULT
    study = TemperatureStudy.from_json(result) if result.exists() else TemperatureStudy(())
    done = {(run["temperature"], run["seed"]) for run in study.runs}
    for temperature in temperatures:
        for seed in seeds:
            if (temperature, seed) in done:
                continue
            if verbose:
                print(f"Temperature {temperature:g}, seed {seed}")
            keras.utils.set_random_seed(seed)
            model = untrained(preset, data, **{**(overrides or {}), "temperature": temperature})
            out = folder.path / f"temperature-{temperature:g}-seed-{seed}"
            run = {"temperature": temperature, "seed": seed}
            run |= _train_and_measure(model, data, out, recipe, (grid, n_grids, n_images), verbose)
            study = TemperatureStudy((*study.runs, run))
            study.to_json(result)
    return study


def _train_and_measure(model, data, out, recipe, sizes, verbose):
    grid, n_grids, n_images = sizes
    metrics = ("accuracy", "localization", "removal")
    run = {name: None for metric in metrics for name in (metric, f"{metric}_error")}
    run |= {"untouched": None, "grids": 0, "images": 0, "note": ""}
    run["localization_chance"] = 1 / grids.num_cells(grid)
    try:
        figures = train(model, data, out, recipe, verbose=verbose)
    except TrainingDivergedError:
        return {**run, "note": "the loss stopped being finite"}
    share = figures["validation_accuracy"]
    run |= {"accuracy": share, "accuracy_error": math.sqrt(share * (1 - share) / data.num_validation)}
    located = localization_if_any(model, data, grid, n_grids)
    if located is None:
        run["note"] = f"no grid: fewer than {grids.num_cells(grid)} classes are recognized with confidence"
    else:
        run |= {"localization": located.mean, "grids": located.n_grids}
        run["localization_error"] = located.standard_error if located.n_grids > 1 else None
    removed = pixel_removal(model, data.validation, n_images=n_images, verbose=bool(verbose))
    run |= {"removal": removed.auc, "removal_error": removed.standard_error if removed.n_images > 1 else None}
    return {**run, "untouched": float(removed.curve[0]), "images": removed.n_images}
