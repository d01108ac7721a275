"""Contribution maps and post-hoc methods on many grids and images, on a machine that has JAX only.

    python -m benchmarks.gpu pack --cifar10 photos/cifar10 --out .gpu   # where there is a network; once
    PYTHONPATH=.:.gpu python3 -m experiments.compare --images .gpu/images.npz --out out --seconds 480
    PYTHONPATH=.:.gpu python3 -m experiments.compare --images .gpu/images.npz --out out --seconds 480    # continues
    python -m experiments.compare report --out out       # stores results and figure, for `python -m experiments report`
    python -m experiments.compare plan                   # operations and estimated seconds of each method

The command begins with accuracy and the figures of the contribution maps alone, then measures one method after another
by both metrics, the cheapest first. Everything is in one file, ``<out>/comparison.json``, which is written after each
measurement and whenever the command ends. A measurement that would not end within ``--seconds`` is not begun, and the
same command continues with it, on another machine if that file is put into ``--out``. The last 500 images of each
class are used; Grad-CAM's layer is chosen on others.

Machine: one GPU, float32; a CPU with ``--preset coda_digits --images digits``.
Hours:   estimated, not measured: 0.21 (756 s, and what starting, compiling and the maps alone take) on one NVIDIA H200
         for 112 grids, 512 images and the methods of the default comparison, in two calls of 480 s; 0.08 more for the
         references of tf-explain. Operations are counted, and 22 TFLOP/s assumed: a fifth of the 111 TFLOP/s with which
         the network was trained there in bfloat16.
Result:  none yet.

Fewer steps, windows and masks than by default make it fit: see :func:`methods`. 112 grids are four batches of 28, and
512 images are 16 of 32, so that JAX compiles every program once.
"""

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path

from benchmarks.gpu.__main__ import XLA_FLAGS
from experiments.time_limit import Budget, OutOfTimeError, Timed, passes

FILE = "comparison"  # <out>/comparison.json
SPEED = 22e12  # operations per second, assumed
BATCH = 32  # images, as `keras_coda.evaluation` divides larger batches


def methods(grad_cam=None) -> list:
    """Return the methods, the cheapest first, then those with the references of tf-explain.

    Args:
        grad_cam: Grad-CAM at the best layer, or None.
    """
    from keras_coda import posthoc

    last = posthoc.GradCAM()
    return [
        last,
        *([grad_cam] if grad_cam not in (None, last) else []),
        posthoc.VanillaGradients(),
        posthoc.GradientsInputs(),
        posthoc.SmoothGrad(),
        posthoc.IntegratedGradients(25),
        posthoc.OcclusionSensitivity(9),
        posthoc.OcclusionSensitivity(5, strides=4),
        posthoc.RISE(1000),
        posthoc.IntegratedGradients(25, encoded=False),
        posthoc.OcclusionSensitivity(9, fill=127.5),
        posthoc.OcclusionSensitivity(5, strides=4, fill=127.5),
    ]


class State:
    """The contents of ``<out>/comparison.json``, and the folder of `keras_coda.evaluation.compare` that is in it.

    Args:
        out: the folder of results.
        settings: must be those of earlier calls.
        folder: an empty folder, for `compare`.
        about: what a new file begins with: command, date, machine.
    """

    def __init__(self, out: Path, settings: dict, folder: Path, about: dict):
        from benchmarks import records
        from keras_coda.utils.checks import require

        self._out, self.folder = out, folder
        self.contents = records.read(FILE, out) or dict(about)
        self.results = self.contents.setdefault("results", {"settings": settings})
        rule = "A comparison continues only with the settings that it began with"
        require(self.results["settings"] == settings, rule, began_with=self.results["settings"], settings=settings)
        restore(self.contents, folder)

    def save(self) -> None:
        """Write the file."""
        from benchmarks import records

        kept = {path.name: json.loads(path.read_text("utf-8")) for path in sorted(self.folder.glob("*.json"))}
        self.contents["kept"] = kept
        records.write(FILE, self.contents, self._out)

    def measured(self, name: str, measure) -> None:
        """Store what a function returns, unless an earlier call did."""
        if name not in self.results:
            start = time.monotonic()
            self.results[name] = measure()
            self.save()
            print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)

    def finished(self) -> set[str]:
        """Return the names of the methods that were measured by both metrics."""
        from keras_coda.evaluation.comparison import METRICS

        found = [each["explainer"] for each in self.contents.get("kept", {}).values() if "explainer" in each]
        return {name for name in found if found.count(name) == len(METRICS)}


