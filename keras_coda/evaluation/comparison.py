"""Exact contribution maps and other explainers, compared by all metrics."""

import contextlib
import dataclasses
import inspect
import math
import os
import sys
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import keras

from keras_coda.evaluation.datasets import check_dataset, labeled_batches, require_one_label
from keras_coda.evaluation.grids import Grid, choose
from keras_coda.evaluation.localization_grids import LocalizationResult, prepare_localization
from keras_coda.evaluation.removal import PixelRemovalResult, prepare_pixel_removal
from keras_coda.evaluation.results import Result
from keras_coda.explanations.explainers import Explainer, name_of
from keras_coda.posthoc.methods import get
from keras_coda.posthoc.methods import methods as all_methods
from keras_coda.utils.checks import num_classes_of, require
from keras_coda.utils.errors import NotEnoughImagesError
from keras_coda.utils.hashing import digest, digest_of_model
from keras_coda.utils.records import to_json
from keras_coda.utils.run_folder import RunFolder
from keras_coda.utils.tables import markdown_table, to_html
from keras_coda.visualization import metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARGUMENTS = "arguments.json"


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric as :func:`compare` uses it.

    Attributes:
        result: the class of its results. It says how they are shown, see :class:`~keras_coda.evaluation.Result`.
        prepare: a function ``(model, dataset, **options)`` that does once what all explainers need, and returns a
            function from an explainer to its result. Its keyword arguments, with or without defaults, are a choice of
            those of :func:`compare`.
    """

    result: type[Result]
    prepare: Callable[..., Callable[[Explainer | None], Result]]


# The metrics of a comparison. The names are those of its attributes, and the files' in the folder of a comparison.
METRICS: dict[str, Metric] = {
    "localization": Metric(LocalizationResult, prepare_localization),
    "pixel_removal": Metric(PixelRemovalResult, prepare_pixel_removal),
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """The results of all metrics for several explainers.

    Attributes:
        results: for each metric that was measured, by name, the results of all explainers in the same order.
        notes: why a metric was not measured, a sentence for each that is missing.
    """

    results: Mapping[str, tuple[Result, ...]]
    notes: tuple[str, ...] = ()

    @property
    def localization(self) -> tuple[LocalizationResult, ...]:
        """A :class:`~keras_coda.evaluation.LocalizationResult` for each explainer; empty if it was not measured."""
        return cast(tuple[LocalizationResult, ...], self.results.get("localization", ()))

    @property
    def pixel_removal(self) -> tuple[PixelRemovalResult, ...]:
        """A :class:`~keras_coda.evaluation.PixelRemovalResult` for each explainer."""
        return cast(tuple[PixelRemovalResult, ...], self.results["pixel_removal"])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the explainers."""
        return tuple(result.explainer for result in next(iter(self.results.values())))

    def table(self) -> str:
        """Return a Markdown table: mean and standard error of every metric, the best of each column in bold."""
        columns = list(self.results.values())
        cells = [[_cell(result, max(other.mean for other in results)) for result in results] for results in columns]
        head = ("method", *(results[0].heading for results in columns))
        table = markdown_table(head, zip(self.names, *cells, strict=True), right=range(1, len(head)))
        notes = "; ".join(results[0].footnote for results in columns)
        return "\n\n".join([table, f"Mean ± standard error; {notes}.", *self.notes])

    def finding(self) -> str:
        """Return a sentence for each metric: how far the first explainer is ahead of the best other one, or behind it.

        Empty if there is no other one.
        """
        sentences = []
        for metric, (first, *others) in self.results.items():
            if others:
                best = max(others, key=lambda result: result.mean)
                mean, error = first.difference(best)
                ahead = f"{abs(mean):.3f}" + ("" if math.isnan(error) else f" ± {error:.3f}")
                sentences.append(
                    f"{metric.replace('_', ' ').capitalize()}: {first.explainer} {first.mean:.3f}, {ahead} "
                    f"{'above' if mean >= 0 else 'below'} the best other method, {best.explainer}."
                )
        return " ".join(sentences)

    def __str__(self) -> str:
        """The finding, then the table."""
        return "\n\n".join(part for part in (self.finding(), self.table()) if part)

    def __repr__(self) -> str:
        return f"<Comparison: {', '.join(self.names)} by {', '.join(self.results)}>"

    def _repr_html_(self) -> str:
        return to_html(str(self))

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """Return all results as JSON, each as its own ``to_json``, and also write them to ``path`` if it is given.

        The file appears whole or not at all.
        """
        return to_json(self.results, path)

    def plot(self) -> "Figure":
        """Draw all metrics as one ``matplotlib.figure.Figure``."""
        return metrics.plot_comparison(*self.results.values())


