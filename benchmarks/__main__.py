"""Run benchmarks: ``python -m benchmarks [--quick] [part ...]``. Without parts: all, and then the report."""

import argparse
import importlib
import os
import subprocess
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PARTS = ("table", "growth", "startup", "streaming", "hlo", "precision", "report")


def main() -> int:
    """Run the requested parts; several parts run in a process each, so that each starts with fresh memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument(
        "--quick", action="store_true", help="few repetitions, to check that everything runs; not for reports"
    )
    args = parser.parse_args()
    wrong = [part for part in args.parts if part not in PARTS]
    if wrong:
        parser.error(f"each part must be one of {', '.join(PARTS)}. Received: {wrong[0]}")
    parts = args.parts or PARTS
    if len(parts) > 1:
        quick = ["--quick"] if args.quick else []
        return max(subprocess.call([sys.executable, "-m", "benchmarks", *quick, part]) for part in parts)

    from benchmarks import records

    module = importlib.import_module(f"benchmarks.speed.{parts[0]}")
    if parts[0] == "report":
        module.write()
    else:
        records.record(parts[0], module.run, quick=args.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
