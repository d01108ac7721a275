"""What notebooks promise before anybody runs them; ``make notebooks`` does that."""

import importlib
import re
import tomllib
from pathlib import Path

import nbformat
import pytest

from docs.repository import address
from notebooks.run import FOLDER, PATHS, clear, code, pictures

ROOT = FOLDER.parent
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
COLAB = address().replace("https://github.com", "https://colab.research.google.com/github") + "/blob/main/notebooks/"
PROMPT = re.compile(r'%pip install -q "keras-coda(?:\[([\w,]+)\])? @ \{source\}"')


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def prose(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def resolve(name):
    """Import as much of a dotted name as there are modules, and get the rest as attributes."""
    found, parts = importlib.import_module("keras_coda"), name.split(".")[1:]
    for depth, part in enumerate(parts):
        if not hasattr(found, part):
            importlib.import_module(".".join(["keras_coda", *parts[: depth + 1]]))
        found = getattr(found, part)
    return found


def test_notebooks_are_numbered_without_gaps():
    assert [path.name[:3] for path in PATHS] == [f"{number:02d}_" for number in range(1, len(PATHS) + 1)]


def test_notebook_is_valid_and_its_cells_have_ids_of_their_own(notebook):
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    nbformat.validate(notebook)
    assert len({cell["id"] for cell in notebook.cells}) == len(notebook.cells)


def test_outputs_are_empty(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    filled = [cell.id for cell in cells if cell.outputs or cell.execution_count is not None]
    assert not filled, "python -m notebooks.run --clear"


def test_clear_empties_outputs_and_changes_nothing_else(path, tmp_path):
    before = nbformat.read(path, as_version=4)
    filled = nbformat.from_dict(before)
    cell = next(cell for cell in filled.cells if cell.cell_type == "code")
    cell.execution_count, cell.outputs = 3, [nbformat.v4.new_output("stream", text="noise")]
    nbformat.write(filled, tmp_path / path.name)
    clear(tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_it_begins_with_a_title_and_the_badge_of_this_very_file(notebook, path):
    title, _, badge, *_ = notebook.cells[0].source.splitlines()
    assert title.startswith("# ")
    assert badge == f"[![Open in Colab]({BADGE})]({COLAB}{path.name})"


def test_first_code_cell_alone_installs_and_only_what_is_missing(notebook):
    first, *others = code(notebook)
    assert "importlib.util.find_spec" in first
    assert f'"git+{address()}"' in first
    extras = PROMPT.search(first).group(1)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(extras.split(",") if extras else ()) <= set(known)
    assert not any(re.search(r"pip install|apt-get", cell) for cell in others)


@pytest.mark.parametrize("place", ["checkout", "elsewhere"])
def test_first_code_cell_installs_from_the_checkout_or_else_from_the_repository(notebook, place, tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    if place == "checkout":
        (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    scope = {}
    exec(code(notebook)[0].replace("%pip install", "#"), scope)
    assert scope["source"] == (tmp_path.as_uri() if place == "checkout" else f"git+{address()}")


def test_local_links_resolve(notebook, path):
    headings = {re.sub(r"\s+", "-", name) for name in re.findall(r"^#+ (.+)$", prose(notebook), flags=re.M)}
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(notebook)):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("https://"):
            assert (path.parent / target).exists(), target


def test_pictures_are_promised_once_each_and_go_to_a_folder_of_the_notebooks_name(notebook, path):
    names = pictures(notebook)
    assert names
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"\w+\.png", name) for name in names)
    assert f'PICTURES = Path("pictures/{path.stem}")' in "\n".join(code(notebook))


def test_names_of_the_package_exist(notebook):
    text = prose(notebook) + "\n".join(code(notebook))
    names = set(re.findall(r"\bkeras_coda(?:\.[A-Za-z]\w*)+", text))
    for name in sorted(names):
        resolve(name)
    for module, imported in re.findall(r"^from (keras_coda[\w.]*) import (.+)$", text, flags=re.M):
        for each in imported.split(","):
            resolve(f"{module}.{each.strip()}")


def test_files_of_this_folder_name_no_place_of_a_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/home/|/root/|/Users/|[A-Z]:\\\\", text)
    assert Path(path).stat().st_size < 100_000