def compare(
    model: keras.Model,
    dataset: Iterable,
    methods: Sequence[str | Explainer] | None = None,
    *,
    n_grids: int = 500,
    grid: Grid | None = None,
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
    """Measure exact contribution maps and other explainers by all metrics, on the same images.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`, that :func:`localization` accepts.
        dataset: yields (images, int labels) in batches. It must yield the same images in the same order every time it
            is read.
        methods: names among :func:`keras_coda.posthoc.methods`, or explainers, which need different ``__name__``. None:
            all methods of that list. The exact maps always come first.
        n_grids: see :func:`keras_coda.evaluation.localization`, also for ``grid`` and ``confidence``.
        grid: int, pair or None.
        confidence: float.
        n_images: see :func:`keras_coda.evaluation.pixel_removal`, also for ``fraction``, ``points`` and ``order``.
        fraction: float.
        points: int.
        order: ``"least"`` or ``"most"``.
        batch_size: grids, or images, per batch.
        seed: int, of all metrics.
        out: a folder. Every result is written to it as soon as it has been measured, and the same call resumes an
            interrupted comparison with the results that are missing. More methods may be added later. None: nothing is
            written.
        verbose: whether to show progress.

    Returns:
        A :class:`Comparison`. Without localization, and a note that says why, if there are not enough images that are
        classified correctly and confidently for one grid.

    Raises:
        ImportError: if a method needs tf-explain or OpenCV, as all do on TensorFlow, and they are not installed.
        ValueError: as the metrics; for unknown methods or two with the same name, data that differ from one reading to
            the next, and a folder that holds something else or the results of another model, data or arguments.

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
    require_one_label(model, "A comparison")
    methods = all_methods() if methods is None else methods
    rule = "`methods` must be a list of names or of functions (model, images, classes) -> maps"
    require(isinstance(methods, (list, tuple)), rule, methods=methods)
    listed: list[Explainer | None] = [None, *(get(method) if isinstance(method, str) else method for method in methods)]
    names = [name_of(explainer) for explainer in listed]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, "Methods must have different names", "Set their `__name__`", twice=twice)
    explainers = dict(zip(names, listed, strict=True))
    with contextlib.suppress(NotEnoughImagesError):  # only one class, which leads to a note below
        grid = choose(grid, num_classes_of(model))
    measured = {"n_grids": n_grids, "grid": grid, "confidence": confidence, "n_images": n_images, "fraction": fraction,
                "points": points, "order": order, "seed": seed}  # fmt: skip
    unchanged = _Unchanged(dataset, model)
    store = None
    if out is not None:
        store = _Store(out, {"model": digest_of_model(model), "dataset": unchanged.digest, **measured}, explainers)

    options = {**measured, "batch_size": batch_size, "verbose": verbose}
    measures: dict[str, Callable[[Explainer | None], Result]] = {}
    results: dict[str, list[Result]] = {name: [] for name in METRICS}
    notes: dict[str, str] = {}
    for name, explainer in explainers.items():
        for kind, metric in METRICS.items():
            if kind in notes:
                continue
            result = store.read(kind, name) if store else None
            if result is None:
                if verbose:
                    print(f"{name}: {kind.replace('_', ' ')}")
                if kind not in measures:  # only now: a finished comparison needs no predictions
                    try:
                        measures[kind] = _prepare(metric, model, unchanged, options)
                    except NotEnoughImagesError as error:
                        notes[kind] = f"Without {kind.replace('_', ' ')}: {error}"
                        continue
                result = measures[kind](explainer)
                if store:
                    store.write(kind, result)
            results[kind].append(result)
    return Comparison({kind: tuple(found) for kind, found in results.items() if found}, tuple(notes.values()))


def _prepare(metric, model, dataset, options):
    taken = inspect.signature(metric.prepare).parameters
    return metric.prepare(model, dataset, **{name: value for name, value in options.items() if name in taken})


def _cell(result, highest):
    return f"**{result.text}**" if f"{result.mean:.3f}" == f"{highest:.3f}" else result.text


class _Unchanged:
    """A data set that is checked when it is read first, and raises if a later reading yields something else."""

    def __init__(self, dataset, model):
        check_dataset(dataset)
        rule = "`dataset` must be readable several times, once for each method and metric"
        is_fit = iter(dataset) is not dataset
        require(is_fit, rule, "Pass a list of batches instead of a generator", dataset=type(dataset).__name__)
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
    """The folder of one comparison. It is checked at once; nothing is written before the first result."""

    def __init__(self, out, arguments, explainers):
        # The arguments of a dataclass are in its repr; of other explainers only the name can be compared.
        named = {name: repr(e) if dataclasses.is_dataclass(e) else name for name, e in explainers.items()}
        arguments = {**arguments, "methods": named}
        self._folder = RunFolder(out, arguments, file=ARGUMENTS, what="comparison", additive="methods")

    def read(self, kind: str, name: str) -> Result | None:
        """Return a result, or None if it is not there yet."""
        path = self._path(kind, name)
        return METRICS[kind].result.from_json(path) if path.exists() else None

    def write(self, kind, result):
        self._folder.begin()
        result.to_json(self._path(kind, result.explainer))

    def _path(self, kind, name):
        return self._folder.path / f"{kind}-{urllib.parse.quote(name, safe=' (),=')}.json"
