"""An audit of the held-out photos: what it takes, what kills change, and whether changed rows are found.

    python -m experiments.audits PHOTOS [--network coda_xs_cifar10] [--rows 100]

PHOTOS is a folder with one folder per class. `keras-coda audit` runs twice, once undisturbed and once killed (SIGKILL)
three times; their rows are compared. Then one value of each of some rows is changed, each time in another column, with
every hash made to fit, and `verify_audit` computes all rows again.

Machine: 2 CPU cores, shared with other work.
Hours: 0.2.
Result: experiments/results/audits.json; docs/auditing.md has the figures.
"""

import argparse
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_coda
from benchmarks import records
from keras_coda.auditing import verify_audit
from tests.helpers.audits import change, rows_of, tampered
from tests.helpers.waiting import wait_until

RESULTS = Path(__file__).parent / "results"
SHARD = 500  # rows of a file


def audit(network: str, photos: Path, out: Path, *, kill_at: int | None = None) -> None:
    """Run the command; with ``kill_at``, kill it when it has written so many files."""
    command = ["-m", "keras_coda", "audit", "--model", network, "--data", photos, "--out", out, "--shard-size", SHARD]
    process = subprocess.Popen([sys.executable, *map(str, command), "--no-report"], stderr=subprocess.DEVNULL)
    if kill_at is not None:
        wait_until(lambda: len(list(out.glob("rows/*.parquet"))) >= kill_at, process, seconds=math.inf)
        process.kill()
    code = process.wait()
    if code != (0 if kill_at is None else -9):
        raise RuntimeError(f"`keras-coda audit` ended with {code}")


def measure(network: str, photos: Path, number: int, scratch: Path) -> dict:
    """Audit twice, change rows and verify; return the figures."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    audit(network, photos, scratch / "undisturbed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = rows_of(scratch / "undisturbed")
    files = len(list(scratch.glob("undisturbed/rows/*.parquet")))
    for share in (0.2, 0.5, 0.8):
        audit(network, photos, scratch / "killed", kill_at=round(share * files))
    audit(network, photos, scratch / "killed")
    figures = {
        "network": network,
        "rows": len(rows),
        "bytes": sum(path.stat().st_size for path in scratch.glob("undisturbed/rows/*.parquet")),
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_megabytes": after.ru_maxrss / 1024,
        "kills": 3,
        "identical_after_kills": rows_of(scratch / "killed") == rows,
    }
    shutil.rmtree(scratch / "killed")
    names = random.Random(0).sample([row["image"] for row in rows], number)
    chosen = dict(zip(names, range(number), strict=True))
    columns = set()

    def edit(_, rows):
        for row in rows:
            if row["image"] in chosen:
                row, column = tampered(row, chosen[row["image"]])
                columns.add(column)
            yield row

    change(scratch / "undisturbed", edit, hashes=True, manifest=True)
    start = time.process_time()
    findings = verify_audit(scratch / "undisturbed", keras_coda.CoDANet.from_preset(network), photos, verbose=False)
    found = {each.image for each in findings}
    return figures | {
        "changed": number,
        "columns": len(columns),
        "found": len(found & chosen.keys()),
        "false_alarms": len(found - chosen.keys()),
        "verification_processor_seconds": time.process_time() - start,
    }


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("--network", default="coda_xs_cifar10", help="a preset (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=100, help="how many rows are changed (default: %(default)s)")
    args = parser.parse_args()
    start, contents = time.monotonic(), records.described("experiments.audits", quick=False)
    contents["command"] = "python -m experiments.audits PHOTOS"
    with tempfile.TemporaryDirectory() as scratch:
        contents["results"] = measure(args.network, args.photos, args.rows, Path(scratch))
    records.write("audits", {**contents, "seconds": round(time.monotonic() - start)}, RESULTS)
    print("\n".join(f"{name}: {value}" for name, value in contents["results"].items()))


if __name__ == "__main__":
    main()
