"""Two source trees in turn on one machine: ``python -m benchmarks.speed.turns BEFORE AFTER [--rounds N]``.

Each tree has a process of its own, and the two work in turn, task by task: before, after, before, after. Prints, as a
Markdown table, how many times as fast the second tree is: the median of the rounds' ratios of processor time, which
other work on the machine disturbs less than elapsed time, and of elapsed time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PRESETS = ("coda_xs_cifar10", "coda_s_cifar10")
TASKS = ("training", "prediction", "one map", "ten maps")
_BATCH = 16


def _worker() -> None:
    """Do one task for each line of standard input: ``preset/task``. Knows only names that all trees have."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import numpy as np

    import keras_coda

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (_BATCH, 32, 32, 3)).astype("float32")
    labels = generator.integers(0, 10, _BATCH)
    models = {}
    for line in sys.stdin:
        preset, task = line.strip().split("/")
        if preset not in models:
            keras.utils.set_random_seed(0)
            models[preset] = keras_coda.CoDANet.from_preset(preset, load_weights=False, pixel_dropout=0.0)
        model = models[preset]
        work = {
            "training": lambda model=model: model.train_on_batch(images, labels),
            "prediction": lambda model=model: model.predict_on_batch(images),
            "one map": lambda model=model: model.explain(images, verbose=False),
            "ten maps": lambda model=model: model.explain(images, top_k=10, verbose=False),
        }[task]
        start = time.process_time(), time.perf_counter()
        work()
        seconds = time.process_time() - start[0], time.perf_counter() - start[1]
        print(json.dumps({"seconds": seconds, "tree": str(Path(keras_coda.__file__).parents[1])}), flush=True)


def _start(tree: Path) -> subprocess.Popen:
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--worker"]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _do(process: subprocess.Popen, tree: Path, work: str) -> tuple[float, float]:
    process.stdin.write(work + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    if Path(answer["tree"]) != tree:
        raise RuntimeError(f"The package was imported from another tree. Received: {answer['tree']} for {tree}")
    return tuple(answer["seconds"])


def main() -> None:
    """Time both trees and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.turns", description=__doc__)
    parser.add_argument("trees", nargs=2, type=Path, metavar="TREE")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    trees = [tree.resolve() for tree in args.trees]
    processes = [_start(tree) for tree in trees]
    print(f"| batch {_BATCH} | processor time | elapsed time |\n| --- | ---: | ---: |", flush=True)
    for work in (f"{preset}/{task}" for preset in PRESETS for task in TASKS):
        ratios = []
        for round_ in range(-2, args.rounds):  # two to warm up
            (cpu_before, before), (cpu_after, after) = (
                _do(process, tree, work) for process, tree in zip(processes, trees, strict=True)
            )
            if round_ >= 0:
                ratios.append((cpu_before / cpu_after, before / after))
        cpu, elapsed = (statistics.median(column) for column in zip(*ratios, strict=True))
        preset, task = work.split("/")
        print(f"| `{preset}`, {task} | {cpu:.2f}× | {elapsed:.2f}× |", flush=True)
    for process in processes:
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    _worker() if "--worker" in sys.argv else main()
