"""Completeness of a million maps: the largest residual of random networks, in every way to compute maps.

    python -m experiments.residuals [--triples 1000000] [--networks 20]

A triple is a network, an image and a class. Each is explained by `explain`, by `explain` with XLA, by an exported
SavedModel and by an ONNX file; all classes of every image. Residuals are computed in float64 from the float32 answers,
relative to Σ |contributions| + |bias + offsets| + |logit|. Finished networks are kept in `build/residuals`: after an
interruption the same command continues.

Machine: 2 CPU cores, shared with other work.
Hours: 0.15 of processor time.
Result: experiments/results/residuals.json, docs/results.md.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_coda
from benchmarks import records
from experiments.networks import ROOT
from keras_coda.explanations.completeness import TOLERANCE, completeness

RESULTS = Path(__file__).parent / "results"
KEPT = ROOT / "build" / "residuals"
PART = "residuals"
CLASSES, BATCH = 10, 500
PATHS = {"explain": "`explain`", "xla": "`explain` with XLA", "saved_model": "SavedModel", "onnx": "ONNX Runtime"}
Explainer = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def network(seed: int):
    """Return a random network of random weights: chains and branches, any temperature, logits of any size."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    shape = (*rng.integers(6, 13, 2).tolist(), int(rng.integers(1, 4)))
    temperature = float(10.0 ** rng.uniform(-4, 4))
    options = {"input_shape": shape, "temperature": temperature, "logit_bias": float(rng.normal(0, 3))}
    kind = ("chain", "chain", "resnet", "densenet")[seed % 4]
    if kind == "chain":
        depth = int(rng.integers(2, 5))
        model = keras_coda.CoDANet(
            CLASSES,
            filters=(*rng.integers(3, 13, depth - 1).tolist(), CLASSES),
            ranks=int(rng.integers(2, 9)),
            strides=rng.integers(1, 3, depth).tolist(),
            downsampling=("strided", "pooled", "blurred")[rng.integers(3)],
            rescaling=("squash", "l2")[rng.integers(2)],
            **options,
        )
    else:
        options |= {"stem": "small", "b": (2.0, 1.5)[rng.integers(2)], "max_out": int(rng.integers(1, 3)), "filters": 8}
        if kind == "resnet":
            model = keras_coda.BcosResNet(CLASSES, blocks=(1, 1), bottleneck=False, **options)
        else:
            model = keras_coda.BcosDenseNet(CLASSES, blocks=(2, 1), growth=4, **options)
    for variable in model.trainable_variables:  # other scales than those of the initializers
        variable.assign(variable * float(10.0 ** rng.uniform(-1, 1)))
    return kind, model


