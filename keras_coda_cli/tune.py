"""`keras-coda tune`: search for hyperparameters with KerasTuner."""

import argparse
import json
from pathlib import Path

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Search for temperature, ranks, learning rate and regularization with KerasTuner. Trials are ranked by validation "
    "accuracy and localization. It needs keras-coda[tune]. If it is interrupted, the same command resumes it. VALUES "
    "are a number, a range LOW:HIGH (searched on a logarithmic scale) or a choice A,B,C."
)
EXAMPLE = "keras-coda tune --data digits --temperature 5:500 --trials 10 --epochs 5 --out search"
SPACE = {
    "--temperature": "default: a tenth to ten times the preset's",
    "--rank-multiplier": "factor of the preset's ranks; default: 1",
    "--learning-rate": "peak learning rate; default: 0.001 to 0.03",
    "--linear-map-regularization": "weight of the penalty mean|W| in the loss; default: 0",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--preset", metavar="NAME|FOLDER", help="architecture; default as for train")
    common.add_data(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the folder of this search")
    parser.add_argument(
        "--oracle", choices=("bayesian", "random", "grid", "hyperband"), default="bayesian", help="search algorithm"
    )
    parser.add_argument(
        "--trials", type=common.positive, metavar="N", help="number of trials; default: 20, grid: all combinations"
    )
    parser.add_argument("--epochs", type=common.positive, default=10, help="epochs of each trial; hyperband: at most")
    for option, text in SPACE.items():
        parser.add_argument(option, type=_values, metavar="VALUES", help=text)
    common.add_grid(parser)
    parser.add_argument(
        "--accuracy-weight",
        type=float,
        metavar="W",
        help="maximize W accuracy + (1 - W) localization; default: their sum",
    )


def _values(text):
    if ":" in text:
        low, high = map(float, text.split(":"))
        if not 0 < low < high:
            raise argparse.ArgumentTypeError(f"LOW:HIGH must have 0 < LOW < HIGH. Received: {text}")
        return low, high
    values = [float(value) for value in text.split(",")]
    return values if len(values) > 1 else values[0]


_values.__name__ = "number, LOW:HIGH or A,B,C"


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    is_free = args.oracle != "hyperband" or args.trials is None
    checks.require_usage(
        is_free, "argument --trials: not allowed with --oracle hyperband, which derives it from --epochs"
    )
    checks.require_range(args, "--accuracy-weight", 0, 1)
    if args.preset is not None:
        checks.preset_folder(args.preset)
    checks.check_data(args)
    checks.check_out_folder(args.out)
    checks.require_extra("tune", "keras_tuner", purpose="tune")


def run(args: argparse.Namespace) -> None:
    """Search, print the table of trials and draw the figure."""
    from keras_coda import training, tuning
    from keras_coda.data.load import load
    from keras_coda.evaluation import grids
    from keras_coda.visualization.figure import save_picture

    preset = args.preset or training.default_preset(args.data)
    space = {option[2:].replace("-", "_"): checks.value_of(args, option) for option in SPACE}
    space = {name: values for name, values in space.items() if values is not None}
    weight = args.accuracy_weight
    objective = None if weight is None else {"val_accuracy": weight, "localization": 1 - weight}
    data = load(
        args.data,
        batch_size=args.batch_size,
        image_size=args.image_size or training.image_size(preset, args.data),
        validation_split=args.validation_split,
        seed=args.seed,
        data_dir=args.data_dir,
    )
    grid = grids.choose(args.grid, data.num_classes)
    print(f"Localization is measured on grids of {grids.describe(grid)}.")
    out = Path(args.out).expanduser()
    with common.resumable(lambda: f"Finished trials: {_trials_done(out)}."):
        result = tuning.tune(
            data,
            preset,
            out,
            oracle=args.oracle,
            trials=args.trials,
            epochs=args.epochs,
            objective=objective,
            seed=args.seed,
            grid=grid,
            **space,
        )
    if result is None:  # this process is a worker: the chief prints the result
        return
    print(result.table())
    save_picture(result.plot(), out / "search.png")


def _trials_done(out):
    """Count the trials that are completed, by the files that KerasTuner writes."""
    done = 0
    for file in out.glob("trials/trial_*/trial.json"):
        try:
            done += json.loads(file.read_text(encoding="utf-8"))["status"] == "COMPLETED"
        except (OSError, ValueError, KeyError):  # the interrupt came while it was written
            continue
    return done
