"""`keras-coda explore`: a page in the browser to explore networks."""

import argparse
import sys

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Explore networks in a browser. For your own images or examples it shows the most probable classes, their "
    "contribution maps, predictions after some pixels are removed, and grids of up to nine images. It needs "
    "keras-coda[explore]. Images are not kept."
)
EXAMPLE = "keras-coda explore --model runs/photos/model --open"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar=common.MODEL,
        help="a trained network, listed before those that come with the package; may be repeated",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; with any other, other machines can use the page"
    )
    parser.add_argument(
        "--port", type=common.port, metavar="N", help="0: any free port; default: the first free one from 7860 on"
    )
    parser.add_argument(
        "--max-upload-mb", type=common.positive, default=10, metavar="N", help="largest file to upload, in MiB"
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    checks.require_extra("explore", "gradio", purpose="The explorer")
    for name in args.model:
        checks.check_model(name)


def run(args: argparse.Namespace) -> None:
    """Serve the page until it is interrupted."""
    print("keras-coda: importing Keras ...", file=sys.stderr, flush=True)
    from keras_coda import explorer

    options = {"host": args.host, "port": args.port, "max_upload_mb": args.max_upload_mb}
    explorer.explore(args.model, open_browser=args.open, **options)
