"""Down-sampling without a grid in the contribution maps.

The transposed pass of a 3x3 convolution with stride 2 covers pixels unevenly, so the mean absolute contribution map
shows a grid of period 2 for every strided layer, in units of that layer's input. This experiment trains a network in
short with several ways of down-sampling, all of which keep the maps exact, and measures accuracy and the strength of
the grid. It needs JAX only, and runs on a GPU or on a CPU.

    python -m experiments.downsampling --images .gpu/images.npz --out out    # `python -m benchmarks.gpu pack` wrote it
    python -m experiments.downsampling --images .gpu/images.npz --out out --latest 150    # begins no run after 150 s
    python -m experiments.downsampling report --out out                      # a Markdown table of what is there

The last 500 images of each class are held out, the others are trained on, with flips and crops, Adam and a cosine rate.
A run is a variant and a seed. Variants are run side by side, each in a process of its own with its share of the memory,
with seed 0 first, then with seed 1, and so on. The same command continues with the runs that are missing.

Machine: one GPU with 16 cores, bfloat16 products; for a CPU, `--variant` and `--epochs` make it smaller.
Hours:   0.04 on one NVIDIA H200 for 15 runs of 5 epochs, eight processes side by side.
Result:  ``experiments/results/downsampling.json``, a table in ``docs/results.md``. Means over 2x2 locations of a layer
         with stride 1 remove the grid and keep the accuracy: ``CoDANet(downsampling="pooled")``. Not run: "blur_last",
         "kernel_4", a penalty on the grid, and the third seed of most variants.

Measures: accuracy on the held-out images, and how strong the grid is in the mean absolute contribution map of the
class predicted for 500 of them, see ``experiments.grid``.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.gpu.__main__ import XLA_FLAGS

SETTINGS = {"batch": 128, "epochs": 6.0, "rate": 2e-3, "temperature": 500.0, "precision": "bfloat16"}
EXPLAINED = 500  # of the held-out images
VARIANTS = (
    *("baseline", "blur", "blur_5", "blur_first", "blur_last", "mean_pool_before", "mean_pool_after"),
    *("kernel_4_blur", "learned_blur", "kernel_4"),
)


def smoothing(variant: str, strided: list[int]) -> dict:
    """Return what comes ``before`` layers, by index, arguments of the network, and the ``size`` of strided kernels.

    Args:
        variant: one of ``VARIANTS``.
        strided: indices of the layers with stride 2.
    """
    from experiments.smoothing import LearnedBlur
    from keras_coda import AveragePooling2D, Blur2D

    everywhere = functools.partial(dict.fromkeys, strided)
    return {
        "baseline": {},
        "blur": {"before": everywhere(Blur2D)},
        "blur_5": {"before": everywhere(functools.partial(Blur2D, 5))},
        "blur_first": {"before": {strided[0]: Blur2D}},
        "blur_last": {"before": {strided[-1]: Blur2D}},
        "mean_pool_before": {"before": everywhere(AveragePooling2D), "stride": 1},
        "mean_pool_after": {"after": everywhere(AveragePooling2D), "stride": 1},
        "kernel_4_blur": {"before": everywhere(Blur2D), "size": 4},
        "learned_blur": {"before": everywhere(LearnedBlur)},
        "kernel_4": {"size": 4},  # tells what of `kernel_4_blur` is due to the size of the kernels alone
    }[variant]


def build(network: str, variant: str, temperature: float, dtype=None):
    """Return the network of a variant: images ``(batch, 32, 32, 3)`` in [0, 255] to logits."""
    import keras

    import keras_coda

    config = keras_coda.CoDANet.from_preset(network, load_weights=False).get_config()
    strides = [int(np.max(stride)) for stride in config["strides"]]
    how = smoothing(variant, [index for index, stride in enumerate(strides) if stride == 2])
    inputs = keras.Input((32, 32, 3), dtype="float32")
    x = keras.layers.Rescaling(1 / 255, dtype="float32")(inputs)
    x = keras_coda.AddInverse(dtype="float32")(x)
    layers = zip(config["filters"], config["ranks"], config["kernel_sizes"], strides, strict=True)
    for index, (filters, rank, kernel, stride) in enumerate(layers):
        if index in how.get("before", {}):
            x = how["before"][index](dtype=dtype)(x)
        if stride == 2:  # 4x4 with stride 2: padded by 1 on each side, even
            kernel, stride = how.get("size", kernel), how.get("stride", stride)
        x = keras_coda.DAUConv2D(filters, kernel, rank, stride, dtype=dtype, name=f"dau_{index + 1}")(x)
        if index in how.get("after", {}):
            x = how["after"][index](dtype=dtype)(x)
    x = keras_coda.GlobalSumPooling2D(dtype="float32")(x)
    x = keras_coda.LogitScaling(temperature, np.log(0.1 / 0.9), dtype="float32")(x)
    model = keras.Model(inputs, x)
    model.compile(loss=keras_coda.OneVsAllCrossentropy())
    return model


def check_exact(model, images) -> float:
    """Return the largest completeness residual; raise if it is not exact."""
    import keras_coda

    residual = float(keras_coda.explain(model, images, top_k=3, verbose=False).residual.max())
    if not residual < 1e-4:
        raise ArithmeticError(f"Contributions must sum to the logit. Received: residual={residual}")
    return residual


def train(model, data, seed: int, settings: dict, compiled=None):
    """Train a network; return the trainer, and the loss and accuracy of every chunk of steps."""
    from benchmarks.gpu.step import Trainer
    from benchmarks.gpu.training import train_epochs

    options = {name: settings[name] for name in ("precision", "batch")}
    chunk = min(50, len(data.images) // settings["batch"])
    trainer = Trainer(model, data.images, data.labels, chunk=chunk, seed=seed, flip=data.may_flip, **options)
    if compiled is None:
        trainer.compile()
    else:
        trainer.compiled = compiled
    return trainer, train_epochs(trainer, settings["epochs"], settings["rate"])


def measure(model, data, network: str, variant: str, temperature: float) -> dict:
    """Return accuracy on all held-out images, grid measures and the mean absolute map of some of them, in float32."""
    import jax

    import keras_coda
    from experiments.grid import grid_measures
    from experiments.smoothing import LearnedBlur

    exact = build(network, variant, temperature)
    for variable, trained in zip(exact.trainable_variables, model.trainable_variables, strict=True):
        variable.assign(trained.value.copy())
    with jax.default_matmul_precision("highest"):
        logits = exact.predict(data.held_out.astype("float32"), batch_size=250, verbose=0)
        some = data.held_out[:: max(1, len(data.held_out) // EXPLAINED)]
        explanation = keras_coda.explain(exact, some, batch_size=50, verbose=False)
    mean_map = np.abs(explanation.contributions[:, 0]).mean(axis=0)
    return {
        "accuracy": float((logits.argmax(axis=1) == data.held_out_labels).mean()),
        **grid_measures(mean_map),
        "learned_c": [np.tanh(np.asarray(x.raw)).tolist() for x in exact.layers if isinstance(x, LearnedBlur)],
        "residual": float(explanation.residual.max()),
        "mean_map": np.round(mean_map.astype("float64"), 6).tolist(),
    }


def side_by_side(args) -> None:
    """Run each variant in a process of its own; raise ChildProcessError if one fails."""
    share = f"{0.9 / len(args.variant):.3f}"
    environment = {**os.environ, "XLA_PYTHON_CLIENT_MEM_FRACTION": share}
    options = sys.argv[1:]
    command = [sys.executable, "-m", "experiments.downsampling", *options, "--one-process", "--variant"]
    running = {name: subprocess.Popen([*command, name], env=environment) for name in args.variant}
    failed = [name for name, process in running.items() if process.wait()]
    if failed:
        raise ChildProcessError(f"These variants stopped with an error: {', '.join(failed)}")


def run(args, start: float) -> None:
    """Run what is missing."""
    import keras

    from benchmarks import records
    from benchmarks.gpu import data as datasets
    from benchmarks.gpu import device, networks

    args.out.mkdir(parents=True, exist_ok=True)
    data = datasets.load(args.images, args.held_out)
    compiled = {}
    settings = {name: getattr(args, name) for name in SETTINGS}
    policy = networks.PRECISIONS[settings["precision"]].policy
    for seed in range(args.seed, args.seed + args.seeds):
        for variant in args.variant:
            name = f"{args.network}-{variant}-{seed}"
            if (args.out / f"{name}.json").is_file():
                continue
            if time.monotonic() - start > args.latest:
                return print(f"{name}: no time is left, the same command continues", flush=True)
            keras.utils.set_random_seed(seed)
            model = networks.built(functools.partial(build, args.network, variant, settings["temperature"], policy))
            check_exact(model, data.held_out[:8])
            began = time.monotonic()
            trainer, log = train(model, data, seed, settings, compiled.get(variant))
            trainer.weights_to(model)
            compiled[variant] = trainer.compiled
            seconds = time.monotonic() - began
            result = {"variant": variant, "seed": seed, "network": args.network, "settings": settings, "log": log}
            result |= {"parameters": model.count_params(), "seconds": seconds}
            result |= measure(model, data, args.network, variant, settings["temperature"])
            records.write(name, device.described("experiments.downsampling") | {"results": result}, args.out)
            figures = {key: round(value, 4) for key, value in result.items() if isinstance(value, float)}
            print(f"{time.monotonic() - start:.0f} s {name}", json.dumps(figures), flush=True)


def report(out: Path) -> str:
    """Return the table of the finished runs in a folder."""
    contents = [json.loads(path.read_text())["results"] for path in sorted(out.glob("*.json"))]
    return table([each for each in contents if "variant" in each])


def table(runs: list[dict]) -> str:
    """Return a Markdown table: mean ± standard error over seeds for every variant."""
    base = {(run["network"], run["seed"]): run["accuracy"] for run in runs if run["variant"] == "baseline"}
    columns = {"accuracy, %": ("accuracy", 100), "minus baseline": ("gain", 100), "energy 2": ("energy_2", 1)}
    columns |= {"energy 4": ("energy_4", 1), "phases 2, %": ("phases_2", 100), "phases 4, %": ("phases_4", 100)}
    lines = ["| network | variant | seeds | " + " | ".join(columns) + " |", "|---|---|" + "---:|" * (len(columns) + 1)]
    for network, variant in dict.fromkeys((run["network"], run["variant"]) for run in runs):
        own = [run for run in runs if (run["network"], run["variant"]) == (network, variant)]
        own = [run | {"gain": run["accuracy"] - base.get((network, run["seed"]), np.nan)} for run in own]
        cells = [_mean([scale * run[key] for run in own]) for key, scale in columns.values()]
        lines.append(f"| {network} | {variant} | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values) -> str:
    values = [value for value in values if np.isfinite(value)]
    if not values:
        return "–"
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{error}"


def main() -> None:
    """Run what is missing, or print the report."""
    start = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m experiments.downsampling")
    parser.add_argument("mode", nargs="?", choices=("run", "report"), default="run")
    parser.add_argument("--images", default="random", metavar="FILE", help="of `python -m benchmarks.gpu pack`")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="results")
    parser.add_argument("--network", default="coda_xs_cifar10", help="the architecture; strided layers change")
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--latest", type=float, default=float("inf"), help="begin no run after so many seconds")
    parser.add_argument("--held-out", type=int, help="number of held-out images; default: all")
    parser.add_argument("--one-process", action="store_true", help="run variants one after another")
    for name, default in SETTINGS.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    args = parser.parse_args()
    if args.mode == "report":
        return print(report(args.out))
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    if args.one_process or len(args.variant) == 1:
        run(args, start)
    else:
        side_by_side(args)


if __name__ == "__main__":
    main()
