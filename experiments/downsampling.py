"""Down-sampling without a grid in the contribution maps.

The transposed pass of a 3x3 convolution with stride 2 covers pixels unevenly, so the mean absolute contribution map
shows a grid of period 2 for every strided layer, in units of that layer's input. This experiment trains the network
``coda_xs_cifar10`` in short with several ways of down-sampling, all of which keep the maps exact, and measures
accuracy and the strength of the grid.

    python -m experiments.downsampling --cifar10 FOLDER --out out/downsampling    # the same command continues
    python -m experiments.downsampling report --out out/downsampling              # a Markdown table of what is there
    python -m experiments.downsampling --cifar10 FOLDER --out out/quick --quick   # one step each: does it work?

FOLDER holds the 50,000 training images of CIFAR-10 as ``<class>/<number>.<ext>``; the last 500 of each class are held
out. One run is a variant and a seed: 10,240 images drawn by the seed, 4 epochs with flips and crops, Adam, cosine rate.
All variants are run with seed 0 first, then with seed 1, and so on.

Machine: 2 cores of an AMD EPYC with AVX512-BF16, mixed_bfloat16, at most 3 GB.
Hours:   3 for 27 runs (9 variants, 3 seeds) on idle cores, estimated from one run's steps: 6 to 10 minutes each.
Result:  no comparison yet. One run of 27 is finished, the network as it is with seed 0: accuracy 51.1 %, energy 271 at
         period 2 and 4.5 at period 4, phases 34 % and 41 % apart. Finished runs are kept as JSON files in
         experiments/results/downsampling; copied into the folder of `--out`, they are not run again.

Measures: accuracy on 5,000 held-out images, and how strong the grid is in the mean absolute contribution map of the
class predicted for 500 of them, see ``experiments.grid``.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops

import keras_coda
from experiments.grid import grid_measures
from experiments.smoothing import Blur, LearnedBlur, MeanPool, check_transpose

FILTERS, RANKS = (16, 32, 32, 64, 64, 64, 10), (16, 16, 16, 32, 32, 32, 32)  # of coda_xs_cifar10
KERNELS, STRIDES = (3, 3, 3, 3, 3, 3, 1), (1, 2, 1, 2, 1, 1, 1)
FIRST, LAST = 1, 3  # the strided layers
SETTINGS = {
    "images": 10240,
    "epochs": 4,
    "batch_size": 64,
    "rate": 2e-3,
    "temperature": 500.0,
    "dtype": "mixed_bfloat16",
}
EXPLAINED = 500  # of the 5,000 held-out images

# Each: what comes before a strided layer, by index; what comes after it, then with stride 1; the strided kernels' size.
VARIANTS = {
    "baseline": {},
    "blur": {"before": {FIRST: Blur, LAST: Blur}},
    "blur_first": {"before": {FIRST: Blur}},
    "blur_last": {"before": {LAST: Blur}},
    "mean_pool_after": {"after": MeanPool},
    "mean_pool_before": {"before": {FIRST: MeanPool, LAST: MeanPool}},
    "kernel_4_blur": {"before": {FIRST: Blur, LAST: Blur}, "size": 4},
    "learned_blur": {"before": {FIRST: LearnedBlur, LAST: LearnedBlur}},
    "kernel_4": {"size": 4},  # tells what of `kernel_4_blur` is due to the size of the kernels alone
}


def build(before=None, after=None, size=3, temperature=500.0, dtype=None) -> keras.Model:
    """Return the network of a variant, see ``VARIANTS``: images ``(batch, 32, 32, 3)`` in [0, 255] to logits."""
    before = before or {}
    inputs = keras.Input((32, 32, 3), dtype="float32")
    x = keras.layers.Rescaling(1 / 255, dtype="float32")(inputs)
    x = keras_coda.AddInverse(dtype="float32")(x)
    for index, (filters, rank, kernel, stride) in enumerate(zip(FILTERS, RANKS, KERNELS, STRIDES, strict=True)):
        if index in before:
            x = before[index](dtype=dtype)(x)
        pooled = stride == 2 and (after is not None or before.get(index) is MeanPool)
        kernel = size if stride == 2 else kernel  # 4x4 with stride 2 is padded by 1 on each side: all pixels alike
        x = keras_coda.DAUConv2D(filters, kernel, rank, 1 if pooled else stride, dtype=dtype, name=f"dau_{index + 1}")(
            x
        )
        if stride == 2 and after is not None:
            x = after(dtype=dtype)(x)
    x = keras_coda.GlobalSumPooling2D(dtype="float32")(x)
    x = keras_coda.LogitScaling(temperature, np.log(0.1 / 0.9), dtype="float32")(x)
    return keras.Model(inputs, x)


def check_exact(model, images) -> float:
    """Return the largest completeness residual; raise if it, or the transpose of a layer, is not exact."""
    for layer in model.layers:
        if isinstance(layer, (Blur, MeanPool)):
            check_transpose(layer)
    residual = float(keras_coda.explain(model, images, top_k=3, verbose=False).residual.max())
    if not residual < 1e-4:
        raise ArithmeticError(f"Contributions must sum to the logit. Received: residual={residual}")
    return residual


def load(folder, out: Path, quick=False) -> dict[str, np.ndarray]:
    """Return ``images``, ``labels``, ``held_out``, ``held_out_labels``, sorted by class; decoded once, into ``out``."""
    file = out / "cifar10.npz"
    if not file.is_file():
        parts = {"images": [], "labels": [], "held_out": [], "held_out_labels": []}
        for label, of_class in enumerate(sorted(path for path in Path(folder).iterdir() if path.is_dir())):
            images = [np.asarray(keras.utils.load_img(path), "uint8") for path in sorted(of_class.iterdir())]
            held_out = min(500, len(images) // 2)
            for name, part in (("images", images[:-held_out]), ("held_out", images[-held_out:])):
                parts[name] += part
                parts["labels" if name == "images" else "held_out_labels"] += [label] * len(part)
        _write(file, lambda temporary: np.savez(temporary, **{k: np.asarray(v, "uint8") for k, v in parts.items()}))
    with np.load(file) as data:
        return {name: data[name][:: 50 if quick and "held" in name else 1] for name in data.files}


def _write(file: Path, save) -> None:
    """Let ``save`` write a file, whole or not at all."""
    temporary = file.parent / "unfinished" / file.name
    temporary.parent.mkdir(exist_ok=True)
    save(temporary)
    temporary.replace(file)


def augmented(images, rng) -> np.ndarray:
    """Crop every image out of its zero-padded self at random (4 pixels), flip one in two."""
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (32, 32), axis=(1, 2))
    top, left = rng.integers(0, 9, (2, len(images)))
    crops = np.moveaxis(windows[np.arange(len(images)), top, left], 1, -1)
    return np.where(rng.random((len(images), 1, 1, 1)) < 0.5, crops[:, :, ::-1], crops).astype("float32")


def train(variant, seed, data, out: Path, settings) -> tuple[keras.Model, list[dict]]:
    """Return the trained network and the log of its epochs; it continues after the last epoch whose state is kept."""
    keras.utils.set_random_seed(seed)
    model = build(**VARIANTS[variant], temperature=settings["temperature"], dtype=settings["dtype"])
    check_exact(model, data["held_out"][:: max(1, len(data["held_out"]) // 8)])
    picked = np.random.default_rng(seed).permutation(len(data["images"]))[: settings["images"]]
    images, labels = data["images"][picked], data["labels"][picked].astype("int32")
    epochs, per_epoch = settings["epochs"], len(images) // settings["batch_size"]
    warmup = epochs * per_epoch // 10
    options = {"warmup_target": settings["rate"], "warmup_steps": warmup} if warmup else {}
    rate = keras.optimizers.schedules.CosineDecay(settings["rate"] / 10, epochs * per_epoch - warmup, **options)
    model.compile(keras.optimizers.Adam(rate), keras_coda.OneVsAllCrossentropy(), metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)

    weights, log_file = out / f"{variant}-{seed}.weights.h5", out / f"{variant}-{seed}.log.json"
    if weights.is_file():
        model.load_weights(weights)  # and the optimizer's state, which counts steps
    done = int(model.optimizer.iterations) // per_epoch
    log = json.loads(log_file.read_text())[:done] if done else []
    for epoch in range(done, epochs):
        start, cpu_start = time.perf_counter(), time.process_time()
        batches = augmented(images, np.random.default_rng((seed, epoch)))
        order = np.random.default_rng((seed, epoch, 1)).permutation(len(images))
        history = model.fit(
            batches[order], labels[order], batch_size=settings["batch_size"], shuffle=False, verbose=0
        ).history
        log.append({name: values[0] for name, values in history.items()})
        log[-1] |= {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}
        print(f"{variant} {seed} epoch {epoch + 1}/{epochs}", json.dumps(log[-1]), flush=True)
        _write(log_file, lambda file: file.write_text(json.dumps(log)))
        _write(weights, model.save_weights)  # the last: it says how many epochs are done
    return model, log


def measure(model, data) -> dict:
    """Return accuracy on all held-out images, grid measures and the mean absolute map of some of them."""
    logits = model.predict(data["held_out"].astype("float32"), batch_size=100, verbose=0)
    some = data["held_out"][:: max(1, len(data["held_out"]) // EXPLAINED)]
    explanation = keras_coda.explain(model, some, batch_size=25, verbose=False)
    mean_map = np.abs(explanation.contributions[:, 0]).mean(axis=0)
    return {
        "accuracy": float((logits.argmax(axis=1) == data["held_out_labels"]).mean()),
        **grid_measures(mean_map),
        "learned_c": [
            ops.convert_to_numpy(x.kernel("float32")[0]).tolist() for x in model.layers if isinstance(x, LearnedBlur)
        ],
        "residual": float(explanation.residual.max()),
        "mean_map": np.round(mean_map.astype("float64"), 6).tolist(),
    }


def report(out: Path) -> str:
    """Return a Markdown table: mean ± standard error over seeds for every variant, for the finished runs in ``out``."""
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("*.result.json"))]
    base = {run["seed"]: run["accuracy"] for run in runs if run["variant"] == "baseline"}
    columns = {"accuracy, %": ("accuracy", 100), "minus baseline": ("gain", 100), "energy 2": ("energy_2", 1)}
    columns |= {"energy 4": ("energy_4", 1), "phases 2, %": ("phases_2", 100), "phases 4, %": ("phases_4", 100)}
    columns["CPU s per epoch"] = ("cpu_seconds", 1)
    lines = ["| variant | seeds | " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) + 1)]
    for variant in VARIANTS:
        own = [run for run in runs if run["variant"] == variant]
        for run in own:
            run["cpu_seconds"] = np.median([epoch["cpu_seconds"] for epoch in run["log"]])
            run["gain"] = run["accuracy"] - base.get(run["seed"], np.nan)
        cells = [_mean([scale * run[key] for run in own]) for key, scale in columns.values()]
        lines.append(f"| {variant} | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values) -> str:
    values = [value for value in values if np.isfinite(value)]
    if not values:
        return "–"
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{error}"


def main() -> None:
    """Run what is missing, or print the report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.downsampling")
    parser.add_argument("mode", nargs="?", choices=("run", "report"), default="run")
    parser.add_argument("--cifar10", metavar="FOLDER", help="the training images as class folders")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="results; ignored by git")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one step on 200 images each")
    args = parser.parse_args()
    if args.mode == "report":
        return print(report(args.out))
    if args.cifar10 is None and not (args.out / "cifar10.npz").is_file():
        parser.error("--cifar10 FOLDER is needed until its images are decoded")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    settings = SETTINGS | ({"images": 200, "epochs": 1, "batch_size": 200} if args.quick else {})
    args.out.mkdir(parents=True, exist_ok=True)
    data = load(args.cifar10, args.out, args.quick)
    for seed in range(args.seeds):
        for variant in VARIANTS:
            file = args.out / f"{variant}-{seed}.result.json"
            if file.is_file():
                if json.loads(file.read_text())["settings"] != settings:
                    parser.error(f"{file} is of other settings. Use another --out")
                continue
            model, log = train(variant, seed, data, args.out, settings)
            result = {"variant": variant, "seed": seed, "settings": settings, "log": log, **measure(model, data)}
            result["peak_mebibytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            _write(file, lambda path, result=result: path.write_text(json.dumps(result)))
            (args.out / f"{variant}-{seed}.weights.h5").unlink()
            figures = {key: round(value, 4) for key, value in result.items() if isinstance(value, float)}
            print(variant, seed, "finished", json.dumps(figures), flush=True)
            # A process of its own for every run: TensorFlow does not give back what graphs and tensors took.
            os.execv(sys.executable, [sys.executable, "-m", "experiments.downsampling", *sys.argv[1:]])


if __name__ == "__main__":
    main()
