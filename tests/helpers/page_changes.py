"""The changes to this repository that the pages of docs/extending show, applied to a copy.

A Python block after ``<!-- file: PATH -->`` is a new file. Its imports from rooms (``from keras_coda.models import X``)
become imports from the modules that define the names, as inside the package. A ``diff`` block changes files: sections
start with ``--- a/PATH`` and ``+++ b/PATH``, ``@@`` separates places in a file, and there are no line numbers.
"""

import importlib
import re

_FILE = re.compile(r"^<!-- file: (?P<path>\S+) -->\n```python\n(?P<code>.*?)^```$", re.M | re.S)
_DIFF = re.compile(r"^```diff\n(.*?)^```$", re.M | re.S)
_IMPORT = re.compile(r"^from (keras_coda\.\w+) import (.+)$", re.M)


def apply(page, folder):
    """Apply the changes of a page.

    Args:
        page: path of the Markdown file.
        folder: of the copy.

    Returns:
        The paths of the new and the changed files, relative to ``folder``.

    Raises:
        AssertionError: if a new file exists, or the unchanged lines of a place are not in a file exactly once.
    """
    text, paths = page.read_text(encoding="utf-8"), []
    for match in _FILE.finditer(text):
        target = folder / match["path"]
        assert not target.exists(), f"{page.name}: {match['path']} exists"
        target.write_text(_IMPORT.sub(_from_defining_modules, match["code"]), encoding="utf-8")
        paths.append(match["path"])
    for diff in _DIFF.findall(text):
        for section in re.split(r"^--- ", diff, flags=re.M)[1:]:
            _, target, *lines = section.splitlines()
            assert target.startswith("+++ b/"), f"{page.name}: {target}"
            paths.append(target.removeprefix("+++ b/"))
            _change(folder / paths[-1], lines, page.name)
    return paths


def _from_defining_modules(match):
    room, names = importlib.import_module(match[1]), match[2].split(", ")
    return "\n".join(f"from {getattr(room, name).__module__} import {name}" for name in names)


def _change(path, lines, page):
    text, places = path.read_text(encoding="utf-8"), [[]]
    for line in lines:
        if line.startswith("@@"):
            places.append([])
        else:
            places[-1].append(line)
    for place in filter(None, places):
        assert all(line[:1] in ("", " ", "+", "-") for line in place), f"{page}: {place}"
        before = "".join(f"{line[1:]}\n" for line in place if not line.startswith("+"))
        after = "".join(f"{line[1:]}\n" for line in place if not line.startswith("-"))
        assert before, f"{page}: a place needs at least one line that is there"
        found = f"\n{text}".count(f"\n{before}")
        assert found == 1, f"{page}: {path.name} has {found} times:\n{before}"
        text = f"\n{text}".replace(f"\n{before}", f"\n{after}")[1:]
    path.write_text(text, encoding="utf-8")
