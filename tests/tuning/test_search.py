"""Claims about searches: what is searched, what is logged, and that they go on after a kill, in several processes."""

import contextlib
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import keras
import keras_tuner
import numpy as np
import pytest

from keras_coda.training.recipes import Recipe
from keras_coda.tuning import HYPERPARAMETERS, METRICS, CoDAHyperModel, TemperatureStudy, TuningResult, tune
from tests.helpers.page_commands import commands
from tests.helpers.quarters import FAST, Killed
from tests.helpers.searches import FIXED, cold_history, search
from tests.helpers.waiting import free_ports

pytestmark = pytest.mark.slow

EARLIER = pathlib.Path(__file__).parents[1] / "golden" / "written_by_0_1_0" / "search"


# === What is searched ===


def test_ranges_are_logarithmic_lists_are_choices_and_numbers_are_kept(data, preset):
    space = {"temperature": (0.1, 10), "rank_multiplier": [2, 0.5], "learning_rate": 0.02}
    hypermodel = CoDAHyperModel(preset, data, grid=2, linear_map_regularization=[0, 0.1], **space)
    hp = keras_tuner.HyperParameters()
    hypermodel.build(hp)
    found = {entry.name: entry for entry in hp.space}
    assert set(found) == set(HYPERPARAMETERS)
    assert found["temperature"].sampling == "log"
    assert [found["temperature"].prob_to_value(p) for p in (0, 0.5, 1)] == pytest.approx([0.1, 1, 10])
    assert found["rank_multiplier"].values == [0.5, 2.0]
    assert found["linear_map_regularization"].values == [0.0, 0.1]
    assert isinstance(found["learning_rate"], keras_tuner.engine.hyperparameters.Fixed)
    assert hp.get("learning_rate") == 0.02


def test_the_default_temperatures_lie_around_the_presets(data):
    assert CoDAHyperModel("coda_digits", data, grid=2).spaces["temperature"] == (5.0, 500.0)


def test_the_grid_is_the_largest_that_the_data_have_classes_for(data, preset):
    for options, grid in (({}, 2), ({"grid": (1, 3)}, (1, 3)), ({"grid": [2, 2]}, 2)):
        hypermodel = CoDAHyperModel(preset, data, **FIXED, **options)
        assert hypermodel.describe()["grid"] == hypermodel.grid == grid


def test_a_trials_network_has_the_trials_values(data, preset):
    hypermodel = CoDAHyperModel(preset, data, grid=2, **{**FIXED, "temperature": 7.0, "rank_multiplier": 0.2})
    first, second = (hypermodel.build(keras_tuner.HyperParameters()) for _ in range(2))
    assert (first.temperature, first.ranks) == (7.0, (1, 1))
    assert all(np.array_equal(*pair) for pair in zip(first.get_weights(), second.get_weights(), strict=True))


def test_a_global_dtype_policy_survives_what_keras_tuner_clears(data, preset):
    keras.config.set_dtype_policy("mixed_bfloat16")
    hypermodel = CoDAHyperModel(preset, data, grid=2, **FIXED)
    keras.utils.clear_session()
    assert hypermodel.build(keras_tuner.HyperParameters()).dtype_policy.name == "mixed_bfloat16"


