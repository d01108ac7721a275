"""Search for temperature, ranks, learning rate and regularization with KerasTuner, by accuracy and localization.

Several processes search together through KerasTuner's own setting: all run the same program, each with
``KERASTUNER_ORACLE_IP``, ``KERASTUNER_ORACLE_PORT`` and its own ``KERASTUNER_TUNER_ID`` in the environment; the one
whose id is ``chief`` trains nothing and hands out the trials. They need one folder that all of them see. A worker that
dies is to be started again, with its old id: the chief waits for its trial. gRPC honors ``http_proxy``: where that is
set, the chief's address belongs into ``no_proxy``, or the workers wait for an hour.
"""

import dataclasses
import gc
import itertools
import json
import math
import os
from pathlib import Path

import keras

from keras_coda.data.load import Data
from keras_coda.models.coda_net import CoDANet
from keras_coda.training.callbacks import ValidateAverages
from keras_coda.training.recipes import Recipe
from keras_coda.tuning.results import HYPERPARAMETERS, TuningResult, claim_folder
from keras_coda.tuning.spaces import Space, check_space, check_weights, declare
from keras_coda.tuning.temperature import check_grid, fingerprint, localization_if_any, untrained
from keras_coda.utils.checks import check_int, require

try:
    import keras_tuner
except ImportError as error:
    raise ImportError(f'Tuning needs KerasTuner ({error}): pip install "keras-coda[tune]"') from error

ARGUMENTS, RESULT, TRIALS = "search.json", "result.json", "trials"  # what a search's folder holds
METRICS = ("val_accuracy", "localization")
WEIGHTED = "weighted_objective"  # the name under which the stated combination is logged
ORACLES = ("bayesian", "grid", "hyperband", "random")
_RECIPE = Recipe()


