"""Examples run: ``>>>`` of docstrings, and Python blocks of README.md and docs/.

The blocks of a page are one program, run in an empty folder, where networks train for two batches only. A block is not
run, but must compile, if ``<!-- not run: why -->`` stands on the line before it, or if it imports the clients of a
server, which is not here.
"""

import ast
import doctest
import importlib
import re
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_coda

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?P<mark><!-- not run: (?P<why>.+?) -->\n)?^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S
)
CLIENTS = re.compile(r"^(from|import) keras_coda\.serving\b", re.M)
NOT_RUN = {
    "README.md": 1,
    "docs/auditing.md": 1,
    "docs/bcos.md": 1,
    "docs/metrics/quantus.md": 3,
    "docs/mlflow.md": 1,
    "docs/server.md": 1,
    "docs/serving.md": 2,
}  # how many blocks: whoever adds one changes this
IMPORTED = re.compile(r"^from keras_coda\.([\w.]+) import (.+)$", re.M)
BATCHES = 2


def relative(path):
    return path.relative_to(ROOT).as_posix()


# === Docstrings ===


def docstrings():
    """Yield ``(file, module, name, line, docstring)`` of everything in the package, without importing it."""
    for path in sorted((ROOT / "keras_coda").rglob("*.py")):
        module = relative(path)[: -len(".py")].replace("/", ".").removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node, clean=True)
                if text:
                    name = getattr(node, "name", "")
                    yield path, module, f"{module}.{name}".rstrip("."), node.body[0].lineno - 1, text


DOCTESTS = [each for each in docstrings() if ">>>" in each[-1]]


@pytest.fixture
def small_training(monkeypatch):
    """Whatever examples train sees a few batches once, eagerly: tracing would take longer than they do."""
    fit = keras_coda.CoDANet.fit

    def fit_shortly(self, x=None, y=None, **kwargs):
        self.run_eagerly = True
        if "validation_data" in kwargs:
            kwargs["validation_data"] = kwargs["validation_data"].take(BATCHES)
        try:
            return fit(self, x.take(BATCHES), y, **{**kwargs, "epochs": 1, "verbose": 0})
        finally:
            self.run_eagerly = False

    monkeypatch.setattr(keras_coda.CoDANet, "fit", fit_shortly)


@pytest.mark.parametrize(("path", "module", "name", "line", "text"), DOCTESTS, ids=[each[2] for each in DOCTESTS])
def test_docstring_example_gives_what_it_says(path, module, name, line, text, small_training, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = {**vars(importlib.import_module(module)), "np": np, "keras": keras, "keras_coda": keras_coda}
    test = doctest.DocTestParser().get_doctest(text, known, name, relative(path), line)
    report = []
    results = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not results.failed, "".join(report)


def test_other_code_in_docstrings_compiles():
    found = 0
    for path, _, name, line, text in docstrings():
        blocks = [(match.start(), match["code"]) for match in BLOCK.finditer(text)]
        blocks += [
            (match.start(), match[1]) for match in re.finditer(r"^Example::\n\n((?: {4}.*\n|\n)+)", text + "\n", re.M)
        ]
        for start, code in blocks:
            place = line + text.count("\n", 0, start)
            compile("\n" * place + textwrap.dedent(code), f"{relative(path)} ({name})", "exec")
            found += 1
    assert found >= 10


# === Pages ===


def blocks(page):
    """Return ``(code, reason not to run it or None)`` of a page; code stands at its own line numbers."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in BLOCK.finditer(text):
        lines = text.count("\n", 0, match.start("code"))
        reason = match["why"] or ("needs a server" if CLIENTS.search(textwrap.dedent(match["code"])) else None)
        found.append((compile("\n" * lines + textwrap.dedent(match["code"]), str(page), "exec"), reason))
    return found


RUNNING = [page for page in PAGES if any(reason is None for _, reason in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=relative)
def test_python_of_page_runs(page, small_training, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = {"__name__": "page"}
    for code, reason in blocks(page):
        if reason is None:
            exec(code, program)


def test_blocks_that_do_not_run_are_few_and_counted():
    counts = {relative(page): sum(reason is not None for _, reason in blocks(page)) for page in PAGES}
    assert {page: count for page, count in counts.items() if count} == NOT_RUN
    marks = [mark for page in PAGES for mark in re.findall(r"<!-- not run.*", page.read_text(encoding="utf-8"))]
    read = [match for page in PAGES for match in BLOCK.finditer(page.read_text(encoding="utf-8")) if match["mark"]]
    assert len(marks) == len(read), "A mark stands on the line before its block: <!-- not run: why -->"


def test_links_of_pages_lead_to_files():
    for page in PAGES:
        prose = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s#]+)", prose):
            if "://" not in target and target not in ("results.md", "../results.md"):  # written by `make evidence`
                assert (page.parent / target).exists(), f"{relative(page)}: {target}"


def test_names_of_pages_exist_and_are_no_deeper_than_a_room():
    for page in [each for each in PAGES if each.parent.name != "reference"]:
        text = re.sub(r"^```diff\n.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        text = re.sub(r"\]\([^)]*\)", "]", text)  # anchors of the reference may name the module that defines a name
        names = re.findall(r"\bkeras_coda((?:\.[A-Za-z_]\w*)+)(?!/)", text)
        names += [f".{room}.{name}" for room, line in IMPORTED.findall(text) for name in line.split(", ")]
        for name in sorted(set(names)):
            found = keras_coda
            for depth, part in enumerate(name.split(".")[1:]):
                assert depth < 2 or isinstance(found, type), f"{relative(page)}: keras_coda{name}"
                assert hasattr(found, part), f"{relative(page)}: keras_coda{name}"
                found = getattr(found, part)


def test_pages_name_no_place_of_a_machine():
    for page in PAGES:
        assert not re.search(r"/home/|/root/|/work/|/Users/", page.read_text(encoding="utf-8")), page


def test_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").glob("*.png")}
    assert sizes
    assert max(sizes.values()) < 200_000, sizes


def test_figures_about_speed_are_those_of_the_benchmarks():
    measured = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8").splitlines() if "|" in line]
    figures = [figure for row in rows for figure in re.findall(r"\d+\.\d+×|\d+%", row)]
    assert len(figures) == 10
    assert not [figure for figure in figures if figure not in measured.replace(" %", "%")]


def test_published_figures_are_those_of_the_package():
    published = importlib.import_module("keras_coda.tuning.temperature").S_CODA_CIFAR10
    text = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    for name, values in zip(("localization", "pixel removal, AUC"), published.values(), strict=True):
        assert f"| {name} | " + " | ".join(f"{value:.3f}" for value in values.values()) + " |" in text
