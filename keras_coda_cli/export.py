"""`keras-coda export`: write a network for other runtimes and compare it with Keras."""

import argparse
from pathlib import Path

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Export a network that predicts and explains. The result is a SavedModel for TensorFlow and TF Serving, or one "
    "file for ONNX Runtime or LiteRT. Its outputs are compared with those of Keras."
)
EXAMPLE = "keras-coda export --model runs/photos/model --out served/photos/1 --top-k 3 --verify"
SAVED_MODEL = "tf_saved_model"
FORMATS = common.load_without_package("exporters.formats").FORMATS
SCHEMA = common.load_without_package("exporters.schema")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    common.add_model(parser)
    parser.add_argument("--out", required=True, metavar="PATH", help="must not exist; for TF Serving BASE/VERSION")
    parser.add_argument("--format", choices=(SAVED_MODEL, *FORMATS), default=SAVED_MODEL, help="what to write")
    parser.add_argument("--top-k", type=common.positive, default=1, metavar="K", help="classes explained per image")
    parser.add_argument(
        "--image-size",
        type=common.image_size,
        metavar="SIDE|HxW",
        help="the image size, if the network takes any",
    )
    parser.add_argument("--linear-map", action="store_true", help="return the linear map, too")
    parser.add_argument(
        "--signature",
        choices=tuple(SCHEMA.signatures()),
        default=SCHEMA.PREDICT,
        help="what callers get who name no signature, for programs that load only one (default: predictions)",
    )
    parser.add_argument(
        "--warmup",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="add requests that TF Serving runs when it loads the model; default: if keras-coda[serving] is installed",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="check the folder as TF Serving needs it, replay the warm-up requests, print residuals",
    )


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    is_file = args.format != SAVED_MODEL
    if is_file:
        given = checks.given(args, "--warmup", "--verify")
        rule = "Only a SavedModel has warm-up requests, a check and a signature to choose"
        given += ["--signature"] * (args.signature != SCHEMA.PREDICT)
        checks.require(not given, rule, f"--format {args.format} with {', '.join(given)}", "Leave them out")
        checks.require_extra(args.format, *FORMATS[args.format].required, purpose=f"--format {args.format}")
    checks.check_model(args.model)
    checks.check_new_path(args.out, "file" if is_file else "folder")
    if args.warmup:
        checks.require_extra("serving", "tensorflow_serving", purpose="--warmup")


def run(args: argparse.Namespace) -> None:
    """Export the network and print how it compares with Keras."""
    model = common.load_model(args.model)
    options = {"top_k": args.top_k, "image_size": args.image_size, "linear_map": args.linear_map}
    if args.format != SAVED_MODEL:
        model.export(args.out, args.format, **options)
        size = Path(args.out).expanduser().stat().st_size
        common.print_table([(args.format, args.out), ("size", f"{size / 2**20:.1f} MB")])
        return
    from keras_coda.exporters import checks_table, compare_saved_model, verify_saved_model

    model.export(args.out, signature=args.signature, warmup=args.warmup, **options)
    if args.verify:
        checked = verify_saved_model(args.out, model)
        print(checks_table(checked))
        failed = [one.name for one in checked if not one.passed]
        if failed:
            raise RuntimeError(f"An exported folder must pass all checks. Received: '{args.out}', failed: {failed}")
        return
    difference = compare_saved_model(model, args.out)
    common.print_table([
        ("SavedModel", args.out), ("SavedModel against Keras", f"{difference:.1e} (largest difference)")
    ])  # fmt: skip
