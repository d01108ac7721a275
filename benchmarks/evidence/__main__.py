"""Measure the shipped networks: ``python -m benchmarks.evidence [part ...] [--cifar10 SOURCE]``, then the page.

Takes long, and goes on where it was interrupted: finished pieces are kept in ``build/evidence``. The results of a part
are written to ``benchmarks/evidence/results``, figures and the page to ``docs``.
"""

import argparse
import functools
import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PARTS = ("digits", "cifar10", "temperature_digits", "temperature_cifar10", "report")


def main() -> int:
    """Run the parts asked for, all of them without."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)}; all without")
    parser.add_argument(
        "--cifar10",
        default="cifar10",
        metavar="SOURCE",
        help="images of CIFAR-10: a folder with train/ and validation/, or a TFDS name (default: cifar10)",
    )
    parser.add_argument("--grids", type=int, default=500, help="on which all methods are compared (default: 500)")
    parser.add_argument("--images", type=int, default=1024, help="... and images (default: 1024), as in the paper")
    parser.add_argument(
        "--alone", type=int, nargs=2, default=(500, 1024), metavar=("GRIDS", "IMAGES"),
        help="for the contribution maps alone, which take minutes where all methods take hours (default: 500 1024)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few images: to see whether it works, not to report")
    args = parser.parse_args()
    wrong = [part for part in args.parts if part not in PARTS]
    if wrong:
        parser.error(f"each part must be one of {', '.join(PARTS)}. Received: {wrong[0]}")

    from benchmarks import records
    from benchmarks.evidence import networks, report, temperature

    network = functools.partial(networks.run, n_grids=args.grids, n_images=args.images, alone=args.alone)
    runs = {
        "digits": functools.partial(network, "coda_digits", "digits"),
        "cifar10": functools.partial(network, "coda_xs_cifar10", args.cifar10),
        "temperature_digits": functools.partial(temperature.run, "coda_digits", "digits"),
        "temperature_cifar10": functools.partial(temperature.run, "coda_xs_cifar10", args.cifar10),
    }
    for part in args.parts or PARTS:
        if part == "report":
            report.write()
        else:
            records.record(part, runs[part], quick=args.quick, program="benchmarks.evidence", folder=report.RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
