"""Memory and latency of exported folders: ``python -m export.measure models/digits/1 models/cifar10/1``.

Every folder is loaded by bare TensorFlow in a process of its own, with two threads. Memory is that of the process;
what TensorFlow itself takes is given apart, and a server takes about that. The least latency is what the processor can
do while it is free, and images per second follow from it; the median tells what else it had to do.
"""

import json
import subprocess
import sys

BATCH_SIZES = (1, 8, 32)

_MEASURE = """
import json, resource, sys, time
import numpy as np
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(2)
folder, batch_sizes = sys.argv[1], json.loads(sys.argv[2])

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

tf.matmul(tf.ones((64, 64)), tf.ones((64, 64)))
results = {"tensorflow": resident()}
start = time.perf_counter()
signatures = tf.saved_model.load(folder).signatures
results.update(load=time.perf_counter() - start, loaded=resident(), runs=[])
random = np.random.default_rng(0)
for name in ("serving_default", "contributions"):
    run = signatures[name]
    shape = run.structured_input_signature[1]["images"].shape[1:]
    for size in batch_sizes:
        images = tf.constant(random.uniform(0, 255, (size, *shape)).astype("float32"))
        start = time.perf_counter()
        run(images=images)
        first = time.perf_counter() - start
        times, began = [], time.perf_counter()
        while len(times) < 20 or (len(times) < 200 and time.perf_counter() - began < 5):
            start = time.perf_counter()
            {key: value.numpy() for key, value in run(images=images).items()}
            times.append(time.perf_counter() - start)
        median, least = np.percentile(times, (50, 0))
        results["runs"].append([name, size, first, median, least, resident()])
results["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(results))
"""


def measure(folder: str) -> dict:
    """Return what a fresh process measured: MiB and seconds."""
    command = [sys.executable, "-c", _MEASURE, folder, json.dumps(BATCH_SIZES)]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(process.stdout.splitlines()[-1])


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
    print("\n\n".join(map(report, sys.argv[1:])))
