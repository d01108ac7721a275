"""Time and memory against the batch size, rank, filters, image side and number of explained classes."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.records import RESULTS
from benchmarks.speed import measure, tasks
from keras_coda.models import presets

PICTURE = "growth.png"
_SMALL, _PAPER = "coda_xs_cifar10", "coda_s_cifar10"
_ANY_SIZE = {"input_shape": (None, None, 3)}
_COLORS = {"training": "#b2182b", "prediction": "#2166ac", "one map": "#5a9e4b", "maps": "#5a9e4b"}
_TITLES = {
    "batch": f"{_SMALL}\nagainst images in the batch",
    "rank": f"{_SMALL}, batch 32\nagainst the rank of all layers",
    "filters": f"{_SMALL}, batch 32\nagainst filters of the first layer",
    "side": f"{_PAPER}, one image\nagainst its side",
    "classes": f"{_PAPER}, batch 32\nagainst classes explained",
}


def run(quick: bool) -> dict:
    """Measure all sweeps and draw them."""
    rounds = 1 if quick else 3
    results = {name: {"time": sweep(rounds, quick)} for name, sweep in _SWEEPS.items()}
    points = [point for point in _MEMORY if not quick or point[2] <= 32]
    peaks = measure.fresh_processes("memory", [arguments for *_, arguments in points])
    for (name, series, x, _), peak in zip(points, peaks, strict=True):
        results[name].setdefault("memory", {}).setdefault(series, []).append((x, peak["total"]))
    RESULTS.mkdir(exist_ok=True)
    draw(results).savefig(RESULTS / PICTURE)
    return results


def _batch(rounds, quick):
    model, functions = tasks.network(_SMALL), {}
    for size in (1, 4) if quick else (1, 2, 4, 8, 16, 32, 64, 128):
        images, labels = tasks.batch(size)
        for kind in tasks.TASKS[:3]:
            functions[kind, size] = tasks.task(model, kind, images, labels)
        if size <= 32:
            functions["textbook prediction", size] = tasks.textbook_task(model, "prediction", images, labels)
    return _series(measure.interleave(functions, rounds, warmups=2))


def _rank(rounds, quick):
    functions = {}
    for rank in (8, 16) if quick else (8, 16, 32, 64, 128):
        functions |= _functions(rank, ranks=rank)
    return _series(measure.interleave(functions, rounds, warmups=2))


def _filters(rounds, quick):
    functions, filters = {}, presets.preset_architecture(_SMALL)["filters"]
    for factor in (0.5, 1) if quick else (0.5, 1, 2, 4):
        wider = (*(int(factor * f) for f in filters[:-1]), filters[-1])
        functions |= _functions(wider[0], with_textbook=factor <= 2, filters=wider)
    return _series(measure.interleave(functions, rounds, warmups=2))


def _functions(x, with_textbook=True, **overrides):
    """The tasks of one point of a sweep over architectures."""
    model, data = tasks.network(_SMALL, **overrides), tasks.batch(32)
    functions = {(kind, x): tasks.task(model, kind, *data) for kind in tasks.TASKS[:3]}
    if with_textbook:
        functions["textbook prediction", x] = tasks.textbook_task(model, "prediction", *data)
    return functions


def _side(rounds, quick):
    model, functions = tasks.network(_PAPER, **_ANY_SIZE), {}
    for side in (32, 64) if quick else (32, 64, 128, 256, 512):
        data = tasks.batch(1, side)
        if side <= 256:
            functions["training", side] = tasks.task(model, "training", *data)
        for kind in ("prediction", "one map"):
            functions[kind, side] = tasks.task(model, kind, *data)
        if side <= 128:
            functions["textbook prediction", side] = tasks.textbook_task(model, "prediction", *data)
    return _series(measure.interleave(functions, rounds))


def _classes(rounds, quick):
    model, data = tasks.network(_PAPER), tasks.batch(32)
    functions = {("prediction", 0): tasks.task(model, "prediction", *data)}
    for top_k in (1, 2) if quick else (1, 2, 3, 5, 10):
        functions["maps", top_k] = tasks.task(model, "maps", *data, top_k=top_k)
    return _series(measure.interleave(functions, rounds))


_SWEEPS = {"batch": _batch, "rank": _rank, "filters": _filters, "side": _side, "classes": _classes}
# Sweep, series, x, what the fresh process shall do.
_MEMORY = [
    *[
        ("batch", kind, size, {"preset": _SMALL, "kind": kind, "size": size})
        for kind in ("training", "prediction")
        for size in (8, 32, 128)
    ],
    *[
        ("side", "one map", side, {"preset": _PAPER, "kind": "one map", "size": 1, "side": side, **_ANY_SIZE})
        for side in (32, 128, 512)
    ],
    *[
        ("side", "training", side, {"preset": _PAPER, "kind": "training", "size": 1, "side": side, **_ANY_SIZE})
        for side in (32, 128, 256)
    ],
    *[
        ("classes", "maps", top_k, {"preset": _PAPER, "kind": "maps", "size": 32, "top_k": top_k})
        for top_k in (1, 2, 10)
    ],
]


def _series(seconds) -> dict[str, list]:
    """``{(series, x): seconds}`` as ``{series: [(x, median, best), ...]}``."""
    series = {}
    for (name, x), values in seconds.items():
        series.setdefault(name, []).append((x, measure.median(values), min(values)))
    return series


def draw(results: dict) -> Figure:
    """Small multiples: time above, memory below."""
    figure = Figure(figsize=(15, 6.2), dpi=144, facecolor="white", layout="constrained")
    axes = figure.subplots(2, len(results))
    for column, (name, result) in enumerate(results.items()):
        above, below = axes[:, column]
        above.set_title(_TITLES[name], fontsize=9)
        for series, points in result["time"].items():
            xs, medians = [point[0] for point in points], [point[1] for point in points]
            if name == "classes" and series == "prediction":
                above.axhline(medians[0], color=_COLORS[series], linewidth=1.2)
                above.text(10, medians[0], "prediction", color=_COLORS[series], fontsize=8, va="bottom", ha="right")
                continue
            _plot(above, xs, medians, series)
        _axes(above, name, "seconds" if column == 0 else None, is_linear=name == "classes")
        for series, points in result.get("memory", {}).items():
            _plot(below, *zip(*points, strict=True), series)
        if "memory" in result:
            _axes(below, name, "peak MB above the imports" if column == 0 else None, is_linear=name == "classes")
        else:
            below.set_axis_off()
    axes[1, 1].legend(*axes[0, 0].get_legend_handles_labels(), fontsize=9, frameon=False, loc="center left")
    return figure


def _plot(axes, xs, ys, series):
    is_textbook = series.startswith("textbook ")
    color = _COLORS[series.removeprefix("textbook ")]
    axes.plot(xs, ys, "--" if is_textbook else "-", marker="o", markersize=3, linewidth=1.2, color=color, label=series)


def _axes(axes, name, label, is_linear):
    if is_linear:
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, 10.5)
    else:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set_xlabel(name, fontsize=8)
    axes.set_ylabel(label or "", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color="0.92", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _plain(value, _position):
    return f"{value:g}"
