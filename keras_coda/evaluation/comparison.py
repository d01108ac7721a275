"""Exact contribution maps and other explainers beside each other, by both metrics."""

import dataclasses
import json
import os
import sys
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras

from keras_coda.evaluation.datasets import check_dataset, labeled_batches
from keras_coda.evaluation.localization_grids import LocalizationResult, localization, of_any_size
from keras_coda.evaluation.removal import PixelRemovalResult, pixel_removal
from keras_coda.explanations.explainers import Explainer, name_of
from keras_coda.posthoc.methods import get
from keras_coda.posthoc.methods import methods as all_methods
from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import require
from keras_coda.utils.hashing import digest, digest_of_model
from keras_coda.visualization import metrics

ARGUMENTS = "arguments.json"
_KINDS = {localization: LocalizationResult, pixel_removal: PixelRemovalResult}


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Both metrics of several explainers, in one order.

    Attributes:
        localization: a :class:`~keras_coda.evaluation.LocalizationResult` of each explainer.
        pixel_removal: a :class:`~keras_coda.evaluation.PixelRemovalResult` of each.
    """

    localization: tuple[LocalizationResult, ...]
    pixel_removal: tuple[PixelRemovalResult, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the explainers."""
        return tuple(result.explainer for result in self.localization)

    def table(self) -> str:
        """Return a Markdown table: mean and standard error of both metrics, the best of each column in bold."""
        first, removal = self.localization[0], self.pixel_removal[0]
        best = [max(result.mean for result in results) for results in (self.localization, self.pixel_removal)]
        rows = [
            [name, *(_cell(result, highest) for result, highest in zip(pair, best, strict=True))]
            for name, *pair in zip(self.names, self.localization, self.pixel_removal, strict=True)
        ]
        header = ["method", f"localization (chance {first.chance:.3f})",
                  f"pixel removal, AUC (untouched {removal.curve[0]:.3f})"]  # fmt: skip
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        rows = [header, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], *rows]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        cells = f"{first.n_grids} grids of {first.grid}x{first.grid} images"
        share = f"up to {removal.shares[-1]:.0%} of the pixels, {removal.order} important first"
        return "\n".join([*lines, "", f"Mean ± standard error; {cells}; {removal.n_images} images, {share}."])

    def __str__(self) -> str:
        return self.table()

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """Return all results as JSON, each as its own ``to_json``; write them, whole or not at all, to a ``path``."""
        results = {
            "localization": [json.loads(result.to_json()) for result in self.localization],
            "pixel_removal": [json.loads(result.to_json()) for result in self.pixel_removal],
        }
        text = json.dumps(results, allow_nan=False)
        if path is not None:
            with new_file(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        return text

    def plot(self):
        """Draw both metrics as one ``matplotlib.figure.Figure``."""
        return metrics.plot_comparison(self.localization, self.pixel_removal)


def compare(
    model: keras.Model,
    dataset: Iterable,
    methods: Sequence[str | Explainer] | None = None,
    *,
    n_grids: int = 500,
    grid: int = 3,
    confidence: float = 0.5,
    n_images: int = 1024,
    fraction: float = 0.25,
    points: int = 128,
    order: str = "least",
    batch_size: int | None = None,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    verbose: bool = True,
) -> Comparison:
    """Measure exact contribution maps and other explainers by both metrics, on the same images.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`, that localization can make grids for.
        dataset: yields (images, int labels) in batches, the same ones in the same order however often it is read.
        methods: names among :func:`~keras_coda.posthoc.methods` or explainers, whose ``__name__`` is their name. None:
            all of tf-explain's. The exact maps come first in any case.
        n_grids: see :func:`keras_coda.evaluation.localization`, also for ``grid`` and ``confidence``.
        grid: int.
        confidence: float.
        n_images: see :func:`keras_coda.evaluation.pixel_removal`, also for ``fraction``, ``points`` and ``order``.
        fraction: float.
        points: int.
        order: ``"least"`` or ``"most"``.
        batch_size: of both metrics: grids, and images, at a time.
        seed: int, of both metrics.
        out: a folder. Every result is written to it as soon as it is there, whole or not at all, and the same call
            goes on after an interruption with what is missing. Methods may be added later. None: nothing is written.
        verbose: whether to show progress.

    Returns:
        A :class:`Comparison`.

    Raises:
        ImportError: without tf-explain and OpenCV, if a method needs them.
        ValueError: as the metrics; for unknown methods or two of one name, data that differ from one reading to the
            next, and a folder that holds something else or the results of another model, data or arguments.

    Example:
        ```python
        data = keras_coda.data.load("digits")
        model = keras_coda.CoDANet.from_preset("coda_digits")
        model.fit(data.train, epochs=20)
        comparison = keras_coda.evaluation.compare(model, data.validation, ["GradCAM"], n_grids=20, n_images=128)
        print(comparison)
        comparison.plot()
        ```

    Reference:
        CVPR 2021, section 4.2.
    """
    methods = all_methods() if methods is None else methods
    rule = "`methods` must be a list of names or of functions (model, images, classes) -> maps"
    require(isinstance(methods, (list, tuple)), rule, methods=methods)
    explainers = [None, *(get(method) if isinstance(method, str) else method for method in methods)]
    names = [name_of(explainer) for explainer in explainers]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, "Methods must have different names", "Set their `__name__`", twice=twice)
    options = {
        localization: {"n_grids": n_grids, "grid": grid, "confidence": confidence, "seed": seed},
        pixel_removal: {"n_images": n_images, "fraction": fraction, "points": points, "order": order, "seed": seed},
    }
    unchanged = _Unchanged(dataset, model)
    store = None
    if out is not None:
        facts = {"model": digest_of_model(model), "dataset": unchanged.digest}
        arguments = {**facts, **options[localization], **options[pixel_removal]}
        store = _Store(Path(out).expanduser(), arguments, dict(zip(names, explainers, strict=True)))

    # One copy for all methods: localization would make and compile one for each.
    models = {localization: of_any_size(model), pixel_removal: model}
    results = {localization: [], pixel_removal: []}
    for name, explainer in zip(names, explainers, strict=True):
        for metric, found in results.items():
            result = store and store.read(metric, name)
            if result is None:
                if verbose:
                    print(f"{name}: {metric.__name__.replace('_', ' ')}")
                run = {**options[metric], "batch_size": batch_size, "verbose": verbose}
                result = metric(models[metric], unchanged, explainer=explainer, **run)
                if store:
                    store.write(metric, result)
            found.append(result)
    return Comparison(*map(tuple, results.values()))


