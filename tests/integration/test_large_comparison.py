"""``python -m experiments.compare``: its parts, and a comparison that goes on after its time was over."""

import json

import pytest

from experiments import compare, time_limit
from keras_coda import posthoc
from tests.helpers.known_models import channel_data, pooled_model

SIZES = {"n_grids": 2, "n_images": 12}


class Calls:
    """A budget of a number of measurements."""

    def __init__(self, count):
        self.count = count

    def check(self, work):
        self.count -= 1
        if self.count < 0:
            raise time_limit.OutOfTimeError("for the test")

    def spent(self, work, seconds):
        pass


def measure(out, folder, calls):
    folder.mkdir()
    state = compare.State(out, {"preset": "tiny"}, folder, {"command": "python -m experiments.compare"})
    methods = [posthoc.GradientsInputs(), posthoc.OcclusionSensitivity(2)]
    try:
        compare.compare(pooled_model(), channel_data(), methods, Calls(calls), state, **SIZES)
    finally:
        state.save()
    return state


@pytest.mark.slow
def test_what_is_finished_when_time_is_over_is_kept(tmp_path):
    """One file holds everything: another process, with an empty folder, goes on with what is missing."""
    out = tmp_path / "out"
    with pytest.raises(time_limit.OutOfTimeError):  # one method, and the other one by localization only
        measure(out, tmp_path / "first", 3 + 1)
    assert [path.name for path in out.iterdir()] == ["comparison.json"]
    contents = json.loads((out / "comparison.json").read_text())
    assert set(contents["results"]["methods"]) == {"contribution maps", "GradientsInputs"}
    assert len(contents["kept"]) == 1 + 5
    before = contents["kept"]
    state = measure(out, tmp_path / "second", 2)
    assert {name: state.contents["kept"][name] for name in before if name != "arguments.json"}.items() <= before.items()
    figures = state.results["methods"]
    assert figures["GradientsInputs"]["localization"]["mean"] == pytest.approx(1)
    assert set(figures) == {"contribution maps", "GradientsInputs", "OcclusionSensitivity(patch_size=2)"}
    with pytest.raises(ValueError, match="only with the settings that it began with"):
        compare.State(out, {"preset": "other"}, tmp_path / "second", {})

    compare.report(out, tmp_path / "results", tmp_path / "pictures")
    assert (tmp_path / "pictures" / "tiny-comparison.png").is_file()
    stored = json.loads((tmp_path / "results" / "comparison_tiny.json").read_text())
    assert stored["results"] == json.loads((out / "comparison.json").read_text())["results"]
    assert "kept" not in stored


def test_a_measurement_that_would_not_end_in_time_is_not_begun(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time_limit.time, "monotonic", lambda: now[0])
    budget = time_limit.Budget(end=100)
    budget.check(1e9)  # nothing is known of the speed yet
    for work, seconds in ((10, 5), (100, 10), (10, 2)):
        budget.spent(work, seconds)
    now[0] = 90
    budget.check(10 * 10 / time_limit.MARGIN)  # 10 per second, and 10 s are left
    with pytest.raises(time_limit.OutOfTimeError, match="13 s are expected, 10 s are left"):
        budget.check(100)


def test_the_cost_of_a_method_is_the_number_of_its_predictions():
    costs = {
        method.__name__: time_limit.passes(method, (96, 96), 9) for method in compare.methods(posthoc.GradCAM("a"))
    }
    assert costs["OcclusionSensitivity(patch_size=9)"] == 401
    assert costs["RISE(masks=1000)"] == 1000
    assert costs["IntegratedGradients(steps=25)"] == costs["SmoothGrad"] == 250
    assert costs["GradCAM"] == costs["GradCAM(layer_name='a')"] == 10
    default = [name for name in costs if "fill" not in name and "encoded" not in name]
    assert list(costs)[: len(default)] == default
    assert [costs[name] for name in default] == sorted(costs[name] for name in default)
