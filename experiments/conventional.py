"""Conventional networks beside CoDA-Nets: the same images, augmentation, batches and epochs, in one harness.

The networks of the table are a ResNet-20 (He et al., arXiv 1512.03385, section 4.2), a small VGG (three pairs of 3x3
convolutions with batch normalization, after arXiv 1409.1556), and this package's own. Each is trained by the program of
``benchmarks.gpu``, with Adam and a cosine rate; conventional networks with softmax and cross-entropy, as is usual.

    python -m experiments.conventional --images .gpu/images.npz --out out     # the same command continues
    python -m experiments.conventional --images .gpu/images.npz --out out --network resnet20 --epochs 30
    python -m experiments.conventional report --out out                       # a Markdown table of what is there

Each network has a file, ``<out>/conventional_NETWORK.json``, written when it is trained and measured. A training that
would not end within ``--seconds`` is given up after its first steps, and the same command begins it anew; put the files
that are there into ``--out`` on another machine. ``experiments.report`` shows those in ``experiments/results``.

Machine: one GPU; a small ``--epochs`` for a CPU.
Hours:   estimated, not measured: 0.17 for 60 epochs of all networks on one NVIDIA H200, in two calls of 540 s.
         `coda_s_cifar10` takes 3.9 s per epoch there, as measured in another training; the others are assumed to take
         at most 1.2 s, and compiling 15 s for each.
Result:  none yet.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

from benchmarks.gpu.__main__ import XLA_FLAGS
from experiments.time_limit import Budget, OutOfTimeError

CONVENTIONAL = ("resnet20", "vgg")
NETWORKS = (*CONVENTIONAL, "bcos_resnet20_cifar10", "coda_xs_cifar10", "coda_s_cifar10")
PREFIX = "conventional_"  # of the files of results
RESERVE = 20  # seconds for the evaluation
SETTINGS = {"batch": 128, "epochs": 60.0, "rate": 2e-3, "precision": "bfloat16", "augment": "strong"}


def resnet20(classes: int, shape, dtype=None):
    """Return ResNet-20 for small images in [0, 255]: three stages of three blocks with 16, 32 and 64 channels."""
    import keras
    from keras import layers

    def convolution(x, filters, stride=1, kernel=3):
        x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, dtype=dtype)(x)
        return layers.BatchNormalization(dtype=dtype)(x)

    inputs = keras.Input(shape, dtype="float32")
    x = layers.ReLU(dtype=dtype)(convolution(layers.Rescaling(1 / 127.5, -1, dtype="float32")(inputs), 16))
    for filters in (16, 32, 64):
        for block in range(3):
            stride = 2 if filters > 16 and block == 0 else 1
            y = layers.ReLU(dtype=dtype)(convolution(x, filters, stride))
            y = convolution(y, filters)
            shortcut = convolution(x, filters, stride, kernel=1) if stride > 1 else x
            x = layers.ReLU(dtype=dtype)(layers.Add(dtype=dtype)([shortcut, y]))
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(classes, dtype="float32")(x), name="resnet20")


def vgg(classes: int, shape, dtype=None):
    """Return a small VGG for images in [0, 255]: three pairs of convolutions, 64, 128 and 256 channels."""
    import keras
    from keras import layers

    inputs = keras.Input(shape, dtype="float32")
    x = layers.Rescaling(1 / 127.5, -1, dtype="float32")(inputs)
    for filters in (64, 128, 256):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, dtype=dtype)(x)
            x = layers.ReLU(dtype=dtype)(layers.BatchNormalization(dtype=dtype)(x))
        x = layers.MaxPooling2D(dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(classes, dtype="float32")(x), name="vgg")


def build(network: str, data, precision: str):
    """Return a network for the images of ``benchmarks.gpu.data.Data``, with its loss."""
    import keras

    from benchmarks.gpu import networks

    classes, shape = len(data.class_names), data.images.shape[1:]
    if network not in CONVENTIONAL:
        return networks.network(network, precision, num_classes=classes, input_shape=shape)
    policy, function = networks.PRECISIONS[precision].policy, {"resnet20": resnet20, "vgg": vgg}[network]
    model = networks.built(lambda: function(classes, shape, policy))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def operations(model) -> int:
    """Return the multiply-adds of convolutions and dense layers, or of the factored evaluation, for one image."""
    import keras

    import keras_coda
    from benchmarks.speed import flops

    if isinstance(model, keras_coda.ExplainableClassifier):
        return flops.prediction(flops.layers(model), 1) // 2
    weighted = [layer for layer in model.layers if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))]
    return sum(math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1]) for layer in weighted)


def run(args, start: float) -> None:
    """Train and measure the networks that are missing, as long as there is time."""
    try:
        _run(args, start + args.seconds - RESERVE)
    except OutOfTimeError as error:
        print(f"no time is left ({error}): the same command continues, or use fewer --epochs", flush=True)


def _run(args, end):
    import keras

    from benchmarks import records
    from benchmarks.gpu import data as datasets
    from benchmarks.gpu import device, networks
    from benchmarks.gpu.step import Trainer
    from benchmarks.gpu.training import train_epochs
    from keras_coda.utils.checks import require

    args.out.mkdir(parents=True, exist_ok=True)
    data = datasets.load(args.images, args.held_out)
    settings = {name: getattr(args, name) for name in SETTINGS}
    images = len(data.images)
    for network in args.network:
        found = records.read(PREFIX + network, args.out)
        if found:
            rule, is_same = "Networks are compared with the same settings", found["results"]["settings"] == settings
            require(is_same, rule, "Choose another --out", network=network, settings=settings)
            continue
        began, budget = time.monotonic(), Budget(end)  # of one network: their speeds differ
        budget.check(0)
        keras.utils.set_random_seed(args.seed)
        model = build(network, data, args.precision)
        chunk = min(50, images // args.batch)
        changes = {"pad": data.pad, "flip": data.may_flip, "distort": args.augment == "strong"}
        options = {"precision": args.precision, "batch": args.batch, "chunk": chunk, "seed": args.seed, **changes}
        trainer = Trainer(model, data.images, data.labels, **options)
        compiled = trainer.compile()

        def check(seconds, left, budget=budget):
            budget.spent(1, seconds)
            budget.check(left)

        start = time.monotonic()
        log = train_epochs(trainer, args.epochs, args.rate, check)
        seconds = time.monotonic() - start
        trainer.weights_to(model)
        with networks.PRECISIONS["float32"].scope():
            logits = model.predict(data.held_out.astype("float32"), batch_size=250, verbose=0)
        result = {
            "network": network,
            "settings": settings,
            "seed": args.seed,
            "accuracy": float((logits.argmax(1) == data.held_out_labels).mean()),
            "parameters": model.count_params(),
            "macs": operations(model),
            "seconds_per_epoch": seconds / (len(log) * chunk * args.batch / images),
            "compile_seconds": compiled,
            "log": log,
        }
        about = device.described("experiments.conventional") | {"seconds": round(time.monotonic() - began)}
        records.write(PREFIX + network, about | {"results": result}, args.out)
        print(network, {name: value for name, value in result.items() if name != "log"}, flush=True)


def stored(folder: Path) -> list[dict]:
    """Return the records of the networks in a folder."""
    files = (folder / f"{PREFIX}{name}.json" for name in NETWORKS)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]


def table(found: list[dict]) -> str:
    """Return a Markdown table of records."""
    lines = ["| network | accuracy | parameters | multiply-adds | seconds per epoch |", "|---|---:|---:|---:|---:|"]
    for each in (record["results"] for record in found):
        lines.append(
            f"| `{each['network']}` | {each['accuracy']:.2%} | {each['parameters']:,} | {each['macs'] / 1e6:,.0f} M | "
            f"{each['seconds_per_epoch']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, or print the report."""
    start = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m experiments.conventional")
    parser.add_argument("mode", nargs="?", choices=("run", "report"), default="run")
    parser.add_argument("--images", default="random", metavar="FILE", help="of `python -m benchmarks.gpu pack`")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="results")
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=int, help="number of held-out images; default: all")
    choices = {"augment": ("flip_crop", "strong"), "precision": ("float32", "tf32", "bfloat16")}
    for name, default in SETTINGS.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, choices=choices.get(name))
    parser.add_argument("--seconds", type=float, default=540, help="end no training later")
    args = parser.parse_args()
    if args.mode == "report":
        return print(table(stored(args.out)))
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    run(args, start)


if __name__ == "__main__":
    main()
