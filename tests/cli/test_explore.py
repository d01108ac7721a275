"""`keras-coda explore` where it cannot start, and what it does not import."""

import importlib
import socket
import sys

import pytest

import keras_coda
from keras_coda_cli import main


def test_a_missing_extra_is_named(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "gradio" else found(name, *rest)
    )
    assert main.main(["explore"]) == 1
    assert 'pip install "keras-coda[explore]"' in capsys.readouterr().err


@pytest.mark.slow
def test_wrong_arguments_end_with_one_line(tmp_path, capsys):
    pytest.importorskip("gradio", reason="needs keras-coda[explore]")
    assert main.main(["explore", "--port", "70000"]) == 2
    assert "must be in 0 to 65535" in capsys.readouterr().err
    assert main.main(["explore", "--model", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main.main(["explore", "--port", str(port)]) == 1
    shown = capsys.readouterr().err
    assert f"port={port} (Address already in use). Choose another --port" in shown
    assert main.main(["explore", "--host", "no.such.host.invalid"]) == 1
    assert "`host` must be an address of this machine" in capsys.readouterr().err


def test_the_room_is_imported_without_gradio(monkeypatch):
    monkeypatch.setattr(keras_coda, "explorer", keras_coda.explorer)  # puts the module of the other tests back
    for name in [name for name in sys.modules if name.split(".")[0] == "gradio"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("keras_coda.explorer")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.import_module("keras_coda.explorer")
    assert "gradio" not in sys.modules
