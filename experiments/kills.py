"""Commands that are killed again and again: what was finished stays, nothing is half-written, and the end is right.

``python -m experiments.reliability kills`` runs them. Half of the kills come at a random time, half of them while a
file is being written.
"""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from keras_coda.exporters import lint_saved_model
from keras_coda.utils.reading import read_npz

NAMES = ("train", "tune", "export", "explain", "compare")
LONGEST = 1800.0  # seconds for a run
IMAGES = 12


@dataclasses.dataclass(frozen=True)
class Command:
    """A command to kill.

    Attributes:
        arguments: of ``keras-coda``, given the folder for results and the number of the run.
        finished: what is finished, given the folder: it may only grow.
        result: a file that is there when the command has ended, given the folder and the number of the run.
    """

    arguments: Callable[[Path, int], list]
    finished: Callable[[Path], set[str]]
    result: Callable[[Path, int], Path]


def commands(scratch: Path) -> dict[str, Command]:
    """Return the commands by name.

    Args:
        scratch: a folder in which a small preset and images are written.
    """
    from keras_coda import CoDANet

    preset, images = scratch / "preset", scratch / "images"
    CoDANet(10, input_shape=(8, 8, 1), filters=(10, 10), ranks=2, strides=1, temperature=10.0).save_to_preset(preset)
    images.mkdir()
    for index in range(IMAGES):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8), "uint8")
        Image.fromarray(pixels).save(images / f"{index}.png")
    train = ["train", "--preset", preset, "--epochs", 12, "--batch-size", 256]
    tune = ["tune", "--preset", preset, "--epochs", 1, "--trials", 4, "--oracle", "random", "--temperature", "5:50",
            "--learning-rate", "0.01"]  # fmt: skip
    compare = ["compare", "--model", "coda_digits", "--methods", "VanillaGradients,GradientsInputs", "--grids", 9]
    return {
        "train": Command(lambda out, _: [*train, "--out", out], _epochs, lambda out, _: out / "model/config.json"),
        "tune": Command(lambda out, _: [*tune, "--out", out], _trials, lambda out, _: out / "result.json"),
        "export": Command(
            lambda out, run: ["export", "--model", preset, "--no-warmup", "--out", out / str(run)],
            lambda out: {path.name for path in out.glob("[0-9]*")},
            lambda out, run: out / str(run) / "saved_model.pb",
        ),
        "explain": Command(
            lambda out, _: ["explain", "--model", preset, "--overwrite", "--out", out, images],
            lambda out: {path.name for path in out.glob("[!.]*")},
            lambda out, _: out / f"{IMAGES - 1}.npz",
        ),
        "compare": Command(
            lambda out, _: [*compare, "--images", 32, "--out", out],
            lambda out: {path.name for path in out.glob("*-*.json")},
            lambda out, _: out / "comparison.png",
        ),
    }


def run(name: str, number: int, scratch: Path, seed: int = 0, say: Callable[[str], None] = print) -> list[str]:
    """Kill a command a number of times, beginning anew whenever it has come to its end.

    Args:
        name: of the command, one of those of :func:`commands`.
        number: of kills.
        scratch: an empty folder.
        seed: of the moments.
        say: called with a line for every run.

    Returns:
        A line for everything that was lost, damaged or left behind.
    """
    command, rng = commands(scratch)[name], random.Random(f"{name} {seed}")
    out, problems, kills, runs, longest, writes = scratch / "out", [], 0, 1, LONGEST, 0
    while kills < number:
        before = command.finished(out) if out.exists() else set()
        at_write = rng.randint(1, writes) if writes and rng.random() < 0.5 else None
        at_time = LONGEST if at_write or runs == 1 else rng.uniform(0.2, 1.0) * longest
        process, seconds, seen = _run(command.arguments(out, runs), out, at_time, at_write, rng.uniform(0, 0.05))
        if runs == 1:
            longest, writes = seconds, seen
        was_killed = process == -signal.SIGKILL
        kills += was_killed
        found = [f"{name} {runs}: {problem}" for problem in (*_damaged(out), *_lost(before, command.finished(out)))]
        if not was_killed:
            found += _at_end(process, command.result(out, runs), out)
            runs += 1
            if name != "export":
                shutil.rmtree(out, ignore_errors=True)
        elif name == "export" and command.result(out, runs).exists():  # killed after the version was complete
            runs += 1
        problems += found
        how = "killed" if was_killed else f"ended with {process}"
        say(f"{name}: {how} after {seconds:.1f} s ({kills} of {number} kills), {len(found)} problems")
    process, *_ = _run(command.arguments(out, runs), out, LONGEST)
    return problems + _at_end(process, command.result(out, runs), out)


def _run(arguments, out, at_time, at_write=None, pause=0.0):
    """Run a command; return its exit code, its seconds and how many writes were seen.

    It is killed after ``at_time`` seconds, or ``pause`` seconds after it began the write with the number ``at_write``.
    """
    known, start, writes = set(_temporary(out)), time.monotonic(), 0
    command = [sys.executable, "-m", "keras_coda", *map(str, arguments)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        new = set(_temporary(out)) - known
        known |= new
        writes += len(new)
        is_write = at_write is not None and writes >= at_write
        if is_write:
            time.sleep(pause)
        if is_write or time.monotonic() - start > at_time:
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(0.002)
    return process.returncode, time.monotonic() - start, writes


def _temporary(out):
    """Yield the files and folders that are being written."""
    for parent, folders, _ in os.walk(out):
        yield from (os.path.join(parent, folder) for folder in folders if folder.startswith(".tmp-"))


def _at_end(code, result, out):
    problems = [] if code == 0 else [f"the last run ended with {code}"]
    problems += [] if result.exists() else [f"'{result}' is missing"]
    return problems + [f"'{path}' was left" for path in _temporary(out)]


def _lost(before, now):
    return [f"'{name}' was lost" for name in sorted(before - now)]


def _damaged(out):
    """Return what cannot be read, of the files that are not being written."""
    problems = []
    for path in sorted(out.rglob("*")):
        parts = path.relative_to(out).parts
        # The weights of a trial that did not end are written again.
        if any(part.startswith(".") for part in parts) or path.name.startswith("checkpoint"):
            continue
        try:
            _check(path)
        except Exception as error:
            problems.append(f"'{path}' is damaged ({type(error).__name__}: {error})")
    return problems


def _check(path):
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".npz":
        read_npz(path)
    elif path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".h5":
        with h5py.File(path) as file:
            file.visit(lambda name: None)
    elif path.name == "saved_model.pb":
        errors = [finding for finding in lint_saved_model(path.parent) if finding.is_error]
        assert not errors, errors


def _epochs(out):
    """Return the epochs that are backed up; all of them once the network is saved."""
    done = [int(path.name.removeprefix("epoch-")) for path in out.glob("backup/epoch-*")]
    count = 12 if (out / "model").exists() else max(done, default=0)
    return {f"epoch {epoch}" for epoch in range(1, count + 1)}


def _trials(out):
    found = out.glob("trials/trial_*/trial.json")
    return {path.parent.name for path in found if json.loads(path.read_text())["status"] == "COMPLETED"}
