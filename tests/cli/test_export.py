import pytest

from keras_coda.exporters.protos import read_signatures
from tests.helpers.commands import run

pytestmark = pytest.mark.slow


def test_export_agrees_in_bare_tensorflow_and_refuses_a_folder_that_exists(exported, model_folder, capsys):
    folder, shown = exported
    difference = shown.split("SavedModel against Keras")[1].split()[0]
    assert float(difference) < 1e-5
    assert run("export", "--model", model_folder, "--out", folder) == 1
    assert "must not exist yet" in capsys.readouterr().err


def test_verify_prints_what_was_checked(tiny_digits, tmp_path, capsys):
    arguments = ["export", "--model", tiny_digits, "--out", tmp_path / "m" / "1", "--top-k", "2", "--verify"]
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    for step in ("agrees with Keras", "residual", "contributions_for_classes_bytes"):
        assert step in shown


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_other_formats_are_a_file(format, tiny_digits, tmp_path, capsys):
    pytest.importorskip("tf2onnx" if format == "onnx" else "ai_edge_litert")
    file = tmp_path / "deep" / "coda.bin"
    arguments = ["export", "--model", tiny_digits, "--out", file, "--format", format]
    assert run(*arguments, "--verify") == 1
    assert "Only a SavedModel has warm-up requests" in capsys.readouterr().err
    assert not file.parent.exists()
    assert run(*arguments, "--top-k", "2") == 0
    assert "MB" in capsys.readouterr().out
    assert file.stat().st_size > 1000
    assert run(*arguments) == 1
    assert "must not exist yet" in capsys.readouterr().err


def test_the_command_line_chooses_the_signature(tiny_digits, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("keras_coda.exporters.compare_saved_model", lambda *_: 0.0)  # takes a process of its own
    arguments = ["export", "--model", tiny_digits, "--out", tmp_path / "1", "--no-warmup", "--signature"]
    assert run(*arguments, "maps") == 2
    assert "invalid choice: 'maps'" in capsys.readouterr().err
    assert run(*arguments, "contributions", "--format", "onnx") == 1
    assert "with --signature" in capsys.readouterr().err
    assert run(*arguments, "contributions") == 0
    assert "contributions" in read_signatures(tmp_path / "1")["serving_default"].outputs