class CoDAHyperModel(keras_tuner.HyperModel):
    """The networks of one architecture that differ in temperature, ranks, learning rate and regularization.

    Each of the four is given as a number, which is kept; as a tuple ``(low, high)``, a range sampled on a logarithmic
    scale; or as a list, of which one is chosen. Every tuner of KerasTuner takes it, :func:`tune` is the short way.

    Args:
        preset: name or folder of the architecture; weights that come with it are not used.
        data: see :func:`keras_coda.data.load`. Trials are compared on its validation images.
        temperature: > 0. None: from a tenth to ten times the preset's.
        rank_multiplier: > 0, one factor for the preset's ranks of all layers, which are then rounded to at least 1.
        learning_rate: > 0, the peak.
        linear_map_regularization: λ >= 0; 0, for none, as the number itself or in a list. With ``coda_digits`` 0.01 to
            0.1 sharpen the maps, and nothing is learned from 1 on.
        recipe: what all trials have in common: schedule, warm-up, averaging of weights. Its epochs, learning rate and
            regularization are replaced by the trial's; batches and augmentation are those of the data.
        grid: int, images along a side of the grids of localization.
        n_grids: int, how many grids, if the images suffice.
        weights: a combination of objectives, for instance ``{"val_accuracy": 0.7, "localization": 0.3}``; its value is
            logged as ``weighted_objective``. None for none.
        overrides: further arguments of :class:`~keras_coda.CoDANet`, for instance ``{"dtype": "mixed_bfloat16"}``.
        seed: int, of the random weights, which are the same in every trial. (The order of the images goes on from one
            trial to the next.)

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
        grid: int = 3,
        n_grids: int = 100,
        weights: dict[str, float] | None = None,
        overrides: dict | None = None,
        seed: int = 0,
    ):
        super().__init__()
        # KerasTuner's own tuners clear Keras' global state, and a global dtype policy with it, before every trial.
        self.overrides = {"dtype": keras.config.dtype_policy().name, **(overrides or {})}
        self.preset, self.data, self.config = preset, data, untrained(preset, data, **self.overrides).get_config()
        if temperature is None:
            temperature = (self.config["temperature"] / 10, self.config["temperature"] * 10)
        spaces = (temperature, rank_multiplier, learning_rate, linear_map_regularization)
        named = dict(zip(HYPERPARAMETERS, spaces, strict=True))
        self.spaces = {name: check_space(name, space, zero=name == HYPERPARAMETERS[3]) for name, space in named.items()}
        check_grid(data, grid)
        self.recipe, self.grid, self.n_grids = recipe, grid, check_int("n_grids", n_grids)
        self.weights = None if weights is None else check_weights(weights, METRICS)
        self.seed = check_int("seed", seed, minimum=0)

    def build(self, hp: keras_tuner.HyperParameters) -> CoDANet:
        """Return the compiled network of a trial, with random weights."""
        values = {name: declare(hp, name, space) for name, space in self.spaces.items()}
        keras.utils.set_random_seed(self.seed)
        ranks = [max(1, round(rank * values["rank_multiplier"])) for rank in self.config["ranks"]]
        changed = {**self.overrides, "ranks": ranks, "temperature": values["temperature"]}
        model = untrained(self.preset, self.data, **changed)
        optimizer = self.recipe.optimizer(1)  # `fit`, which knows the epochs, sets its learning rates
        model.compile(optimizer, linear_map_regularization=values["linear_map_regularization"])
        return model

    def fit(self, hp, model: CoDANet, *, epochs: int, initial_epoch: int = 0, callbacks=(), verbose="auto"):
        """Train a trial's network for the whole of its schedule, and measure its localization at the end.

        A network that classifies too few images correctly and confidently for a single grid has no localization. It is
        given 0: less than any that was measured, so that none of these is ranked below it; ``localization_grids``,
        which is 0 too, tells the two apart. If the loss stops being finite, accuracy and localization are 0.

        Args:
            hp: the values of the trial.
            model: what :meth:`build` returned.
            epochs: int, passes over the training images that the schedule is made for.
            initial_epoch: int, how many of them the weights have seen already (Hyperband goes on with good trials).
            callbacks: those of the tuner.
            verbose: as for ``keras.Model.fit``.

        Returns:
            ``keras.callbacks.History`` of a single epoch, the last: what holds at the end of the schedule counts, not
            the luckiest epoch. It has ``val_accuracy``, ``val_loss``, ``localization``, ``localization_error`` (its
            standard error) and ``localization_grids``.
        """
        steps = int(self.data.train.cardinality())
        steps = steps if steps > 0 else sum(1 for _ in self.data.train)
        recipe = dataclasses.replace(self.recipe, epochs=epochs, learning_rate=hp.get("learning_rate"))
        model.optimizer.learning_rate = _Later(recipe.learning_rates(steps), initial_epoch * steps)
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
        if self.weights:
            logs[WEIGHTED] = sum(weight * logs[name] for name, weight in self.weights.items())
        history.history = {name: [value] for name, value in logs.items()}
        return history

    def describe(self) -> dict:
        """Return what makes this search space another one than the next, JSON-serializable."""
        names = ("spaces", "grid", "n_grids", "weights", "seed")
        description = {name: getattr(self, name) for name in names} | {"recipe": dataclasses.asdict(self.recipe)}
        return description | fingerprint(self.data, self.config)


def tune(
    data: Data,
    preset: str | os.PathLike,
    out: str | os.PathLike,
    *,
    oracle: str | keras_tuner.Oracle = "bayesian",
    trials: int | None = None,
    epochs: int = 10,
    objective: str | list[str] | dict[str, float] | None = None,
    seed: int = 0,
    verbose: int | str = "auto",
    **space,
) -> TuningResult | None:
    """Search for hyperparameters; killed, the search goes on with the same call, from the trial it was in.

    Args:
        data: see :func:`keras_coda.data.load`. The result has been chosen by its validation images: another part of
            the data is needed to say how good the network is.
        preset: name or folder of the architecture.
        out: folder of this search; created if it does not exist. It gets KerasTuner's ``trials``, with the weights of
            each, and ``result.json``.
        oracle: ``"bayesian"``, ``"random"``, ``"grid"`` (all combinations; ranges give ten values each),
            ``"hyperband"``, or any oracle of KerasTuner, which brings its own objective and number of trials. (Its
            ``GridSearchOracle`` cannot go on after it was killed, ``"grid"`` can.)
        trials: int, how many; larger than before, a search is extended. None: 20; for ``"grid"`` all; for
            ``"hyperband"``, where ``epochs`` decides, the only choice.
        epochs: int, of each trial; for ``"hyperband"`` the most a trial gets.
        objective: ``"val_accuracy"``, ``"localization"``, a list of both, which KerasTuner adds up, or a combination,
            ``{"val_accuracy": 0.7, "localization": 0.3}``. None: the list of both.
        seed: int, of the oracle and of every trial's network.
        verbose: 0 for silence, else as for ``keras.Model.fit``.
        **space: what is searched, and how it is measured: further arguments of :class:`CoDAHyperModel`.

    Returns:
        A :class:`TuningResult`; None in a worker process, whose chief returns it.

    Raises:
        ValueError: if an argument is out of range, or ``out`` holds another search.
        RuntimeError: by KerasTuner, if three trials in a row failed; its message has the cause.

    Example:
        ```python
        data = keras_coda.data.load("digits")
        result = tune(data, "coda_digits", "search", trials=10, epochs=5, temperature=(5, 500))
        print(result.table())
        ```
    """
    epochs = check_int("epochs", epochs)
    weights = {"weights": objective} if isinstance(objective, dict) else {}
    hypermodel = CoDAHyperModel(preset, data, seed=seed, **weights, **space)
    oracle = _oracle(oracle, trials, epochs, objective, seed + 1)  # KerasTuner takes seed 0 for none
    searched = {"oracle": type(oracle).__name__, "objective": str(oracle.objective), "epochs": epochs}
    out = Path(out).expanduser()
    claim_folder(out, ARGUMENTS, searched | hypermodel.describe(), what="search", foreign=(TRIALS, RESULT))
    tuner, is_worker = _open_tuner(oracle, hypermodel, out)
    tuner.search(epochs=epochs, verbose=verbose)
    if is_worker:
        return None
    result = TuningResult(_formula(oracle.objective, hypermodel.weights), _rows(oracle, epochs))
    result.to_json(out / RESULT)
    return result


# === KerasTuner's parts ===


def _open_tuner(oracle, hypermodel, out):
    """Return ``(tuner, whether it is a worker)``, in the state in which a search was left."""
    try:
        tuner = _Tuner(oracle, hypermodel, directory=str(out), project_name=TRIALS)
        is_worker = tuner.oracle is not oracle  # but a client of the chief's
        # KerasTuner looks for a file named after this process' id: alone, it would not find what a chief has begun.
        if not is_worker and (out / TRIALS / "oracle.json").exists():
            oracle.reload()
    except json.JSONDecodeError as error:
        raise ValueError(
            f"The files of a search must be whole. Received: '{out / TRIALS}' where oracle.json or a trial.json was "
            f"cut off while it was written ({error}). Choose another folder."
        ) from error
    return tuner, is_worker


class _Tuner(keras_tuner.Tuner):
    """Runs the trials of every oracle, and keeps the last weights of each for Hyperband to go on with."""

    def run_trial(self, trial, *, epochs, verbose):
        gc.collect()  # the last trial's network lies in cycles of references
        hp, values = trial.hyperparameters, trial.hyperparameters.values
        model = self.hypermodel.build(hp)
        weights = keras.Model(model.inputs, model.outputs)  # without the optimizer
        if "tuner/trial_id" in values:
            weights.load_weights(self._get_checkpoint_fname(values["tuner/trial_id"]))
        epochs, initial_epoch = values.get("tuner/epochs", epochs), values.get("tuner/initial_epoch", 0)
        history = self.hypermodel.fit(hp, model, epochs=epochs, initial_epoch=initial_epoch, verbose=verbose)
        weights.save_weights(self._get_checkpoint_fname(trial.trial_id), overwrite=True)
        return history


class _Grid(keras_tuner.Oracle):
    """All combinations. KerasTuner's own oracle forgets where it was when it is reloaded (its issue 1055)."""

    def populate_space(self, trial_id):
        space = self.get_space().space
        tried = [trial.hyperparameters.values for trial in self.trials.values()]
        for combination in itertools.product(*(sorted(hp.values) for hp in space)):
            values = dict(zip((hp.name for hp in space), combination, strict=True))
            if values not in tried:
                return {"status": "RUNNING", "values": values}
        return {"status": "STOPPED", "values": None}


