"""JAX: two processes, and two devices of one process, compute what a single one does."""

import csv
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_coda import CoDANet, training
from keras_coda.utils import processes
from tests.helpers.commands import run
from tests.helpers.page_commands import commands
from tests.helpers.waiting import free_ports, wait_until

pytestmark = pytest.mark.any_backend
ROOT = pathlib.Path(__file__).parents[2]
on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="make test-jax")


@pytest.mark.slow
@on_jax
def test_two_processes_train_predict_and_explain_as_one_does_with_the_joined_batches(tmp_path):
    port = str(*free_ports(1))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.helpers.without_tensorflow", "tests.helpers.distributed_check"]
    calls = {"one": [], "first": [port, "0"], "second": [port, "1"]}
    options = {"cwd": ROOT, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([*command, str(tmp_path / f"{name}.npz"), *call], **options) for name, call in calls.items()
    ]
    try:
        for process in running:
            errors = process.communicate(timeout=300)[1]
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in running:
            process.kill()
    one, *two = (dict(np.load(tmp_path / f"{name}.npz")) for name in calls)
    for each in two:
        for name in ("loss", "accuracy", "evaluated"):
            np.testing.assert_allclose(each[name], one[name], rtol=1e-4)
    for name in ("images", "logits", "contributions"):
        joined = np.concatenate(
            [part for pair in zip(*(np.split(each[name], 2) for each in two), strict=True) for part in pair]
        )
        np.testing.assert_allclose(joined, one[name], atol=1e-4)


# === The command ===


def start_two(folder, *options):
    """Start the page's training, with further options, in two processes that find each other on this machine."""
    (variables, arguments), *_ = commands("many_hosts.md", "train")
    assert set(variables) == {"KERAS_BACKEND", *processes.VARIABLES}
    variables[processes.ADDRESSES] = f"127.0.0.1:{free_ports(1)[0]}"
    line = [sys.executable, "-m", "tests.helpers.without_tensorflow", "keras_coda", *arguments, *options]
    pipes = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    own = ({**os.environ, **variables, processes.INDEX: index, "PYTHONPATH": str(ROOT)} for index in "01")
    return [subprocess.Popen(line, env=environment, **pipes) for environment in own]


def log(out):
    with (out / training.LOG).open(newline="") as file:
        rows = {row.pop("epoch"): {**row, "seconds": 0} for row in csv.DictReader(file)}
    return {int(epoch): {name: float(value) for name, value in row.items()} for epoch, row in rows.items()}


@pytest.mark.slow
@on_jax
def test_two_processes_train_by_the_command_as_one_does_and_go_on_when_one_was_killed(tmp_path, monkeypatch):
    out, tiny = tmp_path / "runs" / "digits", ("--preset", str(tmp_path / "tiny"))
    CoDANet(10, input_shape=(8, 8, 1), filters=(10,), ranks=2).save_to_preset(tmp_path / "tiny")
    two = start_two(tmp_path, *tiny)
    try:
        wait_until(lambda: training.epochs_done(out), two[1])
        two[1].send_signal(signal.SIGKILL)
        for line in two[0].stderr:  # the other says so at once; JAX lets it wait a minute before it ends
            if line.startswith("keras-coda: error"):
                break
        two[0].kill()
        done = training.epochs_done(out)
        assert 1 <= done < 8
        shutil.copytree(out, tmp_path / "alone" / "runs" / "digits", ignore=shutil.ignore_patterns(".*"))
        two = [*two, *start_two(tmp_path, *tiny)]
        for process in two[2:]:
            errors = process.communicate(timeout=900)[1]  # for machines under load
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in two:
            process.kill()
    rows = log(out)
    assert sorted(rows) == list(range(1, 9))

    monkeypatch.chdir(tmp_path / "alone")  # one process goes on from the same backup
    assert run(*commands("many_hosts.md", "train")[1][1], *tiny) == 0
    others = log(tmp_path / "alone" / "runs" / "digits")
    for epoch in range(done + 1, 9):
        assert rows[epoch] == pytest.approx(others[epoch], rel=1e-4, abs=1e-5)
    ours, theirs = (CoDANet.from_preset(each / "runs/digits/model") for each in (tmp_path, tmp_path / "alone"))
    for own, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="MirroredStrategy")
def test_two_devices_of_tensorflow_train_as_one_does(tmp_path):
    CoDANet(10, input_shape=(8, 8, 1), filters=(10,), ranks=2).save_to_preset(tmp_path / "tiny")
    line = [sys.executable, "-m", "tests.helpers.mirrored_check", str(tmp_path)]
    found = subprocess.run(line, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]
    assert "devices: 2" in found.stdout
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    for epoch in (1, 2):  # a batch of an odd number of images is shared unevenly, and each half counts the same
        assert two[epoch] == pytest.approx(one[epoch], rel=2e-3)


# === Wrong settings ===


ADDRESS, TWO, FIRST = "127.0.0.1:1234", "2", "0"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((ADDRESS, TWO, ""), "must be set, or none"),
        ((ADDRESS, "two", FIRST), "must be a number of processes"),
        ((ADDRESS, TWO, "2"), "numbered from 0"),
        (("127.0.0.1", TWO, FIRST), "HOST:PORT of process 0"),
        ((f"{ADDRESS},{ADDRESS},{ADDRESS}", TWO, FIRST), "HOST:PORT of process 0"),
        ((ADDRESS, TWO, FIRST), "needs --distribute data: else 2 processes would write one folder"),
        ((ADDRESS, TWO, FIRST, "--distribute", "data", "--maps", "2"), "not allowed with --maps"),
    ],
)
def test_wrong_processes_are_found_before_work_begins(given, message, tmp_path, monkeypatch, capsys):
    for name, value in zip(processes.VARIABLES, given, strict=False):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    code = run("train", "--out", tmp_path / "run", *given[3:])
    assert (code, message in capsys.readouterr().err) == (2 if "not allowed" in message else 1, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_several_processes_need_jax(backend, tmp_path, monkeypatch, capsys):
    for name, value in zip(processes.VARIABLES, (ADDRESS, TWO, FIRST), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert run("train", "--out", tmp_path / "run", "--distribute", "data") == 1
    shown = capsys.readouterr().err
    assert f"on JAX only. Received: KERAS_BACKEND={backend}. Set KERAS_BACKEND=jax" in shown
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)  # as in a configuration file
    with pytest.raises(ValueError, match="Received: backend="), training.distributed():
        pass
