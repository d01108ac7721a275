"""Run the notebooks from start to end, each in a scratch folder, and check them: ``python -m notebooks.run``.

Prints a line for each; the exit status is 1 if one failed. ``--clear`` runs nothing and empties outputs.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import DEVNULL

import nbformat

FOLDER = Path(__file__).parent
PATHS = sorted(FOLDER.glob("[0-9]*.ipynb"))
TIMEOUT = 900  # seconds for a cell, on a busy machine
SMALLEST_PICTURE = 5_000  # bytes; an empty figure has less


def code(notebook) -> list[str]:
    """Return the sources of the code cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook) -> list[str]:
    """Return the names of the pictures that a notebook promises: those that it calls ``show`` with."""
    return re.findall(r'\bshow\(\s*"([^"]+)"', "\n".join(code(notebook)))


def clear(path: Path) -> None:
    """Empty the outputs of a file, as they are kept in git."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)


def run(path: Path, folder: Path) -> str:
    """Execute a notebook in a folder, leave its outputs there, and say how many pictures there are.

    Raises:
        RuntimeError: if a cell failed, or a picture is missing, empty or not shown.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    try:
        NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=where).execute(stderr=DEVNULL)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise RuntimeError(str(error)) from error
    finally:
        nbformat.write(notebook, folder / path.name)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]  # none is an error, see above
    promised, shown = pictures(notebook), sum("image/png" in output.get("data", {}) for output in outputs)
    for name in promised:
        picture = folder / "pictures" / path.stem / name
        size = picture.stat().st_size if picture.is_file() else 0
        if size < SMALLEST_PICTURE:
            raise RuntimeError(f"there is no picture {picture.relative_to(folder)} ({size} bytes)")
    if shown < len(promised):
        raise RuntimeError(f"{len(promised)} pictures were promised and {shown} shown")
    return f"{len(promised)} pictures"


def check(path: Path, out: Path | None) -> bool:
    """Run a notebook in a scratch folder, copy that into ``out``, and print a line; return whether all went well."""
    with tempfile.TemporaryDirectory() as scratch:
        start, verdict = time.perf_counter(), "ok  "
        try:
            detail = run(path, Path(scratch))
        except RuntimeError as error:
            verdict, detail = "FAIL", str(error)
        if out:
            shutil.copytree(scratch, out / path.stem, dirs_exist_ok=True)
    print(f"{verdict}  {path.stem:<38} {time.perf_counter() - start:6.1f} s  {detail}", flush=True)
    return verdict != "FAIL"


def main() -> int:
    """Run the notebooks whose names begin with the arguments, or all."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of names; all notebooks without any")
    parser.add_argument("--out", type=Path, help="folder for pictures and executed notebooks, else thrown away")
    parser.add_argument("--clear", action="store_true", help="run nothing; empty the outputs, as they are kept in git")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at a time (default: 1)")
    args = parser.parse_args()
    paths = [path for path in PATHS if not args.names or path.name.startswith(tuple(args.names))]
    if args.clear:
        for path in paths:
            clear(path)
        return int(not paths)
    with ThreadPoolExecutor(args.jobs) as pool:  # each notebook has a process of its own, its kernel
        passed = list(pool.map(lambda path: check(path, args.out), paths))
    return int(not passed or not all(passed))


if __name__ == "__main__":
    sys.exit(main())
