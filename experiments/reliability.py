"""Random mutations of files and answers, and kills of commands.

    python -m experiments.reliability fuzz [--number 300]
    python -m experiments.reliability kills [--number 20]

``fuzz``: mutations of image files, preset folders, checkpoints and answers of servers must end in a right result or a
documented error, see :mod:`experiments.fuzzing`. ``kills``: train, tune, export, explain and compare are killed at
random and must lose nothing, see :mod:`experiments.kills`. The exit code is 1 if there are problems.

Machine: 2 CPU cores, shared with other work.
Hours: .02 for 300 mutations of each kind; .5 for 20 kills of each command on an idle machine, by estimate.
Result: no problems in 300 mutations of each kind, nor in 18 kills of tune, 22 of train, 17 of explain, 14 of compare
and 3 of export. In 12 earlier kills of export one retry ended with 1: the program had not expected a kill after the
export was complete.
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
    parser = argparse.ArgumentParser(prog="python -m experiments.reliability", description=__doc__.partition("\n\n")[0])
    parts = parser.add_subparsers(dest="part", required=True)
    fuzz = parts.add_parser("fuzz", help="mutations of files and answers")
    fuzz.add_argument("names", nargs="*", metavar="kind", help="images, presets, checkpoints, answers; default: all")
    fuzz.add_argument("--number", type=int, default=300, metavar="N", help="mutations of each kind (default: 300)")
    kills = parts.add_parser("kills", help="kills of commands")
    kills.add_argument(
        "names", nargs="*", metavar="command", help="train, tune, export, explain, compare; default: all"
    )
    kills.add_argument("--number", type=int, default=20, metavar="N", help="kills of each command (default: 20)")
    for part in (fuzz, kills):
        part.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    args = parser.parse_args()
    return {"fuzz": _fuzz, "kills": _kills}[args.part](args)


def _fuzz(args) -> int:
    from experiments import fuzzing

    warnings.simplefilter("ignore")  # of Keras, about names in damaged files
    failed = False
    for kind in args.names or fuzzing.KINDS:
        with tempfile.TemporaryDirectory() as folder:
            counts, problems = fuzzing.run(kind, args.number, Path(folder), args.seed)
        print(f"{kind}: {counts}, {len(problems)} problems", *problems, sep="\n  ", flush=True)
        failed = failed or bool(problems)
    return int(failed)


def _kills(args) -> int:
    from experiments import kills

    failed = False
    for name in args.names or kills.NAMES:
        with tempfile.TemporaryDirectory() as folder:
            problems = kills.run(name, args.number, Path(folder), args.seed, lambda line: print(line, flush=True))
        print(f"{name}: {args.number} kills, {len(problems)} problems", *problems, sep="\n  ", flush=True)
        failed = failed or bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
