"""Search for temperature, ranks, learning rate and regularization with KerasTuner, by accuracy and localization.

Several processes can search together, as KerasTuner documents it: all run the same program, each with
``KERASTUNER_ORACLE_IP``, ``KERASTUNER_ORACLE_PORT`` and its own ``KERASTUNER_TUNER_ID`` in the environment. The process
with the id ``chief`` trains nothing and gives the trials to the others. All need access to the same folder. If a worker
dies, start it again with the same id, because the chief waits for its trial. gRPC uses ``http_proxy``: if that is set,
add the chief's address to ``no_proxy``, or the workers wait for an hour.
"""

import gc
import itertools
import math
import os
from typing import Any

import keras
import keras_tuner
from keras_tuner.src.distribute.utils import has_chief_oracle, is_chief_oracle

from keras_coda.data.load import Data
from keras_coda.training.recipes import upgrade
from keras_coda.tuning import resuming
from keras_coda.tuning.hypermodel import WEIGHTED, CoDAHyperModel
from keras_coda.tuning.results import HYPERPARAMETERS, METRICS, TuningResult
from keras_coda.utils.checks import check_int, require
from keras_coda.utils.run_folder import RunFolder

ARGUMENTS, RESULT, TRIALS = "search.json", "result.json", "trials"  # files of a search's folder
ORACLES = ("bayesian", "grid", "hyperband", "random")


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
    **space: Any,
) -> TuningResult | None:
    """Search for hyperparameters; the same call resumes a search that was interrupted.

    A resumed search starts again with the trial during which it was interrupted. Files are written whole or not at
    all, so that a kill or a full disk loses no other trial.

    Args:
        data: see :func:`keras_coda.data.load`. The search chooses by the validation images, so the accuracy of the
            chosen network must be measured on other images.
        preset: name or folder of the architecture.
        out: folder of this search; created if it does not exist. KerasTuner writes ``trials`` to it, with the weights
            of each, and this function ``result.json``.
        oracle: ``"bayesian"``, ``"random"``, ``"grid"`` (all combinations; ten values of each range), ``"hyperband"``,
            or any oracle of KerasTuner, which has its own objective and number of trials. (KerasTuner's
            ``GridSearchOracle`` cannot be resumed, ``"grid"`` can.)
        trials: int, number of trials; a larger number than before extends a search. None: 20; for ``"grid"`` all
            combinations. With ``"hyperband"`` it must be None, because ``epochs`` determines the number.
        epochs: int, of each trial; for ``"hyperband"`` the most that a trial gets.
        objective: ``"val_accuracy"``, ``"localization"``, a list of both, which KerasTuner adds up, or a weighted sum,
            ``{"val_accuracy": 0.7, "localization": 0.3}``. None: the list of both.
        seed: int, of the oracle and of every trial's network.
        verbose: 0 for silence, else as for ``keras.Model.fit``.
        **space: the search space and how localization is measured: further arguments of :class:`CoDAHyperModel`.

    Returns:
        A :class:`TuningResult`; None in a worker process, because the chief returns the result.

    Raises:
        ValueError: if an argument is out of range, or ``out`` holds another search.
        RuntimeError: raised by KerasTuner if three trials in a row failed; its message has the cause.

    Example:
        ```python
        data = keras_coda.data.load("digits")
        result = tune(data, "coda_digits", "search", trials=10, epochs=5, temperature=(5, 500))
        print(result.table())
        ```
    """
    epochs = check_int("epochs", epochs)
    weights: dict[str, Any] = {"weights": objective} if isinstance(objective, dict) else {}
    hypermodel = CoDAHyperModel(preset, data, seed=seed, **weights, **space)
    oracle = _oracle(oracle, trials, epochs, objective, seed + 1)  # KerasTuner takes seed 0 for none
    searched = {"oracle": type(oracle).__name__, "objective": str(oracle.objective), "epochs": epochs}
    arguments = searched | hypermodel.describe()
    folder = RunFolder(out, arguments, file=ARGUMENTS, what="search", leaves=(TRIALS, RESULT), upgrade=upgrade)
    folder.begin()
    try:
        with resuming.whole_files():
            tuner, is_worker = _open_tuner(oracle, hypermodel, folder.path)
            tuner.search(epochs=epochs, verbose=verbose)
    except keras_tuner.errors.FatalError as error:
        raise error.__cause__ or error from None
    if is_worker:
        return None
    result = TuningResult(_formula(oracle.objective, hypermodel.weights), _rows(oracle, epochs))
    result.to_json(folder.path / RESULT)
    return result


