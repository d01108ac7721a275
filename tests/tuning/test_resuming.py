"""Claims about searches that are killed, or run out of disk, while KerasTuner writes its files."""

import contextlib
import errno
import itertools
import json

import keras
import pytest

from keras_coda.tuning import CoDAHyperModel, hypermodel, resuming
from keras_coda.tuning import search as search_module
from tests.helpers.quarters import Killed
from tests.helpers.searches import cold_history, search

CHOICES = [0.1, 0.5, 1.0]


@pytest.fixture(scope="module")
def network(preset, data):
    return hypermodel.untrained(preset, data)


@pytest.fixture
def runs(monkeypatch, network):
    """Let trials end at once, as good as they are cold; give the temperatures that were trained."""
    trained = []
    monkeypatch.setattr(hypermodel, "untrained", lambda *_, **__: network)  # building networks takes the most time
    monkeypatch.setattr(search_module.gc, "collect", lambda: None)

    def fit(self, hp, model, **kwargs):
        trained.append(hp.get("temperature"))
        return cold_history(hp)

    monkeypatch.setattr(CoDAHyperModel, "fit", fit)
    return trained


@pytest.fixture
def stop(monkeypatch):
    """Raise an error at the write with this number of KerasTuner's files."""
    original = resuming.new_file

    def arm(number, error=Killed):
        count = itertools.count()

        @contextlib.contextmanager
        def new_file(path):
            with original(path) as temporary:
                yield temporary
                if next(count) == number:
                    raise error

        monkeypatch.setattr(resuming, "new_file", new_file)

    return arm


def temperatures(result):
    assert {trial["status"] for trial in result.trials} == {"COMPLETED"}
    return [trial["temperature"] for trial in result.trials]


# With three trials the files are: oracle, tuner; for each trial trial, oracle, (trained), trial, trial, oracle,
# oracle, tuner.
@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 15])
def test_a_kill_at_any_write_loses_no_trial(data, preset, tmp_path, runs, stop, number):
    options = {"oracle": "random", "trials": 3, "temperature": CHOICES}
    stop(number)
    with pytest.raises(Killed):
        search(data, preset, tmp_path, **options)
    stop(None)
    assert temperatures(search(data, preset, tmp_path, **options)) == CHOICES
    assert len(runs) <= 4  # at most the one that was running is repeated
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


@pytest.mark.parametrize("oracle", ["grid", "bayesian", "hyperband"])
@pytest.mark.parametrize("number", [1, 5, 6])
def test_other_oracles_go_on_too(data, preset, tmp_path, runs, stop, oracle, number):
    options = {"oracle": oracle, "trials": 3 if oracle == "bayesian" else None, "temperature": CHOICES, "epochs": 3}
    stop(number)
    with pytest.raises(Killed):
        search(data, preset, tmp_path, **options)
    stop(None)
    assert sorted(set(temperatures(search(data, preset, tmp_path, **options)))) == CHOICES


def test_a_full_disk_ends_the_search_and_not_its_trials(data, preset, tmp_path, runs, stop, monkeypatch):
    options = {"oracle": "random", "trials": 3, "temperature": CHOICES}
    full = OSError(errno.ENOSPC, "No space left on device")
    stop(5, full)
    with pytest.raises(OSError, match="No space left"):
        search(data, preset, tmp_path, **options)
    stop(None)
    with monkeypatch.context() as patch:

        def save_weights(*_, **__):
            raise full

        patch.setattr(keras.Model, "save_weights", save_weights)
        with pytest.raises(OSError, match="No space left"):
            search(data, preset, tmp_path, **options)
    assert temperatures(search(data, preset, tmp_path, **options)) == CHOICES


ORACLES = [(oracle, '{"ongoing') for oracle in ("grid", "bayesian", "hyperband")]


@pytest.mark.parametrize(("oracle", "text"), [*ORACLES, *(("random", text) for text in ("", "[]", "{}", None))])
def test_what_is_lost_is_made_again_from_the_trials(data, preset, tmp_path, runs, oracle, text):
    options = {"oracle": oracle, "trials": 3 if oracle in ("random", "bayesian") else None, "temperature": CHOICES}
    first = search(data, preset, tmp_path, epochs=3, **options)
    trained = len(runs)
    path = tmp_path / "trials" / "oracle.json"
    path.unlink() if text is None else path.write_text(text)
    for tuner in (tmp_path / "trials").glob("tuner*.json"):
        tuner.write_text(text or "{")
    again = search(data, preset, tmp_path, epochs=3, **options)
    assert again.trials == first.trials
    assert len(runs) == trained
    assert json.loads(path.read_text())["start_order"]


def test_a_damaged_trial_fails_and_the_search_goes_on(data, preset, tmp_path, runs):
    options = {"oracle": "random", "trials": 3, "temperature": (0.1, 1.0)}
    first = search(data, preset, tmp_path, **options)
    (tmp_path / "trials" / "trial_1" / "trial.json").write_text('{"trial_id": "1", "hyper')
    again = search(data, preset, tmp_path, **{**options, "trials": 4})
    assert [trial["status"] for trial in again.trials].count("COMPLETED") == 3
    (failed,) = (trial for trial in again.trials if trial["status"] == "FAILED")
    assert (failed["trial"], failed["message"]) == ("1", "Its trial.json was damaged")
    assert {trial["trial"] for trial in first.trials} < {trial["trial"] for trial in again.trials}
    assert len(runs) == 4


def test_a_search_of_which_nothing_can_be_read_begins_anew(data, preset, tmp_path, runs):
    options = {"oracle": "random", "trials": 2, "temperature": (0.1, 1.0)}
    search(data, preset, tmp_path, **options)
    for path in (tmp_path / "trials").rglob("*.json"):
        path.write_text("{")
    assert len(search(data, preset, tmp_path, **options).trials) == 2
    assert len(runs) == 4
