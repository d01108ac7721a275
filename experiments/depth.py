"""Interpretable depth: how much of a network may be dynamic-linear before accuracy is lost, as in the TPAMI paper.

    python -m experiments.depth digits
    python -m experiments.depth cifar10 --source photos/cifar10    # the same command continues

A small conventional network is trained. Then, for each of its layers and for the pixels, a head of dynamic-linear
layers is trained on what comes before, frozen, with the same images and epochs; the earlier the cut, the more of the
network is explained. A head has as many layers as it takes the place of, and one for the classes. Trained networks and
measured heads are kept in ``build/evidence``.

Machine: 2 cores of an AMD EPYC, with other work beside, float32.
Hours:   of processor: digits 0.08 for three seeds, cifar10 0.32 for one seed (1.2 on cores with much other work).
Result:  ``docs/results.md``, section `Interpretable depth`. Accuracy with maps from the last layer on, from the first
         layer on and from the pixels on: digits 99.1 %, 99.0 %, 98.6 %; cifar10 60.6 %, 62.1 %, 38.9 %. Localization:
         digits 0.876, 0.914, 0.838; cifar10 0.451, 0.242, and 0.245 on the 2 grids that there were.
"""

import argparse
import math
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_coda
from benchmarks import records
from experiments.networks import KEPT
from keras_coda.evaluation import localization
from keras_coda.models import hybrid
from keras_coda.utils.atomic import new_file
from keras_coda.utils.errors import NotEnoughImagesError
from keras_coda.utils.run_folder import RunFolder
from keras_coda.utils.tables import counted, markdown_table

RESULTS = Path(__file__).parent / "results"
PREFIX = "depth_"  # of the files of results
NAMES = {"digits": "digits", "cifar10": "CIFAR-10"}
PIXELS = "pixels"
# Channels and strides of the conventional layers; images (None: all), epochs, peak rate and seeds of each training;
# grids of 3x3 images to measure.
SETTINGS = {
    "digits": {"layers": [[16, 1], [16, 1], [32, 2], [32, 1]], "train": None, "validation": None, "epochs": 20,
               "rate": 0.01, "seeds": [0, 1, 2], "grids": 30},
    "cifar10": {"layers": [[16, 1], [16, 2], [32, 1], [32, 2]], "train": 8000, "validation": 2000, "epochs": 10,
                "rate": 0.01, "seeds": [0], "grids": 50},
}  # fmt: skip
_TEMPERATURE, _RANK, _BATCH = 64.0, 8, 64
_METRICS = ("accuracy", "localization")
_QUICK = {"train": 256, "validation": 256, "epochs": 1, "seeds": [0], "grids": 2}


def conventional(shape: tuple, layers: list, num_classes: int) -> keras.Model:
    """Return a conventional network of images with pixels in [0, 255]."""
    images = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 255, name=PIXELS)(images)
    for number, (filters, strides) in enumerate(layers, start=1):
        x = keras.layers.Conv2D(filters, 3, strides, "same", use_bias=False)(x)
        x = keras.layers.ReLU(name=f"layer_{number}")(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.Dense(num_classes)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(images, x, name="trunk")


def cut_after(network: keras.Model, cut: int, layers: list, num_classes: int) -> keras_coda.ExplainableClassifier:
    """Return dynamic-linear layers on the features of the first ``cut`` layers, which are frozen; 0: on the pixels."""
    rest = layers[cut:]
    return hybrid(
        network,
        num_classes,
        layer=f"layer_{cut}" if cut else PIXELS,
        filters=(*(filters for filters, _ in rest), num_classes),
        strides=(*(strides for _, strides in rest), 1),
        ranks=_RANK,
        temperature=_TEMPERATURE,
        encode=None if cut else keras_coda.AddInverse(name=PIXELS),
    )


def load(source: str, settings: dict) -> tuple[tuple, tuple]:
    """Return images and labels for training and validation."""
    data = keras_coda.data.load(source, augment=False, verify=False)
    return tuple(
        _first(part, settings[name]) for name, part in (("train", data.train), ("validation", data.validation))
    )


def _first(batches, count):
    """Return the first images and labels, all for None; they are mixed already."""
    images, labels, found = [], [], 0
    for image, label in batches.as_numpy_iterator():
        images.append(image)
        labels.append(label)
        found += len(label)
        if found >= (count or math.inf):
            break
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]


