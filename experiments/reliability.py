"""Random mutations of files and answers: ``python -m experiments.reliability fuzz [kind ...] [--number 300]``.

The exit code is 1 if one did not end in a right result or a documented error; see :mod:`experiments.fuzzing`.
300 of each of the four kinds take about a minute on two cores.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> int:
    """Run the requested part; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m experiments.reliability", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    fuzz = parts.add_parser("fuzz", help="mutations of image files, preset folders, checkpoints and answers of servers")
    fuzz.add_argument("kinds", nargs="*", metavar="kind", help="images, presets, checkpoints, answers; default: all")
    fuzz.add_argument("--number", type=int, default=300, metavar="N", help="mutations of each kind (default: 300)")
    fuzz.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    return _fuzz(parser.parse_args())


def _fuzz(args) -> int:
    from experiments import fuzzing

    warnings.simplefilter("ignore")  # of Keras, about names in damaged files
    failed = False
    for kind in args.kinds or fuzzing.KINDS:
        with tempfile.TemporaryDirectory() as folder:
            counts, problems = fuzzing.run(kind, args.number, Path(folder), args.seed)
        print(f"{kind}: {counts}, {len(problems)} problems", *problems, sep="\n  ", flush=True)
        failed = failed or bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
