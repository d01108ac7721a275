"""Hooks of MkDocs for these pages: links into the repository, the help texts of the command line, results.

- Pages link to files of the repository that are not on the site by a relative path (``../export/README.md``), which
  works where the Markdown itself is read. On the site, such links lead to the repository. A link without a target is a
  warning, and makes ``mkdocs build --strict`` fail.
- ``<!-- help: train -->`` is replaced by the output of ``keras-coda train --help``, and ``<!-- help -->`` by that of
  ``keras-coda --help``.
- Code in cells of tables may break after punctuation, and nowhere inside a name.
- The changelog is a page, and every page shows the version of the package.
- ``results.md`` is written by ``python -m experiments report``. If it is missing, a page says how to write
  it.
"""

import logging
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
RESULTS = "results.md"
NO_RESULTS = """# Results

Nothing has been measured yet. `make evidence` trains and measures everything and writes this page; it takes hours.
[Temperature and tuning](reference/tuning.md) lists the values that the authors published.
"""

_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_HELP = re.compile(r"<!-- help(?:: (?P<command>[\w-]+))? -->")
_CELL = re.compile(r"<td.*?</td>", re.S)
_CELL_CODE = re.compile(r"(?<=<code>)[^<]+(?=</code>)")
_BREAK = re.compile(r"(?<=\w[./(\[=,])(?=[\w.\"'])")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
_log = logging.getLogger("mkdocs.hooks.keras_coda")


def on_config(config):
    """Show the version beside the license."""
    version = re.search(r'__version__ = "(.+)"', (ROOT / "keras_coda" / "version.py").read_text(encoding="utf-8"))
    config["copyright"] = f"keras_coda {version[1]} · {config['copyright']}"
    return config


def on_files(files, config):
    """Add the changelog, and a page where the results are missing."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    text = _LINK.sub(lambda match: match[1] + _below_docs(match[2]) + match[3], text)
    files.append(File.generated(config, "changelog.md", content=text))
    if files.get_file_from_path(RESULTS) is None:
        _log.info("%s is missing; a page says how to write it", RESULTS)
        files.append(File.generated(config, RESULTS, content=NO_RESULTS))
    return files


def on_page_markdown(markdown, page, config, files):
    """Replace links out of ``docs/`` and marks of the command line's help, except in blocks of code."""
    where = page.file.src_uri

    def prose(text):
        text = _LINK.sub(lambda match: match[1] + repository_link(match[2], where, config["repo_url"]) + match[3], text)
        return _HELP.sub(lambda match: f"```text\n{command_help(match['command'])}\n```", text)

    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [prose(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, prose(markdown[end:])])


def on_page_content(html, page, config, files):
    """Allow lines to break after punctuation of code in cells of tables."""

    def cell(match):
        return _CELL_CODE.sub(lambda code: _BREAK.sub("<wbr>", code[0]), match[0])

    return _CELL.sub(cell, html)


def _below_docs(target):
    """Return a link of a file in the root of the repository as a page would write it."""
    return target if "://" in target else target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"


def repository_link(target: str, page: str, repository: str) -> str:
    """Return the target of a link on the site: other pages and pictures unchanged, other files in the repository.

    Args:
        target: the link, without anchor.
        page: the page's path within ``docs/``.
        repository: address of the repository.
    """
    if "://" in target or target.startswith(("mailto:", "/")):
        return target
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    if path.startswith("docs/") and not path.endswith(".py"):  # programs are not on the site
        return target
    place = ROOT / path
    if path.startswith("..") or not place.exists():
        _log.warning("%s links to '%s', which is not in the repository", page, target)
    return f"{repository.rstrip('/')}/{'tree' if place.is_dir() else 'blob'}/main/{path}"


def command_help(command: str | None) -> str:
    """Return what ``keras-coda [command] --help`` prints, 100 columns wide, without colors.

    Raises:
        subprocess.CalledProcessError: if there is no such command.
    """
    arguments = [sys.executable, "-m", "keras_coda_cli.main", *([command] if command else []), "--help"]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    found = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return found.stdout.strip()
