"""After Ctrl-C a command says how to go on, where its work can be resumed."""

import json

import pytest

from keras_coda.training import checkpointing
from keras_coda_cli import common, train
from tests.helpers.commands import run


def test_the_hint_names_the_command_to_repeat():
    for restart, same in ((False, "the same command"), (True, "the same command without --restart")):
        raised = pytest.raises(KeyboardInterrupt, match=rf"^Finished: 3\. Run {same} to go on\.$")
        with raised, common.resumable(lambda: "Finished: 3.", restart):
            raise KeyboardInterrupt


@pytest.fixture
def interrupt(monkeypatch):
    """Make trainings stop, as Ctrl-C does, once their first epoch is saved; the result ends that."""
    original = checkpointing.Backup.on_epoch_end

    def on_epoch_end(self, epoch, logs=None):
        original(self, epoch, logs)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpointing.Backup, "on_epoch_end", on_epoch_end)
    return lambda: monkeypatch.setattr(checkpointing.Backup, "on_epoch_end", original)


@pytest.mark.slow
def test_train_says_how_far_it_came_and_goes_on(interrupt, tiny_digits, tmp_path, monkeypatch, capsys):
    arguments = ["train", "--preset", tiny_digits, "--batch-size", "480", "--epochs", "2", "--out", tmp_path / "run"]
    assert run(*arguments, "--restart") == 130
    shown = capsys.readouterr()
    same = "Run the same command without --restart to go on."
    assert f"keras-coda: interrupted. Finished epochs: 1 of 2. {same}" in shown.err
    assert "Traceback" not in shown.err
    assert "Estimate: " not in shown.out
    interrupt()
    monkeypatch.setattr(train, "LONG", 0)
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    assert "The training goes on after epoch 1 of 2" in shown
    assert shown.index("Estimate: ") < shown.index("validation accuracy")
    assert "for 1 epochs of 3 steps" in shown


def test_compare_counts_what_it_has_measured(tiny_digits, tmp_path, monkeypatch, capsys):
    from keras_coda import evaluation

    def compare(*_, out, **__):
        out.mkdir()
        for name in ("localization-contributions", "pixel_removal-contributions", "localization-GradCAM", "arguments"):
            (out / f"{name}.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "compare", compare)
    assert run("compare", "--model", tiny_digits, "--out", tmp_path / "out") == 130
    assert "interrupted. Finished measurements: 3. Run the same command to go on." in capsys.readouterr().err


def test_tune_counts_the_trials_that_are_done(tiny_digits, tmp_path, monkeypatch, capsys):
    pytest.importorskip("keras_tuner", reason="needs keras-coda[tune]")
    from keras_coda import tuning

    def tune(data, preset, out, **_):
        for name, text in (("0", '{"status": "COMPLETED"}'), ("1", '{"status": "RUNNING"}'), ("2", '{"sta')):
            (out / "trials" / f"trial_{name}").mkdir(parents=True)
            (out / "trials" / f"trial_{name}" / "trial.json").write_text(text)
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "tune", tune)
    assert run("tune", "--preset", tiny_digits, "--out", tmp_path / "out") == 130
    assert "interrupted. Finished trials: 1. Run the same command to go on." in capsys.readouterr().err


def test_evaluate_which_cannot_be_resumed_promises_nothing(tiny_digits, monkeypatch, tmp_path, capsys):
    from keras_coda import evaluation

    def evaluate(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    assert run("evaluate", "--model", tiny_digits, "--json", tmp_path / "figures.json") == 130
    assert capsys.readouterr().err.endswith("\nkeras-coda: interrupted\n")
    assert not (tmp_path / "figures.json").exists()


def test_the_status_of_a_trial_is_where_keras_tuner_writes_it():
    keras_tuner = pytest.importorskip("keras_tuner", reason="needs keras-coda[tune]")
    state = keras_tuner.engine.trial.Trial(keras_tuner.HyperParameters(), "0", "COMPLETED").get_state()
    assert json.loads(json.dumps(state))["status"] == "COMPLETED"
