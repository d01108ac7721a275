"""The time to start: importing the package, and tracing and compiling each task."""

import subprocess
import sys
import time

from benchmarks.speed import measure, tasks
from benchmarks.speed.table import BATCH, PRESETS

_IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def run(quick: bool) -> dict:
    """Measure imports, in fresh processes in turn, then first calls."""
    imports = {name: [] for name in ("keras", "keras_coda")}
    for _ in range(1 if quick else 3):
        for name, seconds in imports.items():
            command = [sys.executable, "-c", _IMPORT.format(name)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds.append(float(output.splitlines()[-1]))
    first_calls = {
        preset: {mode: _first_calls(preset, jit_compile) for mode, jit_compile in (("graph", False), ("XLA", True))}
        for preset in (PRESETS[1:] if quick else PRESETS)
    }
    return {"imports": imports, "first_calls": first_calls}


def _first_calls(preset, jit_compile):
    """Seconds of a first call less those of a later one: tracing and, through XLA, compilation."""
    model = tasks.network(preset, jit_compile=jit_compile)
    images, labels = tasks.batch(BATCH)
    results = {}
    for kind in tasks.TASKS:
        seconds, work = [], tasks.task(model, kind, images, labels)
        for _ in range(4):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        results[kind] = {"first": seconds[0], "later": measure.median(seconds[1:]), "all": seconds}
        print(f"{preset} {'XLA' if jit_compile else 'graph'} {kind}: {seconds[0]:.2f} s, later {seconds[-1]:.2f} s")
    return results