# === KerasTuner's parts ===


def _open_tuner(oracle, hypermodel, out):
    """Return ``(tuner, is_worker)``; the tuner has the trials that the search has made so far."""
    if not (has_chief_oracle() and not is_chief_oracle()):
        resuming.repair(oracle, out / TRIALS)
    tuner = _Tuner(oracle, hypermodel, directory=str(out), project_name=TRIALS)
    is_worker = tuner.oracle is not oracle  # but a client of the chief process
    if not is_worker:  # KerasTuner reloads only if there is a file named after this process; a chief's has another name
        resuming.reload(oracle, out / TRIALS)
    return tuner, is_worker


class _Tuner(keras_tuner.Tuner):
    """Runs the trials of any oracle, and saves the weights of each, from which Hyperband continues good trials."""

    def run_trial(self, trial, *, epochs, verbose):
        gc.collect()  # frees the last trial's network, which is in reference cycles
        hp, values = trial.hyperparameters, trial.hyperparameters.values
        model = self.hypermodel.build(hp)
        weights = keras.Model(model.inputs, model.outputs)  # without the optimizer
        if "tuner/trial_id" in values:
            weights.load_weights(self._get_checkpoint_fname(values["tuner/trial_id"]))
        epochs, initial_epoch = values.get("tuner/epochs", epochs), values.get("tuner/initial_epoch", 0)
        history = self.hypermodel.fit(hp, model, epochs=epochs, initial_epoch=initial_epoch, verbose=verbose)
        try:
            weights.save_weights(self._get_checkpoint_fname(trial.trial_id), overwrite=True)
        except OSError as error:  # a full disk, which is no fault of the trial: when the search goes on, it runs again
            raise keras_tuner.errors.FatalError from error
        return history


class _Grid(keras_tuner.Oracle):
    """All combinations. KerasTuner's own grid oracle loses its position when it is reloaded (KerasTuner issue 1055)."""

    def populate_space(self, trial_id):
        space = self.get_space().space
        tried = [trial.hyperparameters.values for trial in self.trials.values()]
        for combination in itertools.product(*(sorted(hp.values) for hp in space)):
            values = dict(zip((hp.name for hp in space), combination, strict=True))
            if values not in tried:
                return {"status": "RUNNING", "values": values}
        return {"status": "STOPPED", "values": None}


def _oracle(oracle, trials, epochs, objective, seed):
    if isinstance(oracle, keras_tuner.Oracle):
        rule = "An oracle of KerasTuner has its own `trials` and `objective`"
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
        rule = "`epochs` determines the number of Hyperband's trials"
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
    """Return the trials of an oracle as dicts, the best first and failed ones last."""
    sign = 1 if oracle.objective.direction == "max" else -1
    metrics = (*METRICS, "localization_error", "localization_grids")
    rows = []
    for trial in oracle.trials.values():
        values, is_done = trial.hyperparameters.values, trial.status == "COMPLETED"
        row = {"trial": trial.trial_id, "status": trial.status, "score": sign * trial.score if is_done else None}
        row |= {name: values[name] for name in HYPERPARAMETERS} | {"epochs": values.get("tuner/epochs", epochs)}
        row |= {name: float(trial.metrics.get_last_value(name)) if is_done else None for name in metrics}
        if is_done and trial.metrics.exists("localization_chance"):  # not in trials of version 0.1.0
            row["localization_chance"] = float(trial.metrics.get_last_value("localization_chance"))
        row["message"] = (trial.message or "").strip().rpartition("\n")[2] or None  # the last line of the traceback
        rows.append(row)
    return tuple(sorted(rows, key=lambda row: (math.inf if row["score"] is None else -row["score"], row["trial"])))
