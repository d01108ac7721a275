"""Measure the shipped networks: ``python -m experiments [part ...] [--cifar10 SOURCE]``, then write the page.

This takes hours; after an interruption the same command continues, since finished parts are kept in ``build/evidence``.
Results go to ``experiments/results``, figures and the page to ``docs``.
"""

import argparse
import functools
import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PARTS = (
    "digits",
    "cifar10",
    "cifar10_s",
    "cifar10_bcos",
    "temperature_digits",
    "temperature_cifar10",
    "grid",
    "report",
)


def main() -> int:
    """Run the requested parts, by default all."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument(
        "--cifar10",
        default="cifar10",
        metavar="SOURCE",
        help="images of CIFAR-10: a folder with train/ and validation/, or a TFDS name (default: cifar10)",
    )
    parser.add_argument("--grids", type=int, default=500, help="grids on which all methods are compared (default: 500)")
    parser.add_argument(
        "--images", type=int, default=1024, help="images on which all methods are compared (default: 1024)"
    )
    parser.add_argument(
        "--alone", type=int, nargs=2, default=(500, 1024), metavar=("GRIDS", "IMAGES"),
        help="grids and images for the contribution maps alone: minutes instead of hours (default: 500 1024)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="few images, to check that everything runs; not for reports"
    )
    args = parser.parse_args()
    wrong = [part for part in args.parts if part not in PARTS]
    if wrong:
        parser.error(f"each part must be one of {', '.join(PARTS)}. Received: {wrong[0]}")

    from benchmarks import records
    from experiments import networks, report, temperature
    from keras_coda.models import preset_folder

    network = functools.partial(networks.run, n_grids=args.grids, n_images=args.images, alone=args.alone)
    runs = {
        "digits": functools.partial(network, "coda_digits", "digits"),
        "cifar10": functools.partial(network, "coda_xs_cifar10", args.cifar10),
        "cifar10_s": functools.partial(network, "coda_s_cifar10", args.cifar10, post_hoc=False),
        "cifar10_bcos": functools.partial(network, "bcos_resnet20_cifar10", args.cifar10),
        "grid": functools.partial(networks.run_grid, ("coda_s_cifar10", "coda_xs_cifar10"), args.cifar10),
        "temperature_digits": functools.partial(temperature.run, "coda_digits", "digits"),
        "temperature_cifar10": functools.partial(temperature.run, "coda_xs_cifar10", args.cifar10),
    }
    for part in args.parts or PARTS:
        if part == "cifar10_bcos" and not args.parts and preset_folder("bcos_resnet20_cifar10") is None:
            print("cifar10_bcos is left out: bcos_resnet20_cifar10 comes without weights")
        elif part == "report":
            report.write()
        else:
            records.record(part, runs[part], quick=args.quick, program="experiments", folder=report.RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
