"""`keras-coda predict`: classes and probabilities of image files, as CSV."""

import argparse
import os
from pathlib import Path

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Predict the classes of image files, without maps. It writes CSV: file, class, probability and logit of the class "
    "with the largest logit. Probabilities are sigmoids of the logits: they need not sum to 1. Of a network with "
    "several labels per image it writes file, and 1 or 0 for each class, by the thresholds of the network."
)
EXAMPLE = "keras-coda predict --model runs/photos/model --out predictions.csv holiday/ cat.jpg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help=common.IMAGES_HELP)
    common.add_model(parser)
    parser.add_argument("--out", metavar="FILE", help="the file to write; default: the terminal")
    parser.add_argument("--all-classes", action="store_true", help="add a column with the probability of each class")
    common.add_max_side(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    checks.check_model(args.model)
    for path in args.paths:
        checks.check_images(path)
    if args.out:
        checks.check_file_to_write(args.out, "--out")
        rule, fix = "Results must not replace files", "Choose another name, or replace it: --overwrite"
        is_new = args.overwrite or not os.path.lexists(Path(args.out).expanduser())
        checks.require(is_new, rule, f"'{args.out}'", fix, FileExistsError)
        is_image = any(Path(path).resolve() == Path(args.out).expanduser().resolve() for path in args.paths)
        checks.require(not is_image, "Results must not replace images", f"'{args.out}'", "Choose another name")


def run(args: argparse.Namespace) -> None:
    """Predict, and write or print the table."""
    from keras_coda.explanations.predictions import predict_files

    model = common.load_model(args.model, any_model=True)
    out = Path(args.out).expanduser() if args.out else None
    options = {"all_classes": args.all_classes, "max_side": common.max_side(args)}
    text = predict_files(model, args.paths, out, **options, verbose=out is not None)
    if out is None:
        print(text, end="")
