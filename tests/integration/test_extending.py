"""The diffs of docs/extending are true: applied to a copy of the packages, each adds what its page says."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers import page_changes

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "extending"

# What the changes of each page must have added, as a program that runs in the changed copy.
CHECKS = {
    "layer": """
        layers = [keras.Input((6, 6, 2)), keras_coda.layers.UnitNorm(), keras_coda.DAUConv2D(3, 3, 2)]
        layers += [keras_coda.GlobalSumPooling2D(), keras_coda.LogitScaling(1.0)]
        explanation = keras_coda.explain(keras.Sequential(layers), np.ones((1, 6, 6, 2)), verbose=False)
        assert explanation.residual.max() < 1e-4
    """,
    "penalty": """
        assert keras_coda.training.Recipe(penalties={"counter_evidence": 0.5}).penalties == {"counter_evidence": 0.5}
        digits.compile(penalties={"counter_evidence": 0.5}, run_eagerly=True)
        assert digits.train_on_batch(*batch, return_dict=True)["counter_evidence"] > 0
    """,
    "posthoc": """
        assert "brightness" in keras_coda.posthoc.methods()
        comparison = keras_coda.evaluation.compare(digits, [batch], ["brightness"], **small)
        assert comparison.names == ("contribution maps", "brightness")
    """,
    "metric": """
        assert [result.explainer for result in comparison.results["compactness"]] == list(comparison.names)
        assert "Compactness" in comparison.table()
    """,  # of the comparison above
    "signature": """
        digits.export("digits/1", top_k=2, warmup=False)
        assert keras_coda.exporters.lint_saved_model("digits/1") == []
        maps = digits.explain(batch[0], top_k=2, verbose=False).contributions
        images = batch[0].astype("float32")
        (found,) = run_signatures("digits/1", [("contrast", {"images": images})])
        np.testing.assert_allclose(found["contrast"], maps[:, 0] - maps[:, 1], atol=1e-5)
    """,
    "format": """
        from keras_coda_cli import export
        assert "zip" in export.FORMATS
        digits.export("digits.zip", format="zip", top_k=2)
        assert open("digits.zip", "rb").read(2) == b"PK"
    """,
    "command": """
        from keras_coda_cli import main
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main.main(["classes", "--model", "coda_digits"]) == 0
        assert printed.getvalue().split() == [str(i // 2) for i in range(20)]
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            assert main.main(["classes", "--model", "coda_digit"]) == 1
        assert "coda_digit" in printed.getvalue()
    """,
    "preset": """
        model = keras_coda.CoDANet.from_preset("coda_tiny_cifar10", load_weights=False)
        assert model.count_params() == keras_coda.models.preset_parameters("coda_tiny_cifar10")
    """,
}
PROGRAM = """
import contextlib, io, traceback
import keras
import numpy as np
import keras_coda
from keras_coda.exporters.bare_tensorflow import run_signatures

digits = keras_coda.CoDANet.from_preset("coda_digits")
batch = next(keras_coda.data.load("digits", batch_size=32).validation.as_numpy_iterator())
small = {"n_grids": 1, "grid": 2, "n_images": 4, "points": 2, "verbose": False}
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What every check says, by page, in one copy with the changes of all pages."""
    folder = tmp_path_factory.mktemp("extended")
    for package in ("keras_coda", "keras_coda_cli"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for page in CHECKS:
        page_changes.apply(PAGES / f"{page}.md", folder)
    program = PROGRAM
    for page, check in CHECKS.items():
        lines = textwrap.indent(f"{textwrap.dedent(check).strip()}\nprint('DONE {page}')", "    ")
        program += f"\ntry:\n{lines}\nexcept Exception:\n    traceback.print_exc()\n"
    (folder / "checks.py").write_text(program, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", "import runpy; runpy.run_path('checks.py')"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", CHECKS)
def test_the_changes_of_a_page_add_what_it_says(page, outcome):
    assert f"DONE {page}\n" in outcome.stdout, outcome.stderr[-5000:]


def test_every_page_has_changes_that_are_checked():
    assert {page.stem for page in PAGES.glob("*.md")} == set(CHECKS)


def test_one_file_and_one_registration_suffice(tmp_path):
    for page in CHECKS:
        folder = tmp_path / page
        for package in ("keras_coda", "keras_coda_cli"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "shipped"))
        paths = page_changes.apply(PAGES / f"{page}.md", folder)
        assert len(paths) <= 2, paths


def test_contributing_names_every_page():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"docs/extending/(\w+)\.md", text)) == set(CHECKS)