def test_averaged_weights_are_what_a_trial_is_measured_by(data, preset):
    hypermodel = CoDAHyperModel(preset, data, recipe=Recipe(ema=0.8), **FIXED, **FAST)
    hp = keras_tuner.HyperParameters()
    model = hypermodel.build(hp)
    logs = hypermodel.fit(hp, model, epochs=2, verbose=0).history
    assert {len(values) for values in logs.values()} == {1}
    loss, accuracy = model.evaluate(data.validation, verbose=0)
    assert logs["val_loss"] == [pytest.approx(loss)]
    assert logs["val_accuracy"] == [pytest.approx(accuracy)]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"temperature": 0.0}, r"all positive, each once. Received: temperature=0.0"),
        ({"temperature": (10, 1)}, r"range \(low, high\).*temperature=\(10, 1\)"),
        ({"learning_rate": (0.1, 0.2, 0.3)}, r"range \(low, high\).*learning_rate"),
        ({"learning_rate": []}, r"list of choices.*learning_rate=\[\]"),
        ({"rank_multiplier": [1, 1.0]}, "each once.*rank_multiplier"),
        ({"rank_multiplier": "two"}, "`rank_multiplier` must be a finite number"),
        ({"linear_map_regularization": (0, 1)}, "must begin above 0.*use a list"),
        ({"linear_map_regularization": [0, -1]}, "none negative.*linear_map_regularization"),
        ({"grid": 3}, "9 different classes.*num_classes=4.*smaller `grid`"),
        ({"weights": {"val_loss": 1}}, "`weights` must give positive numbers"),
        ({"weights": {"localization": 0}}, "`weights` must give positive numbers"),
        ({"learning_rates": 0.1}, "learning_rates"),
    ],
)
def test_bad_spaces_are_refused(data, preset, options, match):
    with pytest.raises((ValueError, TypeError), match=match):
        CoDAHyperModel(preset, data, **{"grid": 2, **FIXED, **options})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"oracle": "simplex"}, "`oracle` must be one of.*'simplex'"),
        ({"objective": "val_loss"}, "`objective` must be one of.*'val_loss'"),
        ({"objective": []}, "`objective` must be one of"),
        ({"objective": "weighted_objective"}, "`objective` must be one of"),
        ({"objective": {"val_loss": 1.0}}, "`weights` must give"),
        ({"trials": 0}, "`trials` must be a positive integer"),
        ({"epochs": 0}, "`epochs` must be a positive integer"),
        ({"oracle": "hyperband", "trials": 3}, "`epochs` determines the number of Hyperband's trials"),
    ],
)
def test_bad_searches_leave_nothing_behind(data, preset, tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        search(data, preset, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


# === Searches ===


def test_trials_log_accuracy_and_localization_and_add_them_up(data, preset, tmp_path):
    result = search(data, preset, tmp_path / "out", trials=2, temperature=[0.1, 1.0], epochs=4)
    assert result.objective == "val_accuracy + localization"
    assert {trial["temperature"] for trial in result.trials} == {0.1, 1.0}
    for trial in result.trials:
        assert trial["status"] == "COMPLETED"
        assert trial["score"] == pytest.approx(trial["val_accuracy"] + trial["localization"])
    best, other = result.trials
    assert best["score"] >= other["score"]
    assert best["val_accuracy"] > 0.9
    assert best["localization"] > 0.25
    assert best["localization_grids"] == 4
    assert result.best == {**FIXED, "temperature": best["temperature"]}
    assert TuningResult.from_json(tmp_path / "out" / "result.json") == result
    assert len(result.table().splitlines()) == 4
    assert {trial["localization_chance"] for trial in result.trials} == {0.25}
    assert "localization (chance 0.250)" in result.table()
    assert len(result.plot().axes) == 3  # two metrics against the temperature, and against each other
    with pytest.raises(ValueError, match="must hold a TemperatureStudy.*TuningResult"):
        TemperatureStudy.from_json(tmp_path / "out" / "result.json")


def test_a_network_without_localization_gets_zero_and_no_grid(data, preset, tmp_path):
    result = search(data, preset, tmp_path, trials=1, temperature=1e4, objective={"val_accuracy": 2, "localization": 1})
    (trial,) = result.trials
    assert (trial["localization"], trial["localization_grids"], trial["status"]) == (0, 0, "COMPLETED")
    assert trial["score"] == pytest.approx(2 * trial["val_accuracy"])
    assert result.objective == "2 val_accuracy + 1 localization"
    assert "0 (no grid)" in result.table()


def test_a_diverged_trial_is_the_worst_one(data, preset, tmp_path, monkeypatch):
    rates = keras.optimizers.schedules.ExponentialDecay(math.inf, 1, 1)
    monkeypatch.setattr(Recipe, "learning_rates", lambda self, steps: rates)
    (trial,) = search(data, preset, tmp_path, trials=1, objective="val_accuracy").trials
    assert (trial["val_accuracy"], trial["localization"], trial["localization_grids"]) == (0, 0, 0)


@pytest.fixture
def kill(monkeypatch):
    """Let trials end at once, as good as they are cold, and the search be killed in the one with this number."""

    def arm(number):
        count = iter(range(100))

        def fit(self, hp, model, **kwargs):
            if next(count) == number:
                raise Killed
            return cold_history(hp)

        monkeypatch.setattr(CoDAHyperModel, "fit", fit)

    return arm


@pytest.mark.parametrize(("oracle", "trials"), [("random", 3), ("grid", None), ("bayesian", 3), ("hyperband", None)])
def test_a_killed_search_goes_on_where_it_was(data, preset, tmp_path, kill, oracle, trials):
    options = {"oracle": oracle, "trials": trials, "temperature": [0.1, 0.5, 1.0], "epochs": 3}
    kill(1)
    with pytest.raises(Killed):
        search(data, preset, tmp_path, **options)
    finished = next((tmp_path / "trials").glob("trial_*/checkpoint.weights.h5"))
    before = finished.stat().st_mtime_ns
    kill(None)
    result = search(data, preset, tmp_path, **options)
    assert list(dict.fromkeys(trial["temperature"] for trial in result.trials)) == [0.1, 0.5, 1.0]  # the best first
    assert finished.stat().st_mtime_ns == before
    assert search(data, preset, tmp_path, **options) == result  # finished: nothing is trained


def test_a_search_killed_in_its_first_trial_goes_on_and_can_be_extended(data, preset, tmp_path, kill, monkeypatch):
    kill(0)
    with pytest.raises(Killed):
        search(data, preset, tmp_path, trials=1, temperature=(0.1, 1.0))
    kill(None)
    first = search(data, preset, tmp_path, trials=1, temperature=(0.1, 1.0))
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "another")
    second = search(data, preset, tmp_path, trials=2, temperature=(0.1, 1.0))
    assert len(second.trials) == 2
    assert first.trials[0] in second.trials


def test_the_folder_of_another_search_is_refused(data, preset, tmp_path, kill):
    kill(None)
    search(data, preset, tmp_path / "out", trials=1)
    for options in ({"temperature": 2.0}, {"epochs": 2}, {"objective": "localization"}, {"oracle": "grid"}):
        with pytest.raises(
            ValueError, match="A search can be resumed only with the arguments that it began with.*another folder"
        ):
            search(data, preset, tmp_path / "out", trials=1, **options)
    (tmp_path / "foreign" / "trials").mkdir(parents=True)
    with pytest.raises(ValueError, match="must be new or hold a search.*'trials'"):
        search(data, preset, tmp_path / "foreign", trials=1)


def test_a_search_that_version_0_1_0_finished_is_read_and_not_repeated(data, preset, tmp_path, kill):
    shutil.copytree(EARLIER, tmp_path / "out")
    before = TuningResult.from_json(EARLIER / "result.json")
    assert before.trials[0]["status"] == "COMPLETED"
    kill(0)  # in any training
    options = {**FIXED, "temperature": [0.1, 1.0], "linear_map_regularization": 0.1}
    assert search(data, preset, tmp_path / "out", trials=1, **options) == before
    assert (tmp_path / "out" / "result.json").read_text() == (EARLIER / "result.json").read_text()
    with pytest.raises(ValueError, match=r"seed=5 \(it was 0\)\. "):  # the only difference
        search(data, preset, tmp_path / "out", trials=1, seed=5, **options)


def test_hyperband_goes_on_with_weights_and_rates_of_good_trials(data, preset, tmp_path, monkeypatch):
    seen = []
    original = CoDAHyperModel.fit

    def fit(self, hp, model, *, epochs, initial_epoch=0, **kwargs):
        before = [weights.copy() for weights in model.get_weights()]
        history = original(self, hp, model, epochs=epochs, initial_epoch=initial_epoch, **kwargs)
        rate = float(model.optimizer.learning_rate)
        seen.append((hp.values.get("tuner/trial_id"), initial_epoch, epochs, before, model.get_weights(), rate))
        return history

    monkeypatch.setattr(CoDAHyperModel, "fit", fit)
    oracle = keras_tuner.oracles.HyperbandOracle(
        [keras_tuner.Objective(name, "max") for name in METRICS], max_epochs=2, factor=2, seed=1
    )
    space = {**FIXED, "temperature": [0.1, 1.0]}
    result = tune(data, preset, tmp_path, oracle=oracle, epochs=2, verbose=0, **space, **FAST)
    past, initial_epoch, epochs, before, *_ = next(entry for entry in seen if entry[0] is not None)
    assert (initial_epoch, epochs) == (1, 2)
    after = seen[[trial["trial"] for trial in sorted(result.trials, key=lambda t: t["trial"])].index(past)][4]
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    assert max(abs(entry[5]) for entry in seen) < 1e-6  # at the end of every trial's schedule the rate is 0
    with pytest.raises(ValueError, match="has its own `trials` and `objective`"):
        tune(data, preset, tmp_path, oracle=oracle, trials=3, **FIXED, **FAST)


def test_any_tuner_of_keras_tuner_takes_the_hypermodel(data, preset, tmp_path):
    objective = [keras_tuner.Objective(name, "max") for name in METRICS]
    hypermodel = CoDAHyperModel(preset, data, **{**FIXED, "temperature": [0.5, 1.0]}, **FAST)
    tuner = keras_tuner.RandomSearch(hypermodel, objective, max_trials=1, directory=str(tmp_path))
    tuner.search(epochs=1, verbose=0, callbacks=[keras.callbacks.TensorBoard(tmp_path / "logs")])
    (trial,) = tuner.oracle.get_best_trials()
    assert -trial.score == pytest.approx(sum(trial.metrics.get_last_value(name) for name in METRICS))
    assert list((tmp_path / "logs").rglob("events*"))


# === Several processes ===

WORKER = """
import os, pathlib, sys, time
from keras_tuner.src.distribute import oracle_chief
from keras_coda import tuning
from keras_coda.tuning import CoDAHyperModel
from keras_coda_cli import main
from tests.helpers import quarters
from tests.helpers.searches import search

class Quick:  # the chief looks every 20 s whether it may go
    sleep = staticmethod(lambda seconds: time.sleep(min(seconds, 0.2)))

def fit(self, *args, **kwargs):  # neither goes on before the other has a trial, too
    folder = pathlib.Path()
    (folder / f"{os.environ['KERASTUNER_TUNER_ID']}.trial").touch()
    while len(list(folder.glob("*.trial"))) < 2:
        time.sleep(0.05)
    return original(self, *args, **kwargs)

def tune(data, preset, out, *, grid, objective, **options):
    result = search(quarters.make_data(), sys.argv[1], out, **options)
    print("RESULT", result and len(result.trials))
    return result

original, CoDAHyperModel.fit = CoDAHyperModel.fit, fit
oracle_chief.time, tuning.tune = Quick, tune
sys.exit(main.main(sys.argv[2:]))
"""


def test_two_workers_share_the_trials_of_a_chief(preset, tmp_path):
    (port,) = free_ports(1)
    ((shared, arguments),) = commands("many_hosts.md", "tune")
    assert set(shared) == {"KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"}
    shared = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port), "no_proxy": "127.0.0.1"}
    arguments, root = [sys.executable, "-c", WORKER, str(preset), *arguments], str(pathlib.Path(__file__).parents[2])
    with contextlib.ExitStack() as processes:
        outputs = []
        started = {}
        for name in ("chief", "worker-1", "worker-2"):
            output = processes.enter_context((tmp_path / f"{name}.txt").open("w+"))
            environment = {**os.environ, **shared, "KERASTUNER_TUNER_ID": name, "PYTHONPATH": root}
            options = {"cwd": tmp_path, "stdout": output, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(arguments, env=environment, **options)
            processes.callback(process.wait)
            processes.callback(process.kill)
            started[name] = process
            outputs.append(output)
        deadline = time.monotonic() + 900  # for machines under load
        codes = {name: process.wait(max(1, deadline - time.monotonic())) for name, process in started.items()}
        texts = [(tmp_path / f"{name}.txt").read_text() for name in started]
    assert set(codes.values()) == {0}, texts
    assert [re.search("RESULT (.*)", text)[1] for text in texts] == ["4", "None", "None"]
    result = TuningResult.from_json(tmp_path / "search" / "result.json")
    assert [trial["status"] for trial in result.trials] == ["COMPLETED"] * 4
    assert len({trial["temperature"] for trial in result.trials}) == 4
    assert sorted(path.stem for path in (tmp_path / "search" / "trials").glob("*.json")) == [
        "chief", "oracle", "worker-1", "worker-2",
    ]  # each worker has ended at least one  # fmt: skip
