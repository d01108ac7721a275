"""Run benchmarks: ``python -m benchmarks [--quick] [part ...]``; without parts all of them, then the report."""

import argparse
import importlib
import os
import subprocess
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PARTS = ("table", "growth", "startup", "streaming", "hlo", "precision", "report")


def main() -> int:
    """Run the parts asked for; several ones in a process each, so that none inherits the memory of another."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)}; all without")
    parser.add_argument("--quick", action="store_true", help="few repetitions: to see whether it works, not to report")
    args = parser.parse_args()
    wrong = [part for part in args.parts if part not in PARTS]
    if wrong:
        parser.error(f"each part must be one of {', '.join(PARTS)}. Received: {wrong[0]}")
    parts = args.parts or PARTS
    if len(parts) > 1:
        quick = ["--quick"] if args.quick else []
        return max(subprocess.call([sys.executable, "-m", "benchmarks", *quick, part]) for part in parts)

    from benchmarks import records

    module = importlib.import_module(f"benchmarks.{parts[0]}")
    if parts[0] == "report":
        module.write()
    else:
        records.record(parts[0], module.run, quick=args.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