def run(name: str, source: str, settings: dict, folder: Path) -> dict:
    """Train the conventional networks, and a head for each depth and seed, and measure them.

    Args:
        name: of the study.
        source: what :func:`keras_coda.data.load` loads.
        settings: see ``SETTINGS``.
        folder: where what is finished is kept.

    Returns:
        a dict of JSON values.
    """
    kept = RunFolder(folder, {"source": source, **settings}, file="study.json", what="study")
    kept.begin()
    keras.utils.set_random_seed(0)
    train, validation = load(source, settings)
    rows = []
    for seed in settings["seeds"]:
        network = _trained_network(settings, seed, train, validation, kept.path, rows)
        for cut in range(len(settings["layers"]), -1, -1):
            part = f"{seed}-cut_{cut}"
            if records.read(part, kept.path) is None:
                records.write(part, _measured_cut(network, cut, settings, seed, train, validation), kept.path)
            rows.append({"seed": seed, "cut": cut, **records.read(part, kept.path)})
            print(f"{name}: {rows[-1]}", flush=True)
    counts = [len(train[0]), len(validation[0])]
    return {"name": name, "settings": settings, "data": [Path(source).name, *counts], "rows": rows,
            "cpu_minutes": sum(row["cpu_seconds"] for row in rows) / 60}  # fmt: skip


def _trained_network(settings, seed, train, validation, folder, rows):
    """Return the conventional network, trained now or before; append its row."""
    keras.utils.set_random_seed(seed)
    network = conventional(train[0].shape[1:], settings["layers"], int(train[1].max()) + 1)
    weights, part = folder / f"{seed}.weights.h5", f"{seed}-conventional"
    if records.read(part, folder) is None:
        start = time.process_time()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        _fit(network, train, settings, loss=loss, metrics=["accuracy"])
        with new_file(weights) as temporary:
            network.save_weights(str(temporary))
        records.write(part, {"accuracy": _accuracy(network, validation), **_spent(start)}, folder)
    network.load_weights(weights)
    rows.append({"seed": seed, "cut": None, **records.read(part, folder)})
    return network


def _measured_cut(network, cut, settings, seed, train, validation):
    start = time.process_time()
    keras.utils.set_random_seed(seed)
    model = cut_after(network, cut, settings["layers"], network.output.shape[-1])
    _fit(model, train, settings)
    batches = [tuple(each[i : i + _BATCH] for each in validation) for i in range(0, len(validation[0]), _BATCH)]
    try:
        located = localization(model, batches, n_grids=settings["grids"], verbose=False)
    except NotEnoughImagesError:  # so few are classified correctly and confidently
        located = None
    return {
        "accuracy": _accuracy(model, validation),
        "localization": located and located.mean,
        "grids": located.n_grids if located else 0,
        "residual": float(model.explain(validation[0][:64], verbose=False).residual.max()),
        "weights": sum(math.prod(weight.shape) for weight in model.trainable_weights),
        **_spent(start),
    }


