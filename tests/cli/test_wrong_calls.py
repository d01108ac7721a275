"""Help, and errors of wrong calls, need not wait for TensorFlow: one process without it makes all the calls."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_coda_cli import main
from tests.helpers.commands import run

ROOT = Path(__file__).parents[2]
HEAVY = ("tensorflow", "keras", "keras_coda", "numpy", "matplotlib", "gradio", "keras_tuner", "kserve", "av", "PIL")

SCRIPT = f"""
import contextlib, importlib.util, io, json, sys
from keras_coda_cli import main

find_spec = importlib.util.find_spec
outcomes = []
for arguments, missing in json.load(sys.stdin):
    importlib.util.find_spec = lambda name, *rest: None if name in missing else find_spec(name, *rest)
    shown, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(errors):
        code = main.main(arguments)
    outcomes.append((code, shown.getvalue(), errors.getvalue(), sorted(set({HEAVY!r}) & set(sys.modules))))
json.dump(outcomes, sys.stdout)
"""

RIGHT = [["--help"], ["--version"], ["presets"], *([name, "--help"] for name in main.COMMANDS)]

# Arguments, exit code, part of the message, modules that are not installed.
WRONG = [
    (["nothing"], 2, "invalid choice", ()),
    (["train"], 2, "--out", ()),
    (["train", "--out", "x", "--epochs", "0"], 2, "at least 1", ()),
    (["train", "--out", "x", "--linear-map-regularization", "1"], 2, "unrecognized arguments", ()),
    (["train", "--out", "x", "--penalty", "linear_map"], 2, "NAME=WEIGHT", ()),
    # networks
    (["train", "--out", "x", "--preset", "coda_digts"], 1, "Did you mean 'coda_digits'", ()),
    (["train", "--out", "x", "--preset", "empty"], 1, "A preset folder holds 'config.json'", ()),
    (["train", "--out", "x", "--preset", "coda_l_imagenet100", "--pretrained"], 1, "comes with weights", ()),
    (["train", "--out", "x", "--preset", "coda_l_imagenet100", "--freeze"], 1, "--freeze needs a preset that", ()),
    (["train", "--out", "x", "--dtype", "bfloat16"], 1, "Received: bfloat16. Use --dtype mixed_bfloat16", ()),
    (["train", "--out", "x", "--dtype", "float16"], 1, "Use --dtype mixed_float16", ()),
    (["tune", "--out", "x", "--preset", "no/folder"], 1, "Received: 'no/folder'", ()),
    (["evaluate", "--model", "nowhere"], 1, "Received: 'nowhere'", ()),
    (["compare", "--out", "x", "--model", "coda_l_imagenet100"], 1, "must have trained weights", ()),
    (["export", "--out", "x", "--model", "half"], 1, "'model.weights.h5'", ()),
    (["explain", "--out", "x", "--model", "nowhere", "a.png"], 1, "Received: 'nowhere'", ()),
    (["explore", "--model", "nowhere"], 1, "Received: 'nowhere'", ()),
    (["serve", "--model", "nowhere"], 1, "Received: 'nowhere'", ()),
    (["serve", "--model", "coda_digits", "--port", "70000"], 2, "0 to 65535", ()),
    (["serve", "--model", "coda_digits", "--name", "a/b"], 1, "Received: 'a/b'", ()),
    (["serve", "--model", "coda_digits", "--max-wait-ms", "-1"], 1, "at least 0", ()),
    (["compare", "--out", "x", "--model", "coda_digits", "--grid", "3x4"], 1, "at least 12 classes. Received: 10", ()),
    (["compare", "--out", "x", "--model", "coda_digits", "--grid", "1"], 2, "at least two cells", ()),
    (["tune", "--out", "x", "--grid", "2x2x2"], 2, "must be SIDE or ROWSxCOLUMNS. Received: 2x2x2", ()),
    (["train", "--out", "x", "--localization", "1", "--grid", "0x3"], 2, "must be at least 1", ()),
    (["train", "--out", "x", "--grid", "2"], 2, "only allowed with --localization", ()),
    # audits
    (["audit", "--out", "x", "--model", "coda_digits"], 2, "--data", ()),
    (["audit", "--out", "x", "--model", "coda_digits", "--data", "nowhere"], 1, "a folder of images, or a CSV", ()),
    (["audit", "--out", "x", "--model", "coda_digits", "--data", "empty"], 1, "A folder must hold images", ()),
    (["verify-audit", "--audit", "x", "--model", "nowhere", "--data", "empty"], 1, "Received: 'nowhere'", ()),
    # data
    (["train", "--out", "x", "--data", "./nowhere"], 1, "a path that does not exist", ()),
    (["train", "--out", "x", "--data", "nowhere/"], 1, "a path that does not exist", ()),
    (["tune", "--out", "x", "--data", "my photos"], 1, "a path that does not exist", ()),
    (["evaluate", "--model", "coda_digits", "--data", "a.png"], 1, "'a.png', a file", ()),
    (["train", "--out", "x", "--data", "no.csv"], 1, "'no.csv' (No such file or directory)", ()),
    (["train", "--out", "x", "--data", "bad.csv"], 1, "line 2: no file 'b.png'; line 3: '2' for cat", ()),
    (["train", "--out", "x", "--data", "good.csv", "--validation-data", "good.csv"], 1, "not be among those", ()),
    (["train", "--out", "x", "--data", "good.csv", "--localization", "1"], 1, "needs images with one label each", ()),
    (["train", "--out", "x", "--window", "9,1"], 2, "must be LOW,HIGH", ()),
    (["train", "--out", "x", "--window", "1,9"], 1, "--window belongs to image files", ()),
    (["train", "--out", "x", "--validation-data", "good.csv"], 2, "only allowed with --data FILE.csv", ()),
    (["tune", "--out", "x", "--data", "good.csv"], 1, "tune needs images with one label each", ()),
    (["train", "--out", "x", "--data", "folds"], 1, "all hold the folders ['cat', 'dog']", ()),
    (["compare", "--out", "x", "--model", "coda_digits", "--data", "folds"], 1, "all hold the folders", ()),
    (["train", "--out", "x", "--data", "cifar10"], 1, "keras-coda[tfds]", ("tensorflow_datasets",)),
    (["train", "--out", "x", "--validation-split", "1.5"], 1, "--validation-split must be in (0, 1)", ()),
    (["train", "--out", "x", "--seed", "-1"], 1, "--seed must be in [0,", ()),
    (["train", "--out", "x", "--learning-rate", "nan"], 1, "--learning-rate must be greater than 0", ()),
    (["tune", "--out", "x", "--accuracy-weight", "1"], 1, "--accuracy-weight must be in (0, 1)", ()),
    # where results go
    (["train", "--out", "a.png"], 1, "must be a folder. Received: 'a.png', a file", ()),
    (["demo", "--out", "a.png/x/y"], 1, "a.png' is no folder", ()),
    (["export", "--model", "coda_digits", "--out", "empty"], 1, "must not exist yet", ()),
    (["export", "--model", "coda_digits", "--out", "a.png/1"], 1, "is no folder", ()),
    (["evaluate", "--model", "coda_digits", "--json", "no/figures.json"], 1, "folder of --json must exist", ()),
    (["evaluate", "--model", "coda_digits", "--json", "empty"], 1, "--json must be a file", ()),
    # images and videos
    (["explain", "--model", "coda_digits", "--out", "x"], 2, "required: PATH", ()),
    (["explain", "--model", "coda_digits", "--out", "x", "a.png", "--start", "0"], 2, "only allowed with --video", ()),
    (["explain", "--model", "coda_digits", "--out", "x", "no.png"], 1, "'no.png', which does not exist", ()),
    (["explain", "--model", "coda_digits", "--out", "x", "empty"], 1, "must hold images", ()),
    (["explain", "--model", "coda_digits", "--out", "x", "hidden"], 1, "without. Hidden files and folders", ()),
    (["explain", "--model", "no.keras", "--out", "x", "a.png"], 1, "'no.keras', which does not exist", ()),
    (["explain", "--model", "text.keras", "--out", "x", "a.png"], 1, "'text.keras', which Keras did not write", ()),
    (["evaluate", "--model", "text.keras"], 1, "'text.keras', which Keras did not write", ()),
    (["explain", "--model", "coda_digits", "--out", "a.png", "a.png"], 1, "--out must be a folder", ()),
    (["explain", "--model", "coda_digits", "--out", "x", "--video", "a.mp4", "b.mp4"], 2, "not allowed with", ()),
    (["explain", "--model", "coda_digits", "--video", "no.mp4", "b.mp4"], 1, "'no.mp4', which does not exist", ()),
    (["explain", "--model", "coda_digits", "--video", "empty", "b.mp4"], 1, "'empty', which is a folder", ()),
    (["explain", "--model", "coda_digits", "--video", "a.mp4", "b.avi"], 1, "must end in .mp4", ()),
    (["explain", "--model", "coda_digits", "--video", "a.mp4", "no/b.mp4"], 1, "Create 'no'", ()),
    (["explain", "--model", "coda_digits", "--video", "a.mp4", "a.mp4"], 1, "must not replace its source", ()),
    (["explain", "--model", "coda_digits", "--video", "a.mp4", "old.mp4"], 1, "--overwrite", ()),
    (["explain", "--model", "coda_digits", "--video", "a.mp4", "b.mp4", "--start", "2", "--end", "1"], 1, "--end", ()),
    (["explain", "--server", "ftp://host/m", "--out", "x", "a.png"], 1, "grpc://HOST:PORT/NAME", ()),
    (["explain", "--server", "grpc://host:1/m", "--out", "x", "a.png", "--top-k", "2"], 1, "decided at export", ()),
    (["explain", "--server", "grpc://host:1/m", "--out", "x", "a.png", "--max-side", "9"], 1, "decided at export", ()),
    (["explain", "--model", "coda_digits", "--out", "x", "a.png", "--max-side", "-1"], 2, "at least 1", ()),
    (["predict", "--model", "coda_digits"], 2, "PATH", ()),
    (["predict", "--model", "nowhere", "a.png"], 1, "Received: 'nowhere'", ()),
    (["predict", "--model", "coda_digits", "no.png"], 1, "'no.png', which does not exist", ()),
    (["predict", "--model", "coda_digits", "empty"], 1, "must hold images", ()),
    (["predict", "--model", "coda_digits", "a.png", "--out", "empty"], 1, "--out must be a file", ()),
    (["predict", "--model", "coda_digits", "a.png", "--out", "no/x.csv"], 1, "Create 'no'", ()),
    (["predict", "--model", "coda_digits", "a.png", "--out", "old.mp4"], 1, "--overwrite", ()),
    (["predict", "--model", "coda_digits", "a.png", "--out", "a.png", "--overwrite"], 1, "not replace images", ()),
    # what belongs together
    (["export", "--model", "coda_digits", "--out", "x", "--format", "onnx", "--verify"], 1, "Only a SavedModel", ()),
    (["tune", "--out", "x", "--oracle", "hyperband", "--trials", "3"], 2, "not allowed with --oracle hyperband", ()),
    # state dicts
    (["convert", "a.png", "--out", "x"], 2, "required: --from", ()),
    (["convert", "--from", "keras", "a.png", "--out", "x"], 2, "invalid choice", ()),
    (["convert", "--from", "bcos", "no.npz", "--out", "x"], 1, "'no.npz', which does not exist", ()),
    (["convert", "--from", "bcos", "empty", "--out", "x"], 1, "'empty', a folder", ()),
    (["convert", "--from", "bcos", "a.png", "--out", "empty"], 1, "must not exist yet", ()),
    (["convert", "--from", "bcos", "a.png", "--out", "x", "--strides", "1,2"], 2, "not allowed with --from bcos", ()),
    (["convert", "--from", "coda", "a.png", "--out", "x", "--strides", "1,0"], 2, "at least 1", ()),
    (["convert", "--from", "coda", "a.png", "--out", "x", "--b", "2"], 2, "not allowed with --from coda", ()),
    (["convert", "--from", "bcos", "a.png", "--out", "x", "--b", "0.5"], 1, "--b must be at least 1. ", ()),
    (["convert", "--from", "bcos", "a.png", "--out", "x", "--temperature", "0"], 1, "--temperature must be", ()),
    (["convert", "--from", "bcos", "a.png", "--out", "x", "--logit-bias", "nan"], 1, "--logit-bias must", ()),
    (["convert", "--from", "bcos", "a.png", "--out", "x", "--crop", "8"], 2, "--resize and --crop belong", ()),
    (["convert", "--from", "bcos", "a.png", "--out", "x", "--crop", "8", "--resize", "7"], 1, "must not exceed", ()),
    (["convert", "--from", "bcos", "a.png", "--out", "x", "--crop", "8", "--resize", "9", "--image-size", "8"], 2,
     "not allowed with --image-size", ()),
    (["convert", "--from", "bcos", "a.png", "--out", "x", "--class-names", "no.txt"], 1, "'no.txt', which does", ()),
    (["convert", "--from", "bcos", "a.png", "--out", "x", "--class-names", "empty"], 1, "must be a text file", ()),
    # extras
    (["convert", "--from", "bcos", "net.pth", "--out", "x"], 1, "keras-coda[torch]", ("torch",)),
    (["compare", "--model", "coda_digits", "--out", "x"], 1, "keras-coda[posthoc]", ("tf_explain",)),
    (["tune", "--out", "x"], 1, "keras-coda[tune]", ("keras_tuner",)),
    (["explore"], 1, "keras-coda[explore]", ("gradio",)),
    (["serve", "--model", "coda_digits"], 1, "keras-coda[serve]", ("kserve",)),
    (["train", "--out", "x", "--tensorboard"], 1, "keras-coda[tensorboard]", ("tensorboard",)),
    (["explain", "--model", "coda_digits", "--video", "a.mp4", "b.mp4"], 1, "keras-coda[video]", ("av",)),
    (["explain", "--server", "http://h/v1/models/m", "--out", "x", "a.png"], 1, "keras-coda[serving]", ("requests",)),
    (["explain", "--server", "grpc://host:1/m", "--out", "x", "a.png"], 1, "keras-coda[serving]", ("grpc",)),
    (["export", "--model", "coda_digits", "--out", "x", "--format", "onnx"], 1, "keras-coda[onnx]", ("tf2onnx",)),
    (["export", "--model", "coda_digits", "--out", "x", "--format", "litert"], 1, "keras-coda[litert]",
     ("ai_edge_litert",)),
    (["export", "--model", "coda_digits", "--out", "x", "--warmup"], 1, "keras-coda[serving]", ("tensorflow_serving",)),
]  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The outcome of every call, `(exit code, stdout, stderr, heavy modules that are imported)`, and its folder."""
    folder = tmp_path_factory.mktemp("calls")
    for name in (
        "empty",
        "half",
        "hidden/@eaDir",
        *(f"folds/{fold}/{name}" for fold in "ab" for name in ("cat", "dog")),
    ):
        (folder / name).mkdir(parents=True)
    for name in ("a.png", "a.mp4", "old.mp4", "half/config.json", "hidden/@eaDir/a.png", "text.keras", "net.pth"):
        (folder / name).write_text("{}")
    (folder / "bad.csv").write_text("file,cat,dog\nb.png,0,1\na.png,2,1\n")
    (folder / "good.csv").write_text("file,cat,dog\na.png,1,1\n")
    before = sorted(folder.rglob("*"))
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    calls = [(arguments, ()) for arguments in RIGHT] + [(call[0], call[3]) for call in WRONG]
    options = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": paths}, "capture_output": True, "text": True}
    process = subprocess.run([sys.executable, "-c", SCRIPT], input=json.dumps(calls), **options)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout), sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("index", range(len(RIGHT)), ids=[" ".join(arguments) for arguments in RIGHT])
def test_help_and_presets_do_not_import_tensorflow(index, outcomes):
    code, shown, errors, imported = outcomes[0][index]
    assert (code, errors, imported) == (0, "", [])
    assert shown


@pytest.mark.parametrize("index", range(len(WRONG)), ids=[" ".join(call[0]) for call in WRONG])
def test_wrong_calls_are_refused_before_tensorflow_is_imported(index, outcomes):
    _, expected, message, _ = WRONG[index]
    code, shown, errors, imported = outcomes[0][len(RIGHT) + index]
    assert (code, shown, imported) == (expected, "", [])
    assert message in errors
    assert ("usage: keras-coda" if code == 2 else "keras-coda: error: ") in errors
    assert "Received: " in errors or code == 2


def test_wrong_calls_leave_nothing_behind(outcomes):
    assert outcomes[1]


def test_a_folder_that_may_not_be_written_to_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert run("train", "--out", tmp_path / "run") == 1
    assert "folder that can be written to" in capsys.readouterr().err
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.R_OK)
    (tmp_path / "secret.png").touch()
    assert run("explain", "--model", "coda_digits", "--out", tmp_path, tmp_path / "secret.png") == 1
    assert "may not be read" in capsys.readouterr().err