def restore(contents: dict, folder: Path) -> None:
    """Write the files of `compare` that a record holds into a folder."""
    for name, content in contents.get("kept", {}).items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def run(args, start: float) -> None:
    """Measure what is missing, as long as there is time."""
    from benchmarks.gpu import data as datasets
    from benchmarks.gpu import device, networks
    from keras_coda.utils.errors import FewerGridsWarning

    data = datasets.load(args.images, args.held_out)
    settings = {name: getattr(args, name) for name in ("preset", "images", "grids", "removed", "held_out")}
    print(f"{len(data.held_out)} images, {time.monotonic() - start:.0f} s", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        networks.PRECISIONS["float32"].scope(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", FewerGridsWarning)  # the results say how many there were
        state = State(args.out, settings, Path(folder), device.described("experiments.compare"))
        try:
            _measure(args, start + args.seconds, data, state)
        except OutOfTimeError as error:
            print(f"no time is left ({error}): the same command continues", flush=True)
        finally:
            state.contents["seconds"] = round(state.contents.get("seconds", 0) + time.monotonic() - start)
            state.save()
    print(f"{len(state.finished())} methods are finished after {time.monotonic() - start:.0f} s", flush=True)


def _measure(args, end, data, state):
    import numpy as np

    import keras_coda
    from benchmarks.gpu import networks
    from experiments.networks import EXPLAINED, mean_map_measures
    from keras_coda import evaluation, posthoc

    model = networks.built(lambda: keras_coda.CoDANet.from_preset(args.preset, load_weights=True))
    batches, quiet = batches_of(data.held_out, data.held_out_labels), {"verbose": False}
    every = {"num_images": len(data.held_out), **quiet}
    state.measured("figures", lambda: evaluation.evaluate(model, batches, **every))
    state.measured("localization", lambda: evaluation.localization(model, batches, n_grids=500, **quiet).summary())
    state.measured(
        "removal", lambda: evaluation.pixel_removal(model, batches, n_images=2 * args.removed, **quiet).summary()
    )
    options = {"n_images": args.removed, "order": "most", **quiet}
    state.measured("removal_most", lambda: evaluation.pixel_removal(model, batches, **options).summary())
    if data.held_out.shape[1] >= 32:
        state.measured("grid", lambda: mean_map_measures(model, data.held_out[:EXPLAINED]))

    order = np.random.default_rng(0).permutation(len(data.images))[:2048]
    others = batches_of(data.images[order], data.labels[order])

    def layers():
        best, scores = evaluation.best_grad_cam(model, others, n_grids=28, **quiet)
        return {"best": best.layer_name, "localization": scores}

    state.measured("grad_cam_layers", layers)
    best = posthoc.GradCAM(state.results["grad_cam_layers"]["best"])
    compare(model, batches, methods(best), Budget(end), state, n_grids=args.grids, n_images=args.removed)


def compare(model, batches, methods, budget, state, *, n_grids: int, n_images: int) -> None:
    """Compare methods as long as there is time, and store the figures of those that are finished.

    Args:
        model: a network.
        batches: labeled images.
        methods: the methods, the cheapest first.
        budget: the :class:`Budget` of all of them.
        state: the :class:`State` in which results are stored.
        n_grids: int.
        n_images: int.

    Raises:
        OutOfTimeError: if some are missing.
    """
    from experiments.networks import compared
    from keras_coda import evaluation

    timed = [Timed(method, budget, (n_grids, n_images), 129, state.save) for method in methods]
    options = {"n_grids": n_grids, "n_images": n_images, "out": state.folder, "verbose": False}
    try:
        state.results["methods"] = compared(evaluation.compare(model, batches, timed, **options))
    except OutOfTimeError:
        state.save()
        done = [method for method in timed if method.__name__ in state.finished()]
        if done:  # their results are in the folder
            state.results["methods"] = compared(evaluation.compare(model, batches, done, **options))
        raise


def batches_of(images, labels) -> list:
    """Return images and labels in batches that `keras_coda.evaluation` does not divide."""
    starts = range(0, len(images), BATCH)
    return [(images[start : start + BATCH], labels[start : start + BATCH]) for start in starts]


def report(out: Path, results_folder: Path | None = None, pictures: Path | None = None) -> None:
    """Store the results for ``experiments.report``, and draw the figure.

    Args:
        out: with the file of the comparison.
        results_folder: for the results; None for that of ``experiments``.
        pictures: for the figure; None for that of the documentation.
    """
    from benchmarks import records
    from experiments.networks import PICTURES
    from experiments.report import RESULTS
    from keras_coda.evaluation.comparison import METRICS, Comparison
    from keras_coda.visualization.figure import save_picture

    contents = records.read(FILE, out)
    if not contents or "methods" not in contents["results"]:
        raise FileNotFoundError(f"The folder must hold results of methods. Received: '{out}'. Continue the comparison.")
    preset, names = contents["results"]["settings"]["preset"], contents["results"]["methods"]
    with tempfile.TemporaryDirectory() as folder:
        restore(contents, Path(folder))
        found = {
            kind: {each.explainer: each for path in Path(folder).glob(f"{kind}-*.json")
                   for each in [metric.result.from_json(path)]}
            for kind, metric in METRICS.items()
        }  # fmt: skip
    results = {kind: tuple(each[name] for name in names) for kind, each in found.items()}
    pictures = pictures or PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    save_picture(Comparison(results).plot(), pictures / f"{preset}-comparison.png")
    records.write(
        f"comparison_{preset}",
        {key: value for key, value in contents.items() if key != "kept"},
        results_folder or RESULTS,
    )
    print(f"{len(names)} methods: now run `python -m experiments report`")


def plan(args) -> str:
    """Return a Markdown table of the estimated seconds of each method."""
    import keras_coda
    from benchmarks.speed import flops
    from keras_coda.posthoc import GradCAM
    from keras_coda.utils.tables import markdown_table

    model = keras_coda.CoDANet.from_preset(args.preset, load_weights=False)
    *size, _ = keras_coda.models.preset_architecture(args.preset)["input_shape"]
    height, width = (side or 32 for side in size)
    one, total, rows = flops.prediction(flops.layers(model), 1) / SPEED, 0.0, []
    for method in methods(GradCAM("best")):
        located = args.grids * 9 * one * passes(method, (3 * height, 3 * width), 9)
        removed = args.removed * one * (129 + passes(method, (height, width), 1))
        total += located + removed
        rows.append((method.__name__, f"{located:.0f}", f"{removed:.0f}", f"{total:.0f}"))
    return markdown_table(("method", "localization, s", "removal, s", "sum so far, s"), rows, right=(1, 2, 3))


def main() -> None:
    """Run what is missing, store the results, or print the plan."""
    start = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m experiments.compare")
    parser.add_argument("mode", nargs="?", choices=("run", "report", "plan"), default="run")
    parser.add_argument("--images", default="digits", metavar="SOURCE", help="file of `python -m benchmarks.gpu pack`")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER", help="results")
    parser.add_argument("--preset", default="coda_s_cifar10", help="a network with trained weights")
    parser.add_argument("--grids", type=int, default=112, help="grids of the localization metric")
    parser.add_argument("--removed", type=int, default=512, help="images of the removal metric")
    parser.add_argument("--seconds", type=float, default=480, help="begin nothing that would end later")
    parser.add_argument("--held-out", type=int, help="number of held-out images; default: all")
    args = parser.parse_args()
    if args.mode == "report":
        return report(args.out)
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    if args.mode == "plan":
        return print(plan(args))
    run(args, start)


if __name__ == "__main__":
    main()