def _fit(model, train, settings, **options):
    steps = settings["epochs"] * -(-len(train[0]) // _BATCH)
    rate = keras_coda.training.cosine_schedule(settings["rate"], steps, steps // 10)
    model.compile(keras.optimizers.Adam(rate), **options)
    model.fit(*train, batch_size=_BATCH, epochs=settings["epochs"], verbose=0)


def _accuracy(model, validation):
    return float(model.evaluate(*validation, verbose=0, return_dict=True)["accuracy"])


def _spent(start):
    return {"cpu_seconds": round(time.process_time() - start)}


def section(folder: Path) -> str:
    """Return the section of the page of results: the finding, a table, and what was run."""
    found = [each for each in (records.read(f"{PREFIX}{name}", folder) for name in SETTINGS) if each]
    if not found:
        return ""
    studies = {NAMES[each["results"]["name"]]: _means(each["results"]) for each in found}
    depths = list(next(iter(studies.values())))  # None for the conventional network, then the cuts up to the pixels
    last = depths[1]
    accuracy = "; ".join(
        f"{name} {_cell(means[0], 'accuracy')} with maps from the pixels on, {_cell(means[last], 'accuracy')} with "
        f"maps from the last of {last} conventional layers on, {_cell(means[None], 'accuracy')} without maps"
        for name, means in studies.items()
    )
    located = "; ".join(
        f"{name} {_cell(means[0], 'localization')} from the pixels on, {_cell(means[last], 'localization')} from the "
        "last layer on"
        for name, means in studies.items()
    )
    rows = []
    for depth in depths:
        called = "none: the conventional network" if depth is None else f"layer {depth}" if depth else "the pixels"
        row = [called, 0 if depth is None else last - depth + 1]
        row += [_cell(means[depth], metric) for means in studies.values() for metric in _METRICS]
        rows.append(row)
    head = ["maps exact from", "dynamic-linear layers"]
    head += [f"{name}, {metric}" for name in studies for metric in _METRICS]
    return (
        "## Interpretable depth\n\n"
        f"**Accuracy: {accuracy}. Localization: {located}.**\n\n"
        "A small conventional network is trained, and cut after each of its layers. On the features before the cut, "
        "frozen, [dynamic-linear layers](hybrids.md) are trained, as many as they take the place of and one for the "
        "classes, with the same images and epochs. Maps are exact from the cut on, and enlarged to the image for "
        "localization, on grids of each network's own most confident images ([program](../experiments/depth.py)). "
        "Heads have more weights than the layers that they take the place of, so that one may be the more accurate. "
        "The trainings are short and the networks small: `coda_xs_cifar10`, whose maps are exact from the pixels on "
        "and which was trained for 26 epochs of 45,000 images, is far more accurate.\n\n"
        f"{markdown_table(head, rows, right=range(1, len(head)))}\n\n"
        f"{''.join(_run_as(name, each) for name, each in zip(studies, found, strict=True))}\n"
    )


def _means(results):
    """Return the mean of each figure over seeds, by depth."""
    means: dict[int | None, dict[str, float]] = {}
    for depth in dict.fromkeys(row["cut"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["cut"] == depth]
        values = {metric: [row[metric] for row in rows if row.get(metric) is not None]
                  for metric in _METRICS}  # fmt: skip
        means[depth] = {metric: sum(each) / len(each) for metric, each in values.items() if each}
        fewest = min(row.get("grids", 0) for row in rows)
        if fewest < results["settings"]["grids"]:  # so few images are classified correctly and confidently
            means[depth]["fewest"] = fewest
    return means


def _run_as(name, record):
    """Say what was run for a study."""
    results, settings = record["results"], record["results"]["settings"]
    _, train, validation = results["data"]
    heads = [row for row in results["rows"] if row["cut"] is not None]
    layers = ", ".join(f"{filters}{' (stride 2)' * (strides > 1)}" for filters, strides in settings["layers"])
    error = max(math.sqrt(row["accuracy"] * (1 - row["accuracy"]) / validation) for row in results["rows"])
    return (
        f"- {name}: {train:,} training and {validation:,} validation images; convolutions of {layers} channels, heads "
        f"of {_range(row['weights'] for row in heads)} weights; {settings['epochs']} epochs, "
        f"{counted(len(settings['seeds']), 'seed')}; {_range(row['grids'] for row in heads)} grids of 3×3; standard "
        f"error of an accuracy at most {error:.1%}, largest residual {max(row['residual'] for row in heads):.0e}. "
        f"`{record['command']}`, {record['date']}, {results['cpu_minutes']:.0f} minutes of processor on "
        f"{record['cores']} cores of an {record['cpu']}, with other work beside.\n"
    )


def _range(counts):
    low, *_, high = sorted(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _cell(means, metric):
    if metric not in means:
        return "-"
    if metric == "accuracy":
        return f"{means[metric]:.1%}"
    return f"{means[metric]:.3f}" + (f" ({counted(means['fewest'], 'grid')} only)" if "fewest" in means else "")


def main() -> None:
    """Run a study and write its record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=SETTINGS)
    parser.add_argument("--source", help="what keras_coda.data.load takes; default: the name")
    parser.add_argument("--quick", action="store_true", help="few images, to check that everything runs")
    args = parser.parse_args()
    settings = SETTINGS[args.name] | (_QUICK if args.quick else {})
    folder = KEPT / f"{PREFIX}{args.name}{'-quick' * args.quick}"

    def study(quick: bool) -> dict:
        return run(args.name, args.source or args.name, settings, folder)

    where = KEPT if args.quick else RESULTS
    records.record(f"{PREFIX}{args.name}", study, quick=args.quick, program="experiments.depth", folder=where)


if __name__ == "__main__":
    main()
