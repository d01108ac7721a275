"""Results as JSON files, each with the command, date, machine and versions of its run."""

import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from keras_coda.utils.atomic import new_file
from keras_coda.utils.tables import markdown_table
from keras_coda.version import __version__

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("keras-coda", "keras", "tensorflow", "numpy")


def record(
    part: str, run: Callable[[bool], dict], *, quick: bool, program: str = "benchmarks", folder: Path = RESULTS
) -> None:
    """Run a part and write ``<folder>/<part>.json``, whole or not at all; a record of the same results stays.

    Args:
        part: its name.
        run: called with ``quick``; returns what JSON can hold.
        quick: whether only few repetitions are wanted.
        program: the module that is run, for the record.
        folder: where results are kept.
    """
    start = time.monotonic()
    print(f"== {part}", flush=True)
    contents = described(program, quick)
    contents["results"] = run(quick)
    contents["seconds"] = round(time.monotonic() - start)
    before = read(part, folder)
    if before and before["results"] == json.loads(json.dumps(contents["results"])):  # all of it was kept from then
        print(f"== {part}: as it was on {before['date']}", flush=True)
        return
    write(part, contents, folder)
    print(f"== {part}: {contents['seconds']} s", flush=True)


def described(program: str, quick: bool, packages: Sequence[str] = PACKAGES) -> dict:
    """Return the command, date, machine, versions of packages, and load with which a record begins."""
    return {
        "command": " ".join([f"python -m {program}", *sys.argv[1:]]),
        "quick": quick,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **machine(packages),
        "load_before": round(os.getloadavg()[0], 2),
    }


def write(part: str, contents: dict, folder: Path) -> None:
    """Write ``<folder>/<part>.json``, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with new_file(folder / f"{part}.json") as path:
        path.write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")


def read(part: str, folder: Path = RESULTS) -> dict | None:
    """What :func:`record` wrote, or None."""
    path = folder / f"{part}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def machine(packages: Sequence[str] = PACKAGES) -> dict:
    """CPU, cores and the versions of the libraries that count."""
    cpu, flags, family = platform.processor() or platform.machine(), "", ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line.partition(":") for line in file]
        fields = {key.strip(): value.strip() for key, _, value in reversed(lines)}
        cpu, flags = fields.get("model name", cpu), fields.get("flags", "")
        family = f" family {fields.get('cpu family')} model {fields.get('model')}"
    extensions = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags.split()]
    return {
        "cpu": cpu + family,
        "cores": len(os.sched_getaffinity(0)),
        "extensions": extensions,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
    }


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:  # run from source that is not installed
        return __version__ if package == "keras-coda" else None


def machines(contents: dict) -> str:
    """Return the Markdown section with the machines, commands and dates of records, given by part."""
    described = {}
    for part, each in contents.items():
        extensions = ", ".join(each["extensions"]) or "no vector extensions known"
        versions = ", ".join(f"{name} {number}" for name, number in each["versions"].items())
        described[part] = f"{each['cores']} cores, {each['cpu']} ({extensions}); Python {each['python']}, {versions}"
    found = sorted(set(described.values()))
    rows = []
    for part, each in contents.items():
        load = "unknown" if each["load_before"] is None else each["load_before"]
        note = each.get("note", "quick" if each["quick"] else "")
        machine, command = found.index(described[part]) + 1, f"`{each['command']}`"
        rows.append((part, machine, command, each["date"], f"{each['seconds']} s", load, note))
    text = "## Machine and runs\n\n"
    text += "\n".join(f"{number}. {machine}" for number, machine in enumerate(found, 1)) + "\n\n"
    text += markdown(("part", "machine", "command", "date", "took", "load before", ""), rows)
    return text + "\n"


def markdown(header, rows) -> str:
    """Return a Markdown table and a line break; all columns but the first are aligned to the right."""
    return markdown_table(header, rows, right=range(1, len(header))) + "\n"
