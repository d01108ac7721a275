import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import keras_coda

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = keras_coda.__version__
NOT_COPIED = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__")
MADE = {"build", "dist", "demo", "models", "served", "site", "runs"}  # folders of the checkout that are not in git
LIMIT = 22 * 2**20  # bytes of a wheel, of which the weights that come with it are nearly all

USE = """
import sys
import numpy as np
import keras_coda
assert keras_coda.__file__.startswith(sys.argv[1]), keras_coda.__file__
model = keras_coda.CoDANet.from_preset("coda_digits")
explanation = model.explain(np.arange(64).reshape(1, 8, 8, 1), top_k=2)
assert explanation.contributions.shape == (1, 2, 8, 8)
assert explanation.residual.max() < 1e-3, explanation.residual
"""


def run(*command, **options):
    process = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **options)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def contents(wheel):
    """The files of a wheel, `{name: content}`; RECORD lists them in the order of the folder they came from."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    record = f"keras_coda-{VERSION}.dist-info/RECORD"
    return files | {record: b"\n".join(sorted(files[record].splitlines()))}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Source distribution and wheel, built from a copy: an old `build` in the checkout must not get into them.

    Setuptools is taken from the environment, so that nothing has to be downloaded.
    """
    folder = tmp_path_factory.mktemp("packaging")

    def ignored(source, names):  # `MADE` at the top only: there is keras_coda/models
        return NOT_COPIED(source, names) | (MADE if Path(source) == ROOT else set())

    shutil.copytree(ROOT, folder / "checkout", ignore=ignored)
    run("-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", folder, folder / "checkout")
    return folder


@pytest.fixture(scope="module")
def sdist(built):
    (path,) = built.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


# === What is in it ===


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    assert wheel.name == f"keras_coda-{VERSION}-py3-none-any.whl"
    names = set(contents(wheel))
    information = f"keras_coda-{VERSION}.dist-info"
    assert {name.split("/")[0] for name in names} == {"keras_coda", "keras_coda_cli", information}
    packages = ("keras_coda", "keras_coda_cli")
    sources = {path.relative_to(ROOT).as_posix() for name in packages for path in (ROOT / name).rglob("*.py")}
    presets = {path.relative_to(ROOT).as_posix() for path in (ROOT / "keras_coda" / "models" / "shipped").rglob("*.*")}
    assert {"keras_coda/models/shipped/coda_digits/model.weights.h5"} < presets
    static = {path.relative_to(ROOT).as_posix() for path in (ROOT / "keras_coda" / "explorer" / "static").iterdir()}
    assert {f"keras_coda/explorer/static/{name}" for name in ("page.js", "stage.js", "style.css")} < static
    photos = {"keras_coda/data/sample_photos.png"}
    templates = {f"keras_coda/auditing/templates/{name}" for name in ("report.html", "model_card.md")}
    typed = {f"{name}/py.typed" for name in packages}
    expected = sources | presets | static | photos | templates | typed
    assert {name for name in names if name.startswith(("keras_coda/", "keras_coda_cli/"))} == expected
    assert f"{information}/licenses/LICENSE" in names


@pytest.mark.slow
def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size < LIMIT


@pytest.mark.slow
def test_the_source_distribution_builds_the_same_wheel(sdist, wheel, tmp_path):
    run("-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", tmp_path, sdist)
    (again,) = tmp_path.glob("*.whl")
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)


@pytest.mark.slow
def test_the_source_distribution_says_what_it_is(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"} <= names
    assert not {name.split("/")[0] for name in names} & {
        "tests",
        "benchmarks",
        "experiments",
        "notebooks",
        "docs",
        "export",
    }


# === That it works ===


@pytest.mark.slow
def test_an_installed_wheel_works_away_from_the_checkout(wheel, tmp_path):
    target, away = tmp_path / "installed", tmp_path / "away"
    away.mkdir()
    run("-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--target", target, wheel)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    run("-c", USE, target, cwd=away, env=environment)
    assert run(target / "bin" / "keras-coda", "--version", cwd=away, env=environment) == f"keras-coda {VERSION}\n"
    assert not list(away.iterdir())


# === What it says of itself ===


@pytest.mark.slow
def test_metadata_are_those_of_the_project(wheel):
    metadata = email.message_from_bytes(contents(wheel)[f"keras_coda-{VERSION}.dist-info/METADATA"])
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == ("keras-coda", VERSION, ">=3.11")
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    required = metadata.get_all("Requires-Dist")
    assert sum("extra ==" not in entry for entry in required) == len(PROJECT["dependencies"])
    assert sum("extra ==" in entry for entry in required) == sum(map(len, PROJECT["optional-dependencies"].values()))


def test_every_extra_that_is_recommended_exists_and_is_tested():
    extras = PROJECT["optional-dependencies"]
    pages = [ROOT / "README.md", *(ROOT / "keras_coda").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    found = {extra for page in pages for extra in re.findall(r"keras-coda\[(\w+)\]", page.read_text(encoding="utf-8"))}
    assert "serving" in found
    assert found <= set(extras)
    tested = {re.split(r"[\[<>=]", requirement)[0] for requirement in extras["test"]}
    # Tests of these are skipped where they are missing. Torch is large, and only for checkpoints; Quantus needs
    # opencv-python, which overwrites the files of opencv-python-headless.
    for extra in found - {"torch", "quantus"}:
        assert {re.split(r"[\[<>=]", requirement)[0] for requirement in extras[extra]} <= tested, extra


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    newest = next(heading for heading in headings if heading != "Unreleased")
    assert [keras_coda.__version__, str(citation["version"]), newest] == [VERSION] * 3


def test_the_citation_names_the_papers_of_the_readme():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["cff-version"], citation["license"]) == ("1.2.0", PROJECT["license"])
    titles = re.findall(r"^  title\s+= \{(.+)\},$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [paper["title"] for paper in citation["references"]] == titles
    assert [paper["year"] for paper in citation["references"]] == [2021, 2022]


def test_the_workflow_runs_what_has_to_pass_on_every_python_that_is_named():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["check"]
    versions = [re.search(r"Python :: (3\.\d+)$", entry) for entry in PROJECT["classifiers"]]
    assert job["strategy"]["matrix"]["python"] == [match[1] for match in versions if match]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == ["bash .ci/run", "make test PYTHON=python${{ matrix.python }}"]
    conditions = [step["if"] for step in job["steps"] if "run" in step]
    assert conditions == ["matrix.python == '3.11'", "matrix.python != '3.11'"]