def pictures(shape, count: int, seed: int) -> np.ndarray:
    """Return uint8 images: noise of any contrast, gradients, few lit pixels, and flat ones."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, 255, (count, *shape))
    ramp = np.linspace(0, 255, shape[0])[:, None, None] * rng.uniform(0, 1, (count, 1, 1, shape[2]))
    kinds = [
        noise,
        128 + (noise - 128) * rng.uniform(0, 1, (count, 1, 1, 1)),
        np.broadcast_to(ramp, noise.shape),
        255 * (noise < 12),
        np.broadcast_to(noise[:, :1, :1], noise.shape),
    ]
    chosen = rng.integers(0, len(kinds), count)
    return np.stack([kinds[kind][index] for index, kind in enumerate(chosen)]).astype("uint8")


def paths(model, folder: Path) -> Iterator[tuple[str, Explainer]]:
    """Yield the ways to compute maps of all classes: functions of images that give maps, constants and logits."""
    import onnxruntime
    import tensorflow as tf

    def explained(images, jit_compile):
        found = model.explain(images, top_k=CLASSES, batch_size=BATCH, verbose=False, jit_compile=jit_compile)
        return found.contributions, found.bias, found.explained_logits

    def answered(outputs):
        return outputs["contributions"], outputs["bias"][:, None], np.take_along_axis(
            outputs["logits"], outputs["classes"], axis=1
        )  # fmt: skip

    yield "explain", lambda images: explained(images, False)
    yield "xla", lambda images: explained(images, True)
    model.export(folder / "1", top_k=CLASSES, warmup=False)
    served = tf.saved_model.load(str(folder / "1")).signatures["contributions"]
    yield (
        "saved_model",
        lambda images: answered(
            {name: tensor.numpy() for name, tensor in served(images=tf.constant(images, tf.float32)).items()}
        ),
    )
    model.export(folder / "coda.onnx", format="onnx", top_k=CLASSES)
    session = onnxruntime.InferenceSession(folder / "coda.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    yield (
        "onnx",
        lambda images: answered(
            dict(zip(names, session.run(names, {"images": images.astype("float32")}), strict=True))
        ),
    )


def measure(seed: int, count: int) -> dict:
    """Explain ``count`` images by a random network in every way, and return the largest residuals."""
    start = time.process_time()
    kind, model = network(seed)
    shape = model.input_shape[1:]
    parts = [pictures(shape, BATCH, seed * 1000 + part) for part in range(-(-count // BATCH))]
    largest, logit = {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for path, run in paths(model, Path(folder)):
            found = {"relative": 0.0, "to_contributions": 0.0, "residual": 0.0}
            for images in parts:
                maps, constants, logits = run(images)
                residual, scale = completeness(maps, constants, logits)
                total = np.abs(maps).sum((2, 3), dtype="float64")
                ratios = {"relative": residual / scale, "to_contributions": residual / np.maximum(total, 1e-30)}
                for name, values in {**ratios, "residual": residual}.items():
                    if not np.isfinite(values).all():
                        raise AssertionError(f"network {seed}, {path}: a residual is not finite")
                    found[name] = max(found[name], float(values.max()))
                logit = max(logit, float(np.abs(logits).max()))
            largest[path] = found
    return {
        "kind": kind,
        "image": list(shape),
        "parameters": model.count_params(),
        "largest_logit": logit,
        "triples": len(parts) * BATCH * CLASSES,
        "paths": largest,
        "cpu_seconds": round(time.process_time() - start),
    }


def section(folder: Path) -> str:
    """Return what the page of results says, nothing without a record."""
    record = records.read(PART, folder)
    if record is None:
        return ""
    runs, rows = record["results"]["networks"], []
    for path, title in PATHS.items():
        largest = (max(run["paths"][path][name] for run in runs) for name in ("relative", "to_contributions"))
        rows.append([title, *(f"{value:.1e}" for value in largest)])
    logits = [run["largest_logit"] for run in runs]
    return (
        "## Completeness of the maps\n\n"
        f"The largest residual of {record['results']['triples']:,} triples of network, image and class: {len(runs)} "
        "random networks (chains, residual and dense ones) with weights and temperatures of any size, whose largest "
        f"logits are {min(logits):.2g} to {max(logits):.2g}, all {CLASSES} classes of every image; the same triples in "
        "every way to compute maps. In float64 from the float32 answers, relative to Σ |contributions| + |bias| "
        "+ |logit|; and to Σ |contributions| alone, which is tiny where weights are: then logits are biases and "
        "their rounding. Clients and checks of exports allow "
        f"{TOLERANCE:.0e} of the former ([program](../experiments/residuals.py)).\n\n"
        + records.markdown(["maps by", "largest residual", "of Σ of contributions alone"], rows)
        + f"\n`{record['command']}`, {record['date']}, {record['cores']} cores, {record['cpu']}, beside other work; "
        f"{record['cpu_seconds'] / 60:.0f} minutes of processor time.\n\n"
    )


def main() -> int:
    """Measure all networks that are not yet kept, and write the result when all are."""
    parser = argparse.ArgumentParser(prog="python -m experiments.residuals", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--triples", type=int, default=1_000_000, help="in all (default: 1000000)")
    parser.add_argument("--networks", type=int, default=20, help="random networks (default: 20)")
    args = parser.parse_args()
    count = -(-args.triples // (args.networks * CLASSES))
    runs = []
    for seed in range(args.networks):
        part = f"{count}-{seed}"
        run = records.read(part, KEPT) or measure(seed, count)
        records.write(part, run, KEPT)
        print(seed, {path: f"{found['relative']:.1e}" for path, found in run["paths"].items()}, run, flush=True)
        runs.append(run)
    contents = records.described(f"experiments.{PART}", False)
    triples, seconds = (sum(run[name] for run in runs) for name in ("triples", "cpu_seconds"))
    contents |= {"results": {"triples": triples, "networks": runs}, "cpu_seconds": seconds}
    records.write(PART, contents, RESULTS)
    shutil.rmtree(KEPT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
