"""The shell blocks of a page of the documentation."""

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def commands(page, command):
    """Return ``(variables, arguments)`` of each block of a page that runs ``keras-coda COMMAND``.

    Args:
        page: name of the file in docs/.
        command: such as ``"train"``.
    """
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S):
        if block.startswith("# not run\n"):
            continue
        lines = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
        variables = dict(word.split("=", 1) for line in lines if line[:1] == ["export"] for word in line[1:])
        found += [(variables, line[1:]) for line in lines if line[:2] == ["keras-coda", command]]
    return found
