"""Where the package is developed: ``python -m docs.repository URL`` sets the address everywhere.

It stands in ``[project.urls]`` of pyproject.toml. README, pages, notebooks and the settings of the site repeat it: they
are read where nothing can be filled in, on an index of packages, in Colab, in a browser. A test compares them.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

from keras_coda.utils.checks import require

ROOT = Path(__file__).resolve().parent.parent


def address() -> str:
    """Return the address of the repository, such as ``https://github.com/OWNER/NAME``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def paths(folder: Path = ROOT) -> list[Path]:
    """Return all text files of the repository that may name the address."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, check=True).stdout
    kinds = {".md", ".ipynb", ".toml", ".yml", ".cff", ".py", ".html"}
    found = [folder / name for name in listed.decode().split("\0") if name]
    return [path for path in found if path.suffix in kinds and path.exists()]


def move(new: str, folder: Path = ROOT) -> list[Path]:
    """Replace the address everywhere, also where pictures and Colab's links name only its owner and name.

    Args:
        new: ``https://github.com/OWNER/NAME``.
        folder: root of the repository.

    Returns:
        The files that were changed.

    Raises:
        ValueError: if ``new`` is no such address.
    """
    host, _, name = new.partition("github.com/")
    right = host == "https://" and name.count("/") == 1 and all(name.split("/")) and not name.endswith(".git")
    require(right, "The address must be `https://github.com/OWNER/NAME`", "Leave out what follows the name", new=new)
    old = address().partition("github.com/")[2]
    changed = []
    for path in paths(folder):
        text = path.read_text(encoding="utf-8")
        if old in text:
            path.write_text(text.replace(old, name), encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    print(*move(*sys.argv[1:2]), sep="\n")
