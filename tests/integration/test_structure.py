"""The rooms of the package import one way down, and test modules share code by tests/helpers alone."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def imported_modules(path):
    """The absolute names of everything that a file imports; ``from a import b`` may mean the module ``a.b``."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (above, node.module)))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_no_file_imports_a_test_module():
    for path in sorted((ROOT / "tests").rglob("*.py")):
        names = {name for name in imported_modules(path) if name.startswith("tests.")}
        shared = {name for name in names if name.split(".")[1] == "helpers"}
        assert names <= shared, (
            f"{path.relative_to(ROOT)} imports {names - shared}: move what is shared to tests/helpers"
        )


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with copies of both packages, in which the linter finds nothing."""
    folder = tmp_path_factory.mktemp("packages")
    for package in ("keras_coda", "keras_coda_cli"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "shipped"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    clean = lint(folder)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "line", "contract"),
    [
        ("utils/checks.py", "import keras_coda.models.coda_net", "Imports run one way down"),
        ("data/load.py", "from keras_coda.explanations import compiled", "Imports run one way down"),
        ("layers/head.py", "from keras_coda.visualization import maps", "Imports run one way down"),
        ("evaluation/grids.py", "from keras_coda_cli import main", "The library does not know its command line"),
        ("utils/checks.py", "import tensorflow", "What runs on every backend does not name TensorFlow"),
    ],
)
def test_an_import_against_the_order_of_the_rooms_fails_the_linter(room, line, contract, packages):
    path = packages / "keras_coda" / room
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n\ndef planted():\n    {line}\n", encoding="utf-8")
    try:
        found = lint(packages)
    finally:
        path.write_text(before, encoding="utf-8")
    assert found.returncode == 1, found.stdout + found.stderr
    assert f"{contract} BROKEN" in found.stdout


def lint(folder):
    """Run import-linter over the packages of a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", LINT, "--no-cache"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
