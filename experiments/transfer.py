"""Transfer learning: the layers of a preset against random ones, on few photos of three classes.

    python -m experiments.transfer CIFAR10 [--per-class 50] [--seeds 2]

CIFAR10 is a folder with one folder of numbered images per class. The last 500 images of a class are those that
`coda_xs_cifar10` was not trained on: from them come the photos to learn from and, the last 200, to validate.

Machine: 2 CPU cores, shared with other work.
Hours: 0.3 for two seeds.
Result: docs/transfer.md.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_coda

CLASSES = ("cat", "horse", "ship")
RESULT = Path(__file__).parent / "results" / "transfer.json"
# What is kept of the preset -> (layers to train, epochs, peak learning rate)
WAYS = {
    "random layers, all trained": ("all", 12, 0.002),
    "preset, only the new layer trained": ("new", 12, 0.01),
    "preset, all layers trained": ("all", 12, 0.0005),
}


def photos(folder: Path, name: str, part: slice) -> np.ndarray:
    """Return images of a class, uint8 ``(N, 32, 32, 3)``."""
    files = sorted((folder / name).iterdir(), key=lambda path: int(path.stem))
    return np.stack([keras_coda.data.read_image(path, 3) for path in files[part]]).astype("uint8")


def split(folder: Path, part: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels of all classes."""
    images = [photos(folder, name, part) for name in CLASSES]
    return np.concatenate(images), np.repeat(np.arange(len(CLASSES)), len(images[0]))


def run(way: str, seed: int, train, validation) -> dict:
    """Train a network in one way; return its accuracy, its residual and the time."""
    trained, epochs, rate = WAYS[way]
    keras.utils.set_random_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", keras_coda.models.NewLayersWarning)
        model = keras_coda.CoDANet.from_preset(
            "coda_xs_cifar10", num_classes=3, class_names=CLASSES, temperature=500, load_weights=way[:6] == "preset"
        )
    if trained == "new":
        for layer in model.layers:
            layer.trainable = layer.name in model.new_layers
    steps = epochs * -(-len(train[0]) // 10)
    model.compile(keras.optimizers.Adam(keras_coda.training.cosine_schedule(rate, steps, steps // 10)))
    start = time.perf_counter()
    history = model.fit(*train, batch_size=10, epochs=epochs, verbose=0).history
    seconds = time.perf_counter() - start
    accuracy = model.evaluate(*validation, verbose=0)[1]
    return {
        "way": way,
        "seed": seed,
        "trained_parameters": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
        "train_accuracy": history["accuracy"][-1],
        "accuracy": accuracy,
        "largest_residual": float(model.explain(validation[0][::20]).residual.max()),
        "seconds": seconds,
    }


def main() -> None:
    """Run all ways with all seeds, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    train = split(args.folder, slice(-500, -500 + args.per_class))
    validation = split(args.folder, slice(-200, None))
    runs = []
    for seed in range(args.seeds):
        for way in reversed(WAYS):
            runs.append(run(way, seed, train, validation))
            print(runs[-1], flush=True)
    settings = {"classes": CLASSES, "per_class": args.per_class, "validation_images": len(validation[0])}
    RESULT.write_text(json.dumps({**settings, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
