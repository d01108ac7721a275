"""A folder with everything that a machine without network needs: ``python -m benchmarks.gpu pack``."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.gpu import data
from keras_coda.utils.atomic import new_folder

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("keras_coda", "keras_coda_cli", "benchmarks", "experiments")
IMAGES = "images.npz"
_LEFT_OUT = ("__pycache__", "shipped", "results", "*.md")  # trained weights, and what was measured elsewhere
_PLATFORMS = ("manylinux_2_28_{}", "manylinux_2_27_{}", "manylinux_2_17_{}", "manylinux2014_{}")


def pack(folder: Path | None, out: Path, wheels: Sequence[str], python: str, machine: str) -> None:
    """Write a folder that can be put into ``PYTHONPATH``, and print the commands to run with it.

    Args:
        folder: of images, one folder for each class; None for no images.
        out: the new folder.
        wheels: names of packages to add, in the versions installed here, without what they need themselves.
        python: version of Python on the machine, such as ``"3.12"``.
        machine: its processor, as ``uname -m`` names it.

    Raises:
        FileExistsError: if ``out`` exists.
        RuntimeError: if pip does not find a wheel.
    """
    with new_folder(out) as temporary:
        for name in SOURCES:
            shutil.copytree(ROOT / name, temporary / name, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        if wheels:
            _install(temporary, [f"{name}=={version(name)}" for name in wheels], python, machine)
        if folder is not None:
            print(f"{data.pack(folder, temporary / IMAGES)} images")
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 2**20
    images = f"{out.name}/{IMAGES}" if folder is not None else "random"
    command = f"PYTHONPATH={out.name} python3 -m benchmarks.gpu"
    print(
        f"'{out}', {size:.1f} MB: copy it to the machine, and run there, beside it:\n"
        f"    {command} train --images {images} --total 580 --out out\n"
        f"    {command} table --seconds 110 --out out"
    )


def _install(folder, pins, python, machine):
    """Let pip unpack wheels for the machine into the folder: it then needs no pip."""
    platforms = [part for name in _PLATFORMS for part in ("--platform", name.format(machine))]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-compile", "--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    done = subprocess.run(
        [*command, *platforms, "--target", folder, *pins], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"pip must find a wheel of each package for Python {python} on {machine}. Received: {pins}. pip said: "
            f"{done.stderr.strip()[-1000:]}"
        )
