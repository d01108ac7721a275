"""Time of functions in turn, memory in a fresh process each, and the machine's matmul peak."""

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

MATMULS = ((2048, 2048, 2048), (8192, 2048, 2048), (4096, 4096, 4096))


def interleave(functions: dict[str, Callable], rounds: int, *, warmups: int = 1) -> dict[str, list[float]]:
    """Time functions in turn, A, B, C, A, B, C, ..., so that a disturbance of the machine affects all of them.

    Args:
        functions: by name; each returns when its work is done.
        rounds: measurements of each.
        warmups: calls of each before, not measured (tracing, compilation).

    Returns:
        Seconds of each call, by name.
    """
    for function in functions.values():
        for _ in range(warmups):
            function()
    seconds = {name: [] for name in functions}
    gc.collect()
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median(values) -> float:
    """The median."""
    return statistics.median(values)


def ratio(seconds: dict[str, list[float]], name: str, to: str) -> dict[str, float]:
    """How many times as long ``name`` takes as ``to``: the median of the rounds' ratios, and that of the minima."""
    return {
        "median": median(a / b for a, b in zip(seconds[name], seconds[to], strict=True)),
        "best": min(seconds[name]) / min(seconds[to]),
    }


def matmuls() -> dict[str, Callable]:
    """Matrix products whose rate is the machine's peak, by name; to be interleaved with what is compared to it."""
    import tensorflow as tf

    multiply = tf.function(lambda a, b: tf.matmul(a, b))

    def task(m, k, n):
        a, b = tf.random.normal((m, k)), tf.random.normal((k, n))
        return lambda: multiply(a, b)[0, 0].numpy()

    return {_matmul_name(*shape): task(*shape) for shape in MATMULS}


def peaks(seconds: dict[str, list[float]]) -> list[float]:
    """Operations per second of the fastest of :func:`matmuls` in each round."""
    flops = {_matmul_name(m, k, n): 2 * m * k * n for m, k, n in MATMULS}
    rates = [[count / each for each in seconds[name]] for name, count in flops.items()]
    return [max(round_) for round_ in zip(*rates, strict=True)]


def _matmul_name(m, k, n):
    return f"matmul {m}x{k}x{n}"


def peak_memory() -> float:
    """Most memory that this process ever had resident, in MB (2^20 bytes)."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def fresh_processes(task: str, arguments: list[dict]) -> list[dict]:
    """Run :func:`fresh_process` for each of ``arguments``, two at a time: for memory, not for time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda each: fresh_process(task, **each), arguments))


def fresh_process(task: str, **arguments) -> dict:
    """Run a function of :mod:`benchmarks.speed.fresh` in a process of its own; it returns JSON."""
    command = [sys.executable, "-m", "benchmarks.speed.fresh", task, json.dumps(arguments)]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    if output.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{output.stderr[-3000:]}")
    return json.loads(output.stdout.splitlines()[-1])
