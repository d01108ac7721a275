"""Train and measure on a machine that has JAX only: ``python -m benchmarks.gpu pack | train | table``."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from keras_coda_cli.common import Parser, load_without_package, positive

PRECISIONS = ("float32", "tf32", "bfloat16")
TASKS = ("training", "prediction", "one map", "ten maps")
# XLA tries many of Triton's matrix products for each of about 150: not done after 80 s, and 9 s without (one H100).
XLA_FLAGS = "--xla_gpu_enable_triton_gemm=false"
IMAGES = "digits, random, or a file of images that `pack` wrote"


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, and only then import what the command needs."""
    start = time.monotonic()
    args = _parser().parse_args(arguments)
    if args.command == "pack":
        from benchmarks.gpu.pack import pack

        pack(args.cifar10, args.out, args.wheels, args.python, args.machine)
        return 0
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.9")
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    if args.command == "train":
        from benchmarks.gpu.run import run
    else:
        from benchmarks.gpu.table import run
    run(args, start)
    return 0


def _parser():
    parser = Parser(prog="python -m benchmarks.gpu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_pack(commands.add_parser("pack", help="write a folder with what a machine without network needs"))
    _add_train(commands.add_parser("train", help="train within a given time, evaluate; the same command continues"))
    _add_table(commands.add_parser("table", help="measure speed and memory; the same command adds missing rows"))
    return parser


def _add_pack(parser):
    parser.add_argument("--cifar10", type=_folder, metavar="FOLDER", help="images to train on, one folder per class")
    parser.add_argument("--out", type=Path, default=Path(".gpu"), help="the new folder")
    parser.add_argument(
        "--wheels",
        nargs="*",
        default=["keras", "namex", "optree"],
        metavar="PACKAGE",
        help="packages that the machine lacks, in the versions installed here; none after --wheels: no packages",
    )
    parser.add_argument("--python", default="3.12", help="version of Python on the machine")
    parser.add_argument("--machine", default="x86_64", help="its processor, as `uname -m` names it")


def _add_train(parser):
    parser.add_argument("--preset", type=_preset, default="coda_s_cifar10", help="architecture: a name, or a folder")
    parser.add_argument("--start", type=_preset, help="a trained network to start with, a name or a folder")
    parser.add_argument("--images", type=_images, default="digits", metavar="SOURCE", help=IMAGES)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the results")
    parser.add_argument("--seconds", type=_number, default=400, help="of training, without compilation")
    parser.add_argument("--total", type=_number, help="let training end this many seconds after the start, ...")
    parser.add_argument("--reserve", type=_number, default=100, help="... less these, for the evaluation")
    parser.add_argument("--batch", type=positive, default=128, help="images per step")
    parser.add_argument("--chunk", type=positive, default=50, help="steps per call of the compiled program")
    parser.add_argument("--rate", type=_number, default=2e-3, help="largest learning rate of Adam")
    parser.add_argument(
        "--config", type=_object, default={}, metavar="JSON", help="arguments of the network other than the preset's"
    )
    parser.add_argument("--ema", type=_momentum, default=0.999, help="momentum of the average of the weights; 0: none")
    parser.add_argument("--clip", type=_norm, default=0.0, help="largest global norm of the gradients; 0: no limit")
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16", help="of training")
    parser.add_argument(
        "--augment",
        choices=("none", "flip_crop", "strong"),
        default="flip_crop",
        help="strong: also turned, sheared, scaled, changed in color, and in part covered; less so towards the end",
    )
    parser.add_argument("--save-every", type=_number, default=60, help="seconds from one file of weights to the next")
    parser.add_argument("--held-out", type=positive, help="images to evaluate on; default: 500 per class or a fifth")
    parser.add_argument("--grids", type=positive, default=500, help="grids of the localization metric")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")


def _add_table(parser):
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the results")
    parser.add_argument("--seconds", type=_number, default=110, help="begin no row that would end later")
    presets = ["coda_s_cifar10", "coda_xs_cifar10"]
    parser.add_argument("--preset", type=_preset, nargs="+", default=presets, help="architectures: names, or folders")
    parser.add_argument("--batch", type=positive, nargs="+", default=[512, 128, 1024, 256], help="in this order")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="in this order")
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS), help="in this order")
    parser.add_argument("--chunk", type=positive, default=10, help="training steps per call")
    parser.add_argument("--save-hlo", action="store_true", help="write the optimized HLO of each row to OUT/hlo")


def _number(text):
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0. Received: {text}")
    return number


def _object(text):
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'must be like {{"temperature": 500}}. Received: {text}')
    return value


def _norm(text):
    return float(text) if float(text) == 0 else _number(text)


def _momentum(text):
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1. Received: {text}")
    return number


def _folder(text):
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"must be a folder. Received: {text}")
    return Path(text)


def _preset(text):
    if not Path(text).is_dir():
        try:
            load_without_package("models.architectures").check_name(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _images(text):
    if text not in ("digits", "random") and not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"must be {IMAGES}. Received: {text}")
    return text


for _name, _check in {"number": _number, "norm": _norm, "momentum": _momentum, "JSON": _object}.items():
    _check.__name__ = _name  # argparse names them in its errors


if __name__ == "__main__":
    sys.exit(main())
