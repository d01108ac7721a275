import pytest

from keras_coda import CoDANet, training
from tests.helpers.commands import run

pytestmark = pytest.mark.slow


def test_demo_runs_into_the_folder_of_an_earlier_one(tmp_path, monkeypatch, capsys):
    def network(preset, data):  # a smaller one, which compiles faster; `make demo` runs the real one
        assert (preset, data.name) == ("coda_digits", "digits")
        return CoDANet(10, input_shape=(8, 8, 1), filters=(4, 10), ranks=2), []

    monkeypatch.setattr(training, "network", network)
    out = tmp_path / "demo"
    (out / "saved_model" / "1").mkdir(parents=True)
    (out / "training" / training.MODEL).mkdir(parents=True)
    (out / "training" / training.ARGUMENTS).write_text("{}")
    assert run("demo", "--out", out, "--epochs", "2") == 0
    shown = capsys.readouterr().out
    for row in ("validation accuracy", "largest completeness residual", "time per epoch", "SavedModel against Keras"):
        assert row in shown
    pictures = {path.name for path in (out / "pictures").iterdir()}
    assert pictures == {f"{n}.png" for n in ("certain", "uncertain", "all_classes", "inner_layer", "linear_map")}
    assert sorted(path.name for path in (out / "saved_model").iterdir()) == ["1", "2"]
    assert not list((out / "saved_model" / "1").iterdir())
    assert CoDANet.from_preset(out / "training" / training.MODEL).training_figures["epochs"] == 2