def _cell(result, highest):
    text = f"{result.mean:.3f} ± {result.standard_error:.3f}"
    return f"**{text}**" if f"{result.mean:.3f}" == f"{highest:.3f}" else text


class _Unchanged:
    """A data set that raises if it does not give what it gave when it was read first, and is checked then."""

    def __init__(self, dataset, model):
        check_dataset(dataset)
        rule = "`dataset` must be readable several times, once for each method and metric"
        require(iter(dataset) is not dataset, rule, "Pass a list of batches, say", dataset=type(dataset).__name__)
        self._dataset, self._model = dataset, model
        self._digests = [digest(*batch) for batch in self._batches()]
        self.digest = digest(*self._digests)

    def __len__(self):
        return len(self._digests)

    def __iter__(self):
        for number, batch in enumerate(self._batches()):
            same = number < len(self) and digest(*batch) == self._digests[number]
            rule = "`dataset` must give the same images in the same order every time, so that all methods see the same"
            require(same, rule, "Do not shuffle or augment it", batch_that_differs=number)
            yield batch

    def _batches(self):
        return labeled_batches(self._dataset, self._model, batch_size=sys.maxsize)


class _Store:
    """A folder with the results of one comparison; it is checked at once and written with the first result."""

    def __init__(self, folder, arguments, explainers):
        # What a method was told is known of dataclasses, as tf-explain's methods are here; of others only the name.
        named = {name: repr(e) if dataclasses.is_dataclass(e) else name for name, e in explainers.items()}
        arguments = {**arguments, "methods": named}
        self._folder, self._arguments = folder, json.loads(json.dumps(arguments, default=float))
        files = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [folder.name] * folder.exists()
        if ARGUMENTS not in files:
            rule = "The folder must be new, empty or hold a comparison"
            require(not files, rule, "Choose another folder", out=str(folder), files=files[:10])
            return
        before, now = json.loads((folder / ARGUMENTS).read_text(encoding="utf-8")), self._arguments
        methods = before.get("methods", {})
        facts = [(name, before.get(name), value) for name, value in now.items() if name != "methods"]
        facts += [(name, methods[name], value) for name, value in named.items() if name in methods]  # others: added
        changed = ", ".join(f"{name}={new!r} (it was {old!r})" for name, old, new in facts if old != new)
        rule = "A comparison goes on with the model, data and arguments it began with"
        fix = "Repeat them as they were, or choose another folder"
        require(not changed, rule, fix, out=str(folder), changed=changed)
        self._arguments["methods"] = methods | named

    def read(self, metric, name):
        """Return a result, or None if it is not there yet."""
        path = self._path(metric, name)
        return _KINDS[metric].from_json(path) if path.exists() else None

    def write(self, metric, result):
        self._folder.mkdir(parents=True, exist_ok=True)
        with new_file(self._folder / ARGUMENTS) as temporary:
            temporary.write_text(json.dumps(self._arguments, indent=2) + "\n", encoding="utf-8")
        result.to_json(self._path(metric, result.explainer))

    def _path(self, metric, name):
        return self._folder / f"{metric.__name__}-{urllib.parse.quote(name, safe=' (),=')}.json"
