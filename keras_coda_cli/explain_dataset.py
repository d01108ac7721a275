"""`keras-coda explain-dataset`: the rows of an audit for more images than one machine takes, by Apache Beam."""

import argparse
import os
import shlex

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Explain all images of a data set with an exported network, on one machine or on many by Apache Beam. It writes "
    "one row per image to Parquet files, with the columns of `audit`; images that cannot be read go to OUT/unreadable. "
    "If it is interrupted, the same command writes the files that are missing."
)
EXAMPLE = "keras-coda explain-dataset --model models/photos/1 --inputs 'photos/**.png' --workers 2 --out explained"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--model", required=True, metavar="FOLDER", help="SavedModel, written by `keras-coda export`")
    parser.add_argument(
        "--inputs",
        required=True,
        nargs="+",
        metavar="PATTERN",
        help="files, in quotes: * stands for any characters but /, ** for any; also gs://...",
    )
    parser.add_argument(
        "--format", choices=("images", "tfrecord", "parquet"), default="images", help="what the files are"
    )
    parser.add_argument(
        "--image-field", metavar="NAME", help="feature of TFRecord (image/encoded), column of Parquet (image): files"
    )
    parser.add_argument(
        "--name-field", metavar="NAME", help="that with the name of the image; default: file and number of the record"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the results; also gs://...")
    parser.add_argument("--maps", action="store_true", help="also store the maps, as float16")
    parser.add_argument(
        "--thresholds",
        type=_thresholds,
        metavar="P,P,...",
        help="for a network with several labels: the probability from which on an image has each class, or one for all",
    )
    parser.add_argument("--shard-size", type=common.positive, default=1000, help="image files in a Parquet file")
    parser.add_argument("--batch-size", type=common.positive, default=32, help="images explained at a time")
    parser.add_argument("--runner", default="DirectRunner", help="runner of Beam, for instance FlinkRunner")
    parser.add_argument("--workers", type=common.positive, default=1, help="processes of DirectRunner")
    parser.add_argument(
        "--beam-options",
        type=shlex.split,
        default=[],
        metavar="OPTIONS",
        help="further options of Beam, with = because they begin with -: --beam-options='--region=... --project=...'",
    )


def _thresholds(text):
    values = [float(value) for value in text.split(",")]
    if not all(0 <= value <= 1 for value in values):
        raise argparse.ArgumentTypeError(f"must be probabilities in [0, 1]. Received: {text}")
    return values


_thresholds.__name__ = "thresholds P,P,..."


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    for option in checks.given(args, "--image-field", "--name-field") if args.format == "images" else ():
        checks.require_usage(False, f"argument {option}: only allowed with --format tfrecord or parquet")
    is_direct = args.runner == "DirectRunner"
    checks.require_usage(is_direct or args.workers == 1, "argument --workers: only allowed with --runner DirectRunner")
    if "://" not in args.model:
        fix = "Write one with `keras-coda export`"
        is_saved = os.path.isfile(os.path.join(args.model, "saved_model.pb"))
        checks.require(is_saved, "--model must be the folder of a SavedModel", f"'{args.model}'", fix)
    if "://" not in args.out:
        checks.check_out_folder(args.out)
    checks.require_extra("beam", "apache_beam", "pyarrow", purpose="explain-dataset")


def run(args: argparse.Namespace) -> None:
    """Run the pipeline, and print what there is."""
    from keras_coda import auditing

    with common.resumable(lambda: "Finished files are kept."):
        found = auditing.explain_dataset(
            args.model,
            args.inputs,
            args.out,
            form=args.format,
            image_field=args.image_field,
            name_field=args.name_field,
            keep_maps=args.maps,
            thresholds=args.thresholds,
            shard_size=args.shard_size,
            batch_size=args.batch_size,
            runner=args.runner,
            workers=args.workers,
            beam_options=args.beam_options,
        )
    common.print_table([
        ("rows", f"{found.images} in {found.shards} Parquet files, {found.began_with} of them from before"),
        ("unreadable", found.unreadable),
    ])  # fmt: skip
