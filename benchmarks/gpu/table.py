"""The table: each task at several batch sizes and precisions, beside the peaks of the device.

A row is written as soon as it is measured, and the same command measures what is missing: with a few minutes on a
machine there is a part of the table, the first batch size first.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import records
from benchmarks.gpu import data as datasets
from benchmarks.gpu import device, hlo, networks
from benchmarks.gpu.networks import PRECISIONS
from benchmarks.gpu.step import Trainer
from benchmarks.speed import flops, measure, roofline
from keras_coda.utils.tables import markdown_table

MAPS = {"one map": 1, "ten maps": 10}
_TABLE = "table"  # <out>/table.json
_KEY = ("preset", "batch", "precision", "task")
ROUNDS, BURST = 5, 0.1  # a burst: calls without waiting between them, for at least so many seconds
_IMAGES = 4096  # on the device, to train on


class _Work(NamedTuple):
    """A task, compiled."""

    call: Callable[[], Any]  # returns what is on the device, without waiting for it
    compiled: Any
    compile_seconds: float
    images: int  # of a call
    bias: float | None  # of the logits, for tasks that explain


def run(args: argparse.Namespace, start: float) -> dict:
    """Measure the rows that are missing in ``args.out`` within the time; return the results, as in its file.

    Raises:
        ValueError: if the rows there were measured on another device or with other versions.
    """
    contents = device.described()
    before = records.read(_TABLE, args.out)
    same = ("device", "versions")
    if before and any(before[name] != contents[name] for name in same):
        found = {name: before[name] for name in same}
        raise ValueError(
            f"All rows of a table must be measured on one device, with the same versions. Received: out='{args.out}' "
            f"with {found}. Choose another folder."
        )
    contents["results"] = before["results"] if before else {"peaks": device.peaks(), "rows": []}
    rows, longest = contents["results"]["rows"], 0.0
    _write(contents, args.out)
    print(_peaks(contents["results"]["peaks"]), flush=True)
    done = {tuple(row[name] for name in _KEY) for row in rows}
    wanted = [key for key in _keys(args) if key not in done]
    for count, key in enumerate(wanted):
        began = time.monotonic()
        if began - start + longest > args.seconds:
            print(
                f"The time is over: {len(wanted) - count} rows are left, which the same command measures.", flush=True
            )
            break
        rows.append(_row(*key, contents["results"]["peaks"], args))
        longest = max(longest, time.monotonic() - began)
        contents["results"]["peak_memory_mb"] = device.peak_memory()
        _write(contents, args.out)
        print(_line(rows[-1]), flush=True)
    return contents


def _write(contents, folder):
    records.write(_TABLE, contents, folder)
    (folder / f"{_TABLE}.md").write_text(page(contents), encoding="utf-8")


def _keys(args):
    """The rows in the order in which they are measured. Maps are float32 under every dtype policy."""
    for key in itertools.product(args.batch, args.preset, args.precision, args.task):
        _, _, precision, task = key
        if not (task in MAPS and PRECISIONS[precision].policy != "float32"):
            batch, preset, *rest = key
            yield (preset, batch, *rest)


def _row(preset, batch, precision, task, peaks, args):
    row = dict(zip(_KEY, (preset, batch, precision, task), strict=True))
    # The temperature only divides the logits. At 1, those of random weights are not nearly equal to their bias.
    model = networks.network(preset, precision, temperature=1.0)
    counts = flops.layers(model)
    try:
        work = _work(model, batch, precision, task, args.chunk)
        seconds = [each * batch / work.images for each in _time(work.call)]
        residual = None if work.bias is None else networks.residual(work.call(), work.bias)
    except jax.errors.JaxRuntimeError as error:  # out of memory, most of all
        return row | {"error": str(error).splitlines()[0][:300]}
    operations, estimated = _estimates(counts, model.count_params(), batch, precision, task, peaks)
    if args.save_hlo:
        name = "-".join((Path(preset).name, str(batch), precision, task.replace(" ", "_")))
        hlo.save(work.compiled, args.out / "hlo" / f"{name}.txt.gz")
    median, best = statistics.median(seconds), min(seconds)
    return row | {
        "images_per_second": {"median": batch / median, "best": batch / best},
        "tflops": operations / median / 1e12,
        "of_peak": operations / median / peaks["flops"][precision],
        "of_roofline": estimated / median,
        "memory_mb": device.memory(work.compiled),
        "compile_seconds": round(work.compile_seconds, 2),
        "residual": residual,
        "hlo": hlo.evidence(work.compiled, counts, batch),
        "seconds": seconds,
    }


def _work(model, batch, precision, task, chunk):
    shape = model.input_shape[1:]
    if task == "training":
        images, labels = datasets.random_images(max(_IMAGES, batch), shape, model.num_classes)
        trainer = Trainer(model, images, labels, precision=precision, batch=batch, chunk=chunk, ema=0.999)
        seconds = trainer.compile()
        rates = np.full(chunk, 1e-4)
        return _Work(lambda: trainer.run(rates), trainer.compiled, seconds, chunk * batch, None)
    images = jax.device_put(datasets.random_images(batch, shape)[0])
    is_map = task in MAPS
    function, weights = networks.explainer(model, MAPS[task]) if is_map else networks.predictor(model)
    start = time.monotonic()
    with PRECISIONS[precision].scope():
        compiled = jax.jit(function).lower(weights, images).compile()
    bias = model.logit_bias if is_map else None
    return _Work(lambda: compiled(weights, images), compiled, time.monotonic() - start, batch, bias)


def _time(call):
    """Seconds of a call, several times: each the mean of a burst of calls, of which only the last one is waited for."""
    once = device.fastest(call, seconds=0.0)
    calls = max(1, round(BURST / once))

    def burst():
        for _ in range(calls):
            result = call()
        jax.block_until_ready(result)

    return [seconds / calls for seconds in measure.interleave({"burst": burst}, ROUNDS, warmups=0)["burst"]]


def _estimates(counts, parameters, batch, precision, task, peaks):
    """The operations that the task needs, and the seconds of its roofline."""
    size = PRECISIONS[precision].size
    if task == "training":
        operations, work = flops.training(counts, batch), roofline.training(counts, parameters, batch, size)
    elif task == "prediction":
        operations, work = flops.prediction(counts, batch), roofline.prediction(counts, batch, size)
    else:
        operations = flops.explanation(counts, batch, MAPS[task])
        work = roofline.explanation(counts, batch, size, MAPS[task])
    return operations, roofline.estimate(work, peaks["flops"][precision], peaks["bandwidth"])


# === Text ===


_HEAD = ("batch", "precision", "task", "images/s", "TFLOP/s", "of the peak", "of the roofline", "MB", "compiled in")


def page(contents: dict) -> str:
    """Return the results as Markdown."""
    results, text = contents["results"], "# Measured on " + contents["device"]["kind"] + "\n\n"
    text += f"`{contents['command']}`, {contents['date']}; "
    text += ", ".join(f"{name} {number}" for name, number in contents["versions"].items()) + ". "
    text += _peaks(results["peaks"]) + "\n"
    order = {name: index for index, name in enumerate((*PRECISIONS, "training", "prediction", *MAPS))}
    rows = sorted(results["rows"], key=lambda row: (row["batch"], order[row["precision"]], order[row["task"]]))
    for preset in sorted({row["preset"] for row in rows}):
        own = [row for row in rows if row["preset"] == preset]
        table = markdown_table((*_HEAD, "residual"), [_cells(row) for row in own], right=range(3, len(_HEAD) + 1))
        text += f"\n## `{preset}`\n\n{table}\n\n"
        text += markdown_table(
            ("batch", "precision", "task", "compiled program"),
            [(*_cells(row)[:3], hlo.summary(row["hlo"])) for row in own if "hlo" in row],
        )
        text += "\n"
    return text


def _cells(row):
    key = [row["batch"], row["precision"], row["task"]]
    if "error" in row:
        return [*key, row["error"], *[""] * 6]
    speed, memory, residual = row["images_per_second"]["median"], row["memory_mb"], row["residual"]
    percent = [f"{100 * row[name]:.0f} %" for name in ("of_peak", "of_roofline")]
    memory = "unknown" if memory is None else f"{memory:,.0f}"
    residual = "" if residual is None else f"{residual:.0e}"
    return [
        *key,
        f"{speed:,.0f}",
        f"{row['tflops']:.2f}",
        *percent,
        memory,
        f"{row['compile_seconds']:.1f} s",
        residual,
    ]


def _line(row):
    return f"{row['preset']}  " + "  ".join(f"{cell}" for cell in _cells(row) if cell != "")


def _peaks(peaks):
    rates = ", ".join(f"{rate / 1e12:.2f} TFLOP/s {name}" for name, rate in peaks["flops"].items())
    return f"Peaks: {rates}; {peaks['bandwidth'] / 1e9:,.0f} GB/s."
