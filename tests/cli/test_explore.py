"""`keras-coda explore` where it cannot start, and what it does not import."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from keras_coda_cli import main

ROOT = Path(__file__).parents[2]


def test_a_missing_extra_is_named(monkeypatch, capsys):
    from importlib import util

    monkeypatch.setattr(util, "find_spec", lambda name: None)
    assert main.main(["explore"]) == 1
    assert 'pip install "keras-coda[explore]"' in capsys.readouterr().err


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


def test_help_imports_neither_gradio_nor_tensorflow():
    script = (
        "import sys\nfrom keras_coda_cli import main\nassert main.main(['explore', '--help']) == 0\n"
        "assert not {'gradio', 'tensorflow'} & set(sys.modules)\n"
        "import keras_coda.explorer\nassert 'gradio' not in sys.modules"
    )
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
