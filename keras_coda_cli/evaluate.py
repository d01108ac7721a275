"""`keras-coda evaluate`: accuracy, loss, exactness and speed of a network on validation images."""

import argparse
import json

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Measure a network on validation images. It prints accuracy, loss, the largest completeness residual (how far a "
    "map's sum is from its logit) and images per second."
)
EXAMPLE = "keras-coda evaluate --model runs/digits/model --json figures.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    common.add_model(parser)
    common.add_data(parser)
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    checks.check_model(args.model)
    checks.check_data(args)
    if args.json:
        checks.check_file_to_write(args.json, "--json")


def run(args: argparse.Namespace) -> None:
    """Evaluate the network and print the figures."""
    from keras_coda import evaluation
    from keras_coda.utils.atomic import new_file

    model = common.load_model(args.model)
    data = common.load_data_for(model, args)
    figures = {"model": str(args.model), "data": data.name}
    figures |= evaluation.evaluate(model, data.validation, num_images=data.num_validation)
    names = ("accuracy", "binary_accuracy", "auroc", "mean_average_precision", "f1")
    shares = {name.replace("_", " "): f"{figures[name]:.2%}" for name in names if name in figures}
    common.print_table([
        *((name, f"{share} of {figures['num_images']} images") for name, share in shares.items()),
        ("loss", f"{figures['loss']:.4f}"),
        ("largest residual", f"{figures['largest_residual']:.1e}"),
        ("images/s", f"{figures['images_per_second']:.0f} (prediction and map)"),
    ])  # fmt: skip
    if args.json:
        with new_file(args.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
