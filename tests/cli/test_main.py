import importlib
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from keras_coda import CoDANet
from keras_coda.models import presets
from keras_coda_cli import checks, common, main
from tests.helpers.commands import run

# === Usage ===


@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_teaches(command, capsys):
    assert run(command, "--help") == 0
    shown = capsys.readouterr().out
    assert f"example:\n  keras-coda {command}" in shown
    assert shown.split("\n\n")[1].endswith(".")


def test_help_names_every_command_and_version_works(capsys):
    assert {"demo", "train", "evaluate", "explain", "export", "presets"} < set(main.COMMANDS)
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^    {command}\s", shown, re.MULTILINE) for command in main.COMMANDS)
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("keras-coda ")


@pytest.mark.parametrize(
    "arguments",
    [[], ["trian"], ["train"], ["train", "--out", "x", "--epochs", "0"], ["train", "--out", "x", "--image-size", "8x"],
     ["explain", "--model", "m", "--out", "x"], ["export", "--mod", "m", "--out", "x"],
     ["explain", "--model", "m", "--out", "x", "a.png", "--classes", "a", "--top-k", "2"],
     ["train", "--out", "x", "--penalty", "linear_map"], ["train", "--out", "x", "--penalty", "linear_map=much"],
     ["train", "--out", "x", "--penalty", "linear_map=1", "--penalty", "linear_map=2"],
     ["tune", "--out", "x", "--temperature", "5:1"], ["tune", "--out", "x", "--oracle", "hyperband", "--trials", "3"]],
)  # fmt: skip
def test_wrong_usage_is_2(arguments, capsys):
    assert run(*arguments) == 2
    assert "usage: keras-coda" in capsys.readouterr().err


def test_presets_shows_the_numbers_of_parameters_of_the_networks(capsys):
    assert run("presets") == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert set(presets.preset_names()) < set(rows)
    assert rows["coda_s_cifar10"][1] == "7,782,816"
    for name in ("coda_digits", "coda_xs_cifar10"):
        assert rows[name][1] == f"{CoDANet.from_preset(name, load_weights=False).count_params():,}"
    assert {name: row[3] for name, row in rows.items() if name in presets.preset_names()} == {
        name: "yes" if presets.preset_folder(name) else "no" for name in presets.preset_names()
    }


def test_a_command_is_a_module_and_one_line(monkeypatch, capsys):
    hello = types.ModuleType("keras_coda_cli.hello")
    hello.DESCRIPTION, hello.EXAMPLE = "Greet. It is polite.", "keras-coda hello --name you"
    hello.add_arguments = lambda parser: parser.add_argument("--name", required=True)
    hello.check = lambda args: checks.require_usage(args.name != "nobody", "argument --name: must be somebody")
    hello.run = lambda args: print(f"Hello {args.name}")
    monkeypatch.setitem(sys.modules, hello.__name__, hello)
    monkeypatch.setattr(main, "COMMANDS", (*main.COMMANDS, "hello"))
    assert run("--help") == 0
    assert re.search(r"^    hello +Greet$", capsys.readouterr().out, re.MULTILINE)
    assert run("hello", "--name", "you") == 0
    assert capsys.readouterr().out == "Hello you\n"
    assert run("hello", "--name", "nobody") == 2
    assert "keras-coda hello: error: argument --name: must be somebody" in capsys.readouterr().err


# === Failures ===


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (OSError("disk full"), 1)])
def test_exit_codes_of_failures(error, code, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(common, "print_table", fail)
    assert run("presets") == code
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert ("\nkeras-coda: interrupted\n" if code == 130 else "keras-coda: error: disk full") in shown


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        run("evaluate", "--debug", "--model", tmp_path / "nowhere")


# === The import of Keras ===


def test_packages_are_hidden_in_the_block_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with main.hidden("wave", "json"):
        with pytest.raises(ModuleNotFoundError, match="wave"):
            importlib.import_module("wave")
        importlib.import_module("json")  # is imported: whoever did that keeps it
    assert importlib.import_module("wave").open
    assert sys.modules["json"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_keras_is_imported_without_what_no_command_uses(backend):
    code = "import sys; from keras_coda_cli import main; main._import_quietly(); print(*sys.modules)"
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert {"keras", backend} < set(imported)
    assert not ({*main.UNUSED_BY_KERAS, "scipy.stats"} - {backend}) & set(imported)
