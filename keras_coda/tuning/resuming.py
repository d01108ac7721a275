# ruff: noqa: SLF001 - KerasTuner has no public way to the state of its oracles
"""The files of KerasTuner's searches: written whole or not at all, and read again after a kill.

KerasTuner writes ``oracle.json`` and ``trial.json`` in place, one after the other. A kill or a full disk leaves one of
them cut off, or the two contradict each other: a trial has ended that the oracle takes for a running one, or is not in
its lists at all. The trials are what counts: everything else follows from them.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from keras_tuner.engine.trial import Trial
from keras_tuner.oracles import HyperbandOracle
from keras_tuner.src import utils

from keras_coda.utils.atomic import new_file
from keras_coda.utils.reading import read_json

_ORACLE = "oracle.json"
_ENDED = ("COMPLETED", "FAILED", "STOPPED")


@contextlib.contextmanager
def whole_files() -> Iterator[None]:
    """Let KerasTuner write its JSON files whole or not at all."""

    def save_json(path, value):
        text = json.dumps(value)
        with new_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return text

    original, utils.save_json = utils.save_json, save_json
    try:
        yield
    finally:
        utils.save_json = original


def repair(oracle, folder: Path) -> None:
    """Make the files in the folder of trials readable, which versions up to 0.1.0 may have left cut off.

    A trial whose file is damaged becomes a failed one: nobody knows what it tried. What else is damaged is deleted.

    Args:
        oracle: of KerasTuner.
        folder: the project's folder; it need not exist.
    """
    trials = {path: _load(path) for path in sorted(folder.glob("trial_*/trial.json"))}
    good = next((trial for trial in trials.values() if trial is not None), None)
    for path in (path for path, trial in trials.items() if trial is None):
        if good is None:
            path.unlink()
            continue
        name = path.parent.name.removeprefix("trial_")
        failed = Trial(good.hyperparameters.copy(), name, "FAILED", message="Its trial.json was damaged")
        with whole_files():
            failed.save(str(path))
    state = _read(folder / _ORACLE)
    is_whole = oracle.get_state().keys() <= state.keys()
    if is_whole:
        named = {*state["start_order"], *state["retry_queue"], *state["ongoing_trials"].values()}
        is_whole = all((folder / f"trial_{name}" / "trial.json").exists() for name in named)
    for path in folder.glob("*.json"):
        # A tuner's file holds nothing, but lets KerasTuner read that of the oracle.
        if not is_whole or path.name != _ORACLE:
            path.unlink()


def reload(oracle, folder: Path) -> None:
    """Give an oracle the trials of an earlier search. Those that did not end run again.

    Args:
        oracle: of KerasTuner, which knows its folder.
        folder: that folder, repaired.
    """
    known: set[str] = set()
    if (folder / _ORACLE).exists():
        oracle.reload()
        known.update(oracle.start_order)
    else:
        trials = [Trial.load(str(path)) for path in folder.glob("trial_*/trial.json")]
        oracle.trials = {trial.trial_id: trial for trial in sorted(trials, key=lambda trial: trial.trial_id)}
    for name, trial in oracle.trials.items():
        if name not in known:
            oracle.update_space(trial.hyperparameters)
            oracle._record_values(trial)
            oracle.start_order.append(name)
        if trial.status not in _ENDED:  # a new one, without the figures that it may have reported before the kill
            oracle.trials[name] = Trial(trial.hyperparameters, name)
    ended = [name for name, trial in oracle.trials.items() if trial.status in _ENDED]
    oracle.end_order = list(dict.fromkeys([*(name for name in oracle.end_order if name in ended), *ended]))
    oracle._retry_queue = sorted(oracle.trials.keys() - ended, reverse=True)  # taken from its end
    oracle.ongoing_trials = {}
    forgotten = oracle.trials.keys() - known
    if forgotten:
        # Numbers that were drawn for them are not drawn again: too many that were tried before end a search.
        draws = (oracle._max_collisions + 1) * max(1, len(oracle.hyperparameters.space))
        oracle._seed_state += draws * len(forgotten)
        if isinstance(oracle, HyperbandOracle) and oracle.hyperband_iterations == 1:
            _refill_brackets(oracle)
        oracle.save()


def _refill_brackets(oracle):
    """Sort the trials of a Hyperband oracle into rounds and brackets anew, as their values say."""
    brackets, bracket_of = {}, {}
    for name in sorted(oracle.trials):
        values = oracle.trials[name].hyperparameters.values
        if "tuner/bracket" in values:
            past = values.get("tuner/trial_id")
            # Later rounds have the number of the bracket that was current then, perhaps another one.
            number = bracket_of[name] = bracket_of.get(past, values["tuner/bracket"])
            rounds = brackets.setdefault(number, [[] for _ in range(oracle._get_num_rounds(number))])
            rounds[values["tuner/round"]].append({"past_id": past, "id": name})
    if brackets:
        oracle._brackets = [{"bracket_num": n, "rounds": brackets[n]} for n in sorted(brackets, reverse=True)]
        oracle._current_bracket = min(brackets)


def _load(path):
    """Return a trial, or None if its file is damaged."""
    try:
        return Trial.load(str(path))
    except Exception:  # of KerasTuner, for whatever is missing
        return None


def _read(path):
    """Return the object that a JSON file holds; an empty one if there is no file, or it is damaged."""
    with contextlib.suppress(ValueError, OSError):
        state = read_json(path)
        return state if isinstance(state, dict) else {}
    return {}
