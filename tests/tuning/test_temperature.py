"""Claims about temperature studies: what they measure, and that they go on after a kill."""

import math
import pathlib
import shutil

import numpy as np
import pytest

from keras_coda.training import TrainingDivergedError
from keras_coda.tuning import TemperatureStudy, temperature, temperature_study
from tests.helpers.quarters import FAST, Killed

pytestmark = pytest.mark.slow

EARLIER = pathlib.Path(__file__).parents[1] / "golden" / "written_by_0_1_0" / "study"


def study(data, preset, out, temperatures=(0.2, 1.0), **options):
    options = {"epochs": 3, "learning_rate": 0.03, "verbose": 0, **FAST, "n_images": 8, **options}
    return temperature_study(data, preset, out, temperatures, **options)


def test_study_measures_every_temperature_and_goes_on_after_a_kill(data, preset, tmp_path, monkeypatch):
    original = temperature.pixel_removal
    removals = []

    def removal(*args, **kwargs):
        removals.append(args)
        if len(removals) == 2:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(temperature, "pixel_removal", removal)
    with pytest.raises(Killed):
        study(data, preset, tmp_path)
    (first,) = TemperatureStudy.from_json(tmp_path / "result.json").runs
    found = study(data, preset, tmp_path)
    assert found.temperatures == (0.2, 1.0)
    assert found.runs[0] == first
    assert len(removals) == 3
    assert TemperatureStudy.from_json(tmp_path / "result.json") == found
    assert study(data, preset, tmp_path, (1.0,)) == found  # nothing is trained or measured again
    for run in found.runs:
        assert run["accuracy"] > 0.9
        assert 0.25 < run["localization"] <= 1
        assert 0 < run["removal"] < 1
        assert (run["grids"], run["images"], run["note"]) == (4, 8, "")
        assert min(run["localization_error"], run["removal_error"]) > 0
    figure = found.plot({"localization": {0.5: 0.4, 2: 0.5}})
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()].count("localization, published") == 1
    with pytest.raises(
        ValueError, match="A study can be resumed only with the arguments that it began with.*learning_rate"
    ):
        study(data, preset, tmp_path, learning_rate=0.01)


def test_a_study_that_version_0_1_0_began_is_resumed(data, preset, tmp_path, monkeypatch):
    shutil.copytree(EARLIER, tmp_path / "out")
    text = (EARLIER / "result.json").read_text()
    before = TemperatureStudy.from_json(EARLIER / "result.json")
    assert before.to_json() + "\n" == text
    monkeypatch.setattr(temperature, "train", None)  # nothing is trained again
    assert study(data, preset, tmp_path / "out", (0.2,), epochs=1) == before
    with pytest.raises(ValueError, match=r"recipe\.warmup=0\.5 \(it was 0\.1\)\. "):  # the only difference
        study(data, preset, tmp_path / "out", (0.2,), epochs=1, warmup=0.5)


def run(temperature, seed, **values):
    empty = dict.fromkeys(("accuracy", "localization", "removal", "untouched", "accuracy_error", "removal_error"))
    return {"temperature": temperature, "seed": seed, **empty, "localization_error": None, "note": "", **values}


def test_errors_are_those_of_the_seeds_where_there_are_several():
    runs = (
        run(100.0, 0, accuracy=0.8, accuracy_error=0.5),
        run(10.0, 0, accuracy=0.6, accuracy_error=0.02, note="no grid"),
        run(100.0, 1, accuracy=0.9, accuracy_error=0.5),
    )
    temperatures, means, errors = TemperatureStudy(runs).curve("accuracy")
    assert temperatures.tolist() == [10, 100]
    assert means == pytest.approx([0.6, 0.85])
    assert errors == pytest.approx([0.02, np.std([0.8, 0.9], ddof=1) / math.sqrt(2)])
    assert [part.size for part in TemperatureStudy(runs).curve("localization")] == [0, 0, 0]
    table = TemperatureStudy(runs).table().splitlines()
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in table]
    assert {len(line) for line in table} == {len(table[0])}
    assert cells[2] == ["10", "1", "0.600 ± 0.020", "–", "–", "–", "no grid"]
    assert cells[3][:3] == ["100", "2", "0.850 ± 0.050"]
    TemperatureStudy(runs).plot()


def test_a_network_without_localization_leaves_a_gap_with_a_note(data, preset, tmp_path):
    (found,) = study(data, preset, tmp_path, (1e4,), epochs=1).runs
    assert found["localization"] is found["localization_error"] is None
    assert found["note"].startswith("no grid")
    assert found["removal"] > 0


def test_a_training_that_diverged_leaves_a_note_and_other_errors_end_the_study(data, preset, tmp_path, monkeypatch):
    def fail_with(error):
        def train(*_, **__):
            raise error

        monkeypatch.setattr(temperature, "train", train)

    fail_with(TrainingDivergedError("in whatever words"))
    (found,) = study(data, preset, tmp_path / "diverged", (1.0,)).runs
    assert (found["accuracy"], found["note"]) == (None, "the loss stopped being finite")
    fail_with(RuntimeError("The loss stopped being finite"))  # the words alone mean nothing
    with pytest.raises(RuntimeError):
        study(data, preset, tmp_path / "failed", (1.0,))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"temperatures": ()}, "`temperatures` must be different positive numbers"),
        ({"temperatures": (1, 1.0)}, "`temperatures` must be different positive numbers"),
        ({"temperatures": (0, 1)}, "`temperatures` must be different positive numbers"),
        ({"seeds": (0, 0)}, "`seeds` must be different integers"),
        ({"epochs": 0}, "`epochs` must be a positive integer"),
        ({"learning_rate": -1}, "`learning_rate` must be positive"),
        ({"warmup": 1}, "`warmup` must be in"),
        ({"grid": 3}, "9 different classes"),
    ],
)
def test_bad_studies_leave_nothing_behind(data, preset, tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        study(data, preset, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
