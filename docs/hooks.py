"""What MkDocs does for these pages beyond its own: links into the repository, the command line's help, results.

- Pages link to files that are not on the site as they lie in the repository (``../export/README.md``), so that links
  work where Markdown is read as it is. On the site they lead to the repository. One that leads nowhere is a warning,
  which ``mkdocs build --strict`` fails on.
- ``<!-- help: train -->`` becomes what ``keras-coda train --help`` prints; ``<!-- help -->`` that of the program.
- ``results.md`` is written by ``python -m benchmarks.evidence report``. Until it is there, a page says how to get it.
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

Nothing has been measured here yet. `make evidence` trains and measures everything and writes this page; it takes hours.
What the authors published stands in the docstrings of [temperature and tuning](reference/tuning.md).
"""

_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_HELP = re.compile(r"<!-- help(?:: (?P<command>[\w-]+))? -->")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
_log = logging.getLogger("mkdocs.hooks.keras_coda")


def on_files(files, config):
    """Add a page in place of results that are not there yet."""
    if files.get_file_from_path(RESULTS) is None:
        _log.info("%s is not there yet: a page says how to get it", RESULTS)
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


def repository_link(target: str, page: str, repository: str) -> str:
    """Return where a link of a page leads: unchanged to other pages and pictures, else into the repository.

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
    arguments = [sys.executable, "-m", "keras_coda", *([command] if command else []), "--help"]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    found = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return found.stdout.strip()
