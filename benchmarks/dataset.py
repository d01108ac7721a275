"""Memory and processor time of `keras-coda explain-dataset` for numbers of images; needs psutil.

``python -m benchmarks.dataset IMAGES NETWORK COUNT [COUNT ...]`` prints a line of JSON for each count. IMAGES is a
folder of PNG or JPEG files of 32x32 pixels, such as those of CIFAR-10; NETWORK a preset, or ``tiny`` for a small one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKERS = 2


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("network")
    parser.add_argument("counts", type=int, nargs="+")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = str(Path(scratch, "model", "1"))
        subprocess.run([sys.executable, "-c", EXPORT, args.network, model], check=True)
        for count in args.counts:
            print(json.dumps({"network": args.network, "images": count, **measure(args.images, model, count)}))


EXPORT = """
import sys
import keras_coda
name, folder = sys.argv[1:]
if name == "tiny":
    model = keras_coda.CoDANet(10, input_shape=(32, 32, 3), filters=(2, 10), ranks=1, strides=(4, 2))
else:
    model = keras_coda.CoDANet.from_preset(name)
model.export(folder, warmup=False, verbose=False)
"""


def measure(images: Path, model: str, count: int) -> dict:
    """Return memory, time and processor time of a run over this many images."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch, "images"), Path(scratch, "out")
        folder.mkdir()
        found = sorted(path for path in images.rglob("*") if path.suffix in (".png", ".jpg"))[:count]
        assert len(found) == count, f"{images} has {len(found)} images"
        for number, path in enumerate(found):
            os.symlink(path.resolve(), folder / f"{number:06}{path.suffix}")
        command = [
            sys.executable,
            "-m",
            "keras_coda",
            "explain-dataset",
            "--model",
            model,
            "--inputs",
            f"{folder}/*",
        ]
        command += ["--out", str(out), "--workers", str(WORKERS), "--shard-size", "500"]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peaks = peak_memory(process)
        seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process.returncode == 0
        return {
            "peak_mb": {name: round(value / 2**20) for name, value in peaks.items()},
            "seconds": round(seconds, 1),
            "processor_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
            "bytes_per_row": round(sum(path.stat().st_size for path in out.glob("rows/*.parquet")) / count),
        }


def peak_memory(process: subprocess.Popen) -> dict[str, int]:
    """Return the largest resident memory, in bytes, of the main process, of the largest worker, and of all together."""
    import psutil

    peaks = {"main": 0, "worker": 0, "all": 0}
    main = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            own, workers = main.memory_info().rss, [0]
            for child in main.children(recursive=True):
                try:
                    workers.append(child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
        except psutil.NoSuchProcess:
            break
        now = {"main": own, "worker": max(workers), "all": own + sum(workers)}
        peaks = {name: max(value, now[name]) for name, value in peaks.items()}
        time.sleep(0.2)
    process.wait()
    return peaks


if __name__ == "__main__":
    main()