class _Later(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of which some steps are over."""

    def __init__(self, rates, over):
        self.rates, self.over = rates, over

    def __call__(self, step):
        return self.rates(step + self.over)

    def get_config(self):
        return {"rates": self.rates, "over": self.over}


def _oracle(oracle, trials, epochs, objective, seed):
    if isinstance(oracle, keras_tuner.Oracle):
        rule = "An oracle of KerasTuner brings its own `trials` and `objective`"
        require(trials is None and objective is None, rule, "Leave them out", trials=trials, objective=objective)
        return oracle
    require(oracle in ORACLES, f"`oracle` must be one of {ORACLES} or an oracle of KerasTuner", oracle=oracle)
    names = [objective] if isinstance(objective, str) else list(METRICS if objective is None else objective)
    rule = f"`objective` must be one of {METRICS}, a list of them, or a dict of their weights"
    require(names and len(set(names)) == len(names) and set(names) <= set(METRICS), rule, objective=objective)
    objectives = [keras_tuner.Objective(name, "max") for name in names]
    if isinstance(objective, dict):
        objectives = [keras_tuner.Objective(WEIGHTED, "max")]
    options = {"objective": objectives if len(objectives) > 1 else objectives[0], "seed": seed}
    if oracle == "hyperband":
        rule = "The number of Hyperband's trials follows from `epochs`"
        require(trials is None, rule, "Leave `trials` out", trials=trials)
        return keras_tuner.oracles.HyperbandOracle(max_epochs=epochs, **options)
    most = None if trials is None and oracle == "grid" else check_int("trials", 20 if trials is None else trials)
    oracles = keras_tuner.oracles
    made_by = {"bayesian": oracles.BayesianOptimizationOracle, "random": oracles.RandomSearchOracle, "grid": _Grid}
    return made_by[oracle](max_trials=most, **options)


def _formula(objective, weights):
    if weights and objective.name == WEIGHTED:
        return " + ".join(f"{weight:g} {name}" for name, weight in weights.items())
    parts = getattr(objective, "objectives", [objective])
    return " + ".join(part.name if part.direction == "max" else f"(-{part.name})" for part in parts)


def _rows(oracle, epochs):
    """Return the trials of an oracle as dicts, the best first, failed ones last."""
    sign = 1 if oracle.objective.direction == "max" else -1
    metrics = (*METRICS, "localization_error", "localization_grids")
    rows = []
    for trial in oracle.trials.values():
        values, is_done = trial.hyperparameters.values, trial.status == "COMPLETED"
        row = {"trial": trial.trial_id, "status": trial.status, "score": sign * trial.score if is_done else None}
        row |= {name: values[name] for name in HYPERPARAMETERS} | {"epochs": values.get("tuner/epochs", epochs)}
        row |= {name: float(trial.metrics.get_last_value(name)) if is_done else None for name in metrics}
        row["message"] = (trial.message or "").strip().rpartition("\n")[2] or None  # the last line of the traceback
        rows.append(row)
    return tuple(sorted(rows, key=lambda row: (math.inf if row["score"] is None else -row["score"], row["trial"])))
