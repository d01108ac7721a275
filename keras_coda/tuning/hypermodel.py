"""The networks of a hyperparameter search, as a KerasTuner hypermodel."""

import dataclasses
import math
import os

import keras
import keras_tuner

from keras_coda.data.load import Data
from keras_coda.evaluation import grids
from keras_coda.models.coda_net import CoDANet
from keras_coda.models.penalties.linear_map import LinearMapPenalty
from keras_coda.training.callbacks import ValidateAverages
from keras_coda.training.recipes import Recipe
from keras_coda.tuning.results import HYPERPARAMETERS, METRICS
from keras_coda.tuning.spaces import Space, check_space, check_weights, declare
from keras_coda.tuning.trials import identity, localization_if_any, untrained
from keras_coda.utils.checks import check_int
from keras_coda.utils.progress import steps_per_epoch

WEIGHTED = "weighted_objective"  # the name under which a weighted sum of the metrics is logged
_RECIPE = Recipe()


class CoDAHyperModel(keras_tuner.HyperModel):
    """Networks of one architecture that differ in temperature, ranks, learning rate and regularization.

    Each of these four hyperparameters is a number, which is fixed; a tuple ``(low, high)``, a range sampled on a
    logarithmic scale; or a list of choices. All tuners of KerasTuner accept the hypermodel; :func:`tune` is the short
    way.

    Args:
        preset: name or folder of the architecture; its weights, if any, are not used.
        data: see :func:`keras_coda.data.load`. Trials are compared on its validation images.
        temperature: > 0. None: the range from a tenth to ten times the preset's temperature.
        rank_multiplier: > 0, a factor for the preset's ranks of all layers, which are then rounded to at least 1.
        learning_rate: > 0, the peak.
        linear_map_regularization: weight λ >= 0 of the linear-map penalty. 0 (no penalty) is allowed as a number and
            in a list. With ``coda_digits`` 0.01 to 0.1 sharpen the maps, and from 1 on nothing is learned.
        recipe: schedule, warm-up and averaging of weights of all trials. Its epochs, learning rate and regularization
            are replaced by those of the trial; batch size and augmentation are those of the data.
        grid: of localization, as for :func:`keras_coda.evaluation.localization`; None for the largest, up to 3x3, that
            the data have classes for. All trials use the same.
        n_grids: int, number of grids, or as many as the images suffice for.
        weights: weighted sum of metrics to log as ``weighted_objective``, for instance
            ``{"val_accuracy": 0.7, "localization": 0.3}``. None for none.
        overrides: further arguments of :class:`~keras_coda.CoDANet`, for instance ``{"dtype": "mixed_bfloat16"}``.
        seed: int, of the random weights, which are the same in every trial. (The order of the images differs from
            trial to trial.)

    Raises:
        ValueError: if a range is empty or not positive, or the data have fewer classes than a grid has cells.

    Example:
        ```python
        data = keras_coda.data.load("digits")
        hypermodel = CoDAHyperModel("coda_digits", data, temperature=(5, 500), learning_rate=0.01)
        objective = [keras_tuner.Objective("val_accuracy", "max"), keras_tuner.Objective("localization", "max")]
        tuner = keras_tuner.RandomSearch(hypermodel, objective, max_trials=10, directory="search")
        tuner.search(epochs=5)
        ```
    """

    def __init__(
        self,
        preset: str | os.PathLike,
        data: Data,
        *,
        temperature: Space | None = None,
        rank_multiplier: Space = 1.0,
        learning_rate: Space = (1e-3, 3e-2),
        linear_map_regularization: Space = 0.0,
        recipe: Recipe = _RECIPE,
        grid: grids.Grid | None = None,
        n_grids: int = 100,
        weights: dict[str, float] | None = None,
        overrides: dict | None = None,
        seed: int = 0,
    ):
        super().__init__()
        # KerasTuner's own tuners clear Keras' global state, including the global dtype policy, before every trial.
        self.overrides = {"dtype": keras.config.dtype_policy().name, **(overrides or {})}
        self.preset, self.data, self.config = preset, data, untrained(preset, data, **self.overrides).get_config()
        if temperature is None:
            temperature = (self.config["temperature"] / 10, self.config["temperature"] * 10)
        spaces = (temperature, rank_multiplier, learning_rate, linear_map_regularization)
        named = dict(zip(HYPERPARAMETERS, spaces, strict=True))
        self.spaces = {name: check_space(name, space, zero=name == HYPERPARAMETERS[3]) for name, space in named.items()}
        self.recipe, self.n_grids = recipe, check_int("n_grids", n_grids)
        self.grid = grids.choose(grid, data.num_classes)
        self.weights = None if weights is None else check_weights(weights, METRICS)
        self.seed = check_int("seed", seed, minimum=0)

    def build(self, hp: keras_tuner.HyperParameters) -> CoDANet:
        """Return the compiled network of a trial with random weights."""
        values = {name: declare(hp, name, space) for name, space in self.spaces.items()}
        keras.utils.set_random_seed(self.seed)
        ranks = [max(1, round(rank * values["rank_multiplier"])) for rank in self.config["ranks"]]
        changed = {**self.overrides, "ranks": ranks, "temperature": values["temperature"]}
        model = untrained(self.preset, self.data, **changed)
        optimizer = self.recipe.optimizer(1)  # `fit` sets its learning rates, because it knows the epochs
        model.compile(optimizer, penalties=[LinearMapPenalty(values["linear_map_regularization"])])
        return model

    def fit(self, hp, model: CoDANet, *, epochs: int, initial_epoch: int = 0, callbacks=(), verbose="auto"):
        """Train the network of a trial to the end of its schedule, then measure its localization.

        If too few images are classified correctly and confidently for a single grid, localization is logged as 0 and
        ``localization_grids`` as 0, so such trials rank last. If the loss stops being finite, accuracy and
        localization are logged as 0.

        Args:
            hp: the hyperparameters of the trial.
            model: the network that :meth:`build` returned.
            epochs: int, number of epochs of the whole schedule.
            initial_epoch: int, how many of them the weights have been trained for already (Hyperband continues good
                trials).
            callbacks: those of the tuner.
            verbose: as for ``keras.Model.fit``.

        Returns:
            ``keras.callbacks.History`` with the last epoch only, because a trial is judged at the end of its schedule,
            not by its best epoch: ``val_accuracy``, ``val_loss``, ``localization``, ``localization_error`` (its
            standard error), ``localization_grids`` and ``localization_chance`` (the value of uniform maps).
        """
        steps = steps_per_epoch(self.data.train)
        recipe = dataclasses.replace(self.recipe, epochs=epochs, learning_rate=hp.get("learning_rate"))
        model.optimizer.learning_rate = _Remaining(recipe.learning_rates(steps), initial_epoch * steps)
        history = model.fit(
            self.data.train,
            validation_data=self.data.validation,
            epochs=epochs,
            initial_epoch=initial_epoch,
            callbacks=[*callbacks, ValidateAverages(), keras.callbacks.TerminateOnNaN()],
            verbose=verbose,
        )
        logs = {name: float(values[-1]) for name, values in history.history.items()}
        is_finite = all(map(math.isfinite, logs.values()))
        measured = localization_if_any(model, self.data, self.grid, self.n_grids) if is_finite else None
        if not is_finite:
            logs = {"val_accuracy": 0.0}
        logs["localization"] = measured.mean if measured else 0.0
        logs["localization_error"] = measured.standard_error if measured and measured.n_grids > 1 else 0.0
        logs["localization_grids"] = float(measured.n_grids if measured else 0)
        logs["localization_chance"] = 1 / grids.num_cells(self.grid)
        if self.weights:
            logs[WEIGHTED] = sum(weight * logs[name] for name, weight in self.weights.items())
        history.history = {name: [value] for name, value in logs.items()}
        return history

    def describe(self) -> dict:
        """Return the settings that identify this search space, JSON-serializable."""
        names = ("spaces", "grid", "n_grids", "weights", "seed")
        description = {name: getattr(self, name) for name in names} | {"recipe": dataclasses.asdict(self.recipe)}
        return description | identity(self.data, self.config)


class _Remaining(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose first steps have been made already."""

    def __init__(self, rates, done):
        self.rates, self.done = rates, done

    def __call__(self, step):
        return self.rates(step + self.done)

    def get_config(self):
        return {"rates": self.rates, "done": self.done}
