"""Memory and latency of exported folders: ``python -m export.measure models/digits/1 models/cifar10/1``.

Every folder is loaded by bare TensorFlow in a process of its own, with two threads. Memory is that of the process.
That of TensorFlow without a model is given separately; a server takes about as much. The least latency is that of an
idle processor, and images per second follow from it; the median includes interruptions by other programs.
"""

import json
import resource
import subprocess
import sys
import time

BATCH_SIZES = (1, 8, 32)
_THIS_PROCESS = "--this-process"


def measure(folder: str) -> dict:
    """Return what :func:`measure_here` measured in a fresh process."""
    command = [sys.executable, "-m", "export.measure", _THIS_PROCESS, folder]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(process.stdout.splitlines()[-1])


def measure_here(folder: str) -> dict:
    """Load a SavedModel and run it.

    Returns:
        ``tensorflow``, ``loaded`` and ``peak`` in MiB, ``load`` in seconds, and ``runs``: lists of signature, batch
        size, seconds of the first call, median and least seconds, and MiB.
    """
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    tf.matmul(tf.ones((64, 64)), tf.ones((64, 64)))
    results = {"tensorflow": _resident()}
    start = time.perf_counter()
    signatures = tf.saved_model.load(folder).signatures
    results.update(load=time.perf_counter() - start, loaded=_resident(), runs=[])
    random = np.random.default_rng(0)
    for name in ("serving_default", "contributions"):
        run = signatures[name]
        shape = run.structured_input_signature[1]["images"].shape[1:]
        for size in BATCH_SIZES:
            images = tf.constant(random.uniform(0, 255, (size, *shape)).astype("float32"))
            start = time.perf_counter()
            run(images=images)
            first = time.perf_counter() - start
            times, began = [], time.perf_counter()
            while len(times) < 20 or (len(times) < 200 and time.perf_counter() - began < 5):
                start = time.perf_counter()
                for value in run(images=images).values():
                    value.numpy()
                times.append(time.perf_counter() - start)
            median, least = np.percentile(times, (50, 0))
            results["runs"].append([name, size, first, median, least, _resident()])
    results["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return results


def _resident() -> float:
    """Return the memory of this process in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def report(folder: str) -> str:
    """Return the measurements of one folder as Markdown."""
    found = measure(folder)
    lines = [
        f"`{folder}`: TensorFlow alone {found['tensorflow']:.0f} MiB, with the model loaded {found['loaded']:.0f} MiB, "
        f"at most {found['peak']:.0f} MiB; loaded in {found['load']:.1f} s.",
        "",
        "| signature | images | first call, ms | least, ms | median, ms | images per s | memory, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, size, first, median, least, memory in found["runs"]:
        times = f"{1e3 * first:.0f} | {1e3 * least:.1f} | {1e3 * median:.1f} | {size / least:.0f}"
        lines.append(f"| `{name}` | {size} | {times} | {memory:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1] == _THIS_PROCESS:
        print(json.dumps(measure_here(sys.argv[2])))
    else:
        print("\n\n".join(map(report, sys.argv[1:])))
