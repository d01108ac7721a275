"""`keras-coda compare`: contribution maps and post-hoc methods by the papers' two metrics."""

import argparse
import os
from pathlib import Path

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Compare contribution maps with post-hoc methods by localization and pixel removal. On TensorFlow the "
    "methods need keras-coda[posthoc]. If it is interrupted, the same command resumes it. It prints a "
    "table; OUT/comparison.png is the figure."
)
EXAMPLE = "keras-coda compare --model coda_digits --methods GradCAM,VanillaGradients --out comparison"
NONE = "none"  # as --methods: contribution maps alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    common.add_model(parser)
    common.add_data(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder for the results")
    parser.add_argument("--methods", metavar="A,B", help=f"names of post-hoc methods, or {NONE}; default: all")
    parser.add_argument("--grids", type=common.positive, default=500, metavar="N", help="grids for localization")
    common.add_grid(parser)
    parser.add_argument("--images", type=common.positive, default=1024, metavar="N", help="images for pixel removal")


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    checks.check_model(args.model)
    checks.check_grid(args.grid, args.model)
    checks.check_data(args)
    checks.check_out_folder(args.out)
    if args.methods != NONE and os.environ.get("KERAS_BACKEND") != "jax":  # there tf-explain cannot run
        purpose = f"compare, but for --methods {NONE},"
        checks.require_extra("posthoc", "tf_explain", "cv2", purpose=purpose)


def run(args: argparse.Namespace) -> None:
    """Measure, print the table and draw the figure."""
    from keras_coda import evaluation
    from keras_coda.visualization.figure import save_picture

    model = common.load_model(args.model)
    data = common.load_data_for(model, args)
    names = None if args.methods is None else [name.strip() for name in args.methods.split(",")]
    methods = [] if names == [NONE] else names
    out = Path(args.out).expanduser()

    def progress():
        return f"Finished measurements: {len([*out.glob('*-*.json')])}."  # one file METRIC-METHOD.json for each

    with common.resumable(progress):
        comparison = evaluation.compare(
            model, data.validation, methods, n_grids=args.grids, grid=args.grid, n_images=args.images, out=out
        )
    print(comparison)
    save_picture(comparison.plot(), out / "comparison.png")
