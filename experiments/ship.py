"""Put a trained network into the package.

    python -m experiments.ship PRESET RUN [RUN ...]

Each RUN is a folder of ``keras-coda train`` or ``keras_coda.training.train`` that started from the network of the RUN
before it, or one of ``python -m benchmarks.gpu train``. The network of the last RUN is shipped, with float16 weights;
it replaces a shipped network of the same name. What was recorded about a training on a GPU is kept in
``experiments/results/PRESET``.

Machine: any.
Hours:   none; seconds. The model cards list how long the trainings took.
Result:  ``keras_coda/models/shipped/PRESET``; afterwards run ``python -m experiments`` to measure it.
"""

import argparse
import csv
import json
import shutil
from pathlib import Path

import keras

import keras_coda
from experiments.networks import ROOT
from keras_coda.models import presets


def main() -> None:
    """Write ``keras_coda/models/shipped/<preset>``."""
    parser = argparse.ArgumentParser(prog="python -m experiments.ship", description=__doc__.partition("\n")[0])
    parser.add_argument("preset", choices=presets.preset_names())
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument(
        "--from-shipped", action="store_true", help="the first run began with the network shipped so far (--pretrained)"
    )
    parser.add_argument(
        "--average",
        type=float,
        metavar="SHARE",
        help="ship the mean of the last network's weights, with this share in (0, 1), and of those it started from "
        "(arXiv 2109.01903)",
    )
    args = parser.parse_args()
    *earlier, model = (keras_coda.ExplainableClassifier.from_preset(_network(run)) for run in args.runs)
    before = (
        presets.read(presets.preset_folder(args.preset))[0]["training_figures"]["stages"] if args.from_shipped else []
    )
    stages = before + [_stage(each, run) for each, run in zip((*earlier, model), args.runs, strict=True)]
    model.training_figures = {"stages": stages}
    model.training_figures |= {name: stages[-1][name] for name in ("validation_accuracy",) if name in stages[-1]}
    if args.average is not None:
        if not 0 < args.average < 1:
            parser.error(f"SHARE must be between 0 and 1. Received: {args.average}")
        start = earlier[-1] if earlier else keras_coda.ExplainableClassifier.from_preset(args.preset, load_weights=True)
        pairs = zip(model.get_weights(), start.get_weights(), strict=True)
        model.set_weights([first + args.average * (last - first) for last, first in pairs])
        stages[-1]["averaged"] = args.average
        model.training_figures = {"stages": stages}  # the accuracy is to be measured
    folder = ROOT / "keras_coda" / "models" / "shipped" / args.preset
    shutil.rmtree(folder, ignore_errors=True)
    model.save_to_preset(folder, weights_dtype="float16")
    records = [path for path in (args.runs[-1] / name for name in _RECORDS) if path.exists()]
    if len(records) == len(_RECORDS):
        kept = ROOT / "experiments" / "results" / args.preset
        kept.mkdir(exist_ok=True)
        for path in records:
            shutil.copy(path, kept)
    print(f"wrote {folder.relative_to(ROOT)}; `python -m experiments` measures it")


_RECORDS = ("training.json", "arguments.json", "log.csv")  # of a training on a GPU


def _network(run):
    """The preset folder in the folder of a training."""
    return run / "model" if (run / "model").exists() else max((run / "weights").iterdir())


def _stage(model, run):
    """What a model card says about one training."""
    if all((run / name).exists() for name in _RECORDS):
        return _stage_on_device(model, run)
    figures = dict(model.training_figures)
    arguments = figures.pop("arguments")
    with (run / "log.csv").open(encoding="utf-8", newline="") as file:
        curve = [round(float(row["val_accuracy"]), 4) for row in csv.DictReader(file)]
    return {
        **figures,
        "temperature": model.temperature,
        "pixel_dropout": model.pixel_dropout,
        "batch_size": arguments["batch_size"],
        "dtype": _dtype(arguments),
        **{name: arguments[name] for name in ("augmentation", "seed") if name in arguments},
        "validation_accuracy_by_epoch": curve,
    }


def _dtype(arguments):
    """The policy of a training: of the command line, or of `training.train`, which records the network's arguments."""
    if "model" in arguments:
        return keras.dtype_policies.get(arguments["model"].get("dtype") or "float32").name
    return arguments["dtype"] or "float32"


def _stage_on_device(model, run):
    """The same about a training of ``python -m benchmarks.gpu train``."""
    record, arguments = (json.loads((run / name).read_text(encoding="utf-8")) for name in _RECORDS[:2])
    figures, accuracy = record["results"]["training"], record["results"].get("accuracy")
    return {
        "epochs": round(figures["epochs"]),
        "seconds": figures["seconds"],
        "seconds_per_epoch": figures["seconds"] / figures["epochs"],
        "machine": record["device"]["kind"],
        "optimizer": "Adam, linear warm-up, cosine decay to 0"
        + f", moving average of the weights ({arguments['ema']:g})" * bool(arguments["ema"]),
        "learning_rate": arguments["rate"],
        "train_loss": figures["loss"],
        "train_accuracy": figures["accuracy"],
        "versions": {"python": record["python"], **record["versions"]},
        "date": record["date"][:10],
        "temperature": model.temperature,
        "augmentation": arguments["augment"],
        "batch_size": arguments["batch"],
        "dtype": {"bfloat16": "mixed_bfloat16"}.get(arguments["precision"], arguments["precision"]),
        "seed": arguments["seed"],
    } | ({"validation_accuracy": accuracy["accuracy"]} if accuracy else {})


if __name__ == "__main__":
    main()
