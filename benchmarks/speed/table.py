"""The main table: each task by the package and by the textbook, compared with the machine's matmul peak."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks.speed import flops, measure, tasks, textbook

PRESETS = ("coda_s_cifar10", "coda_xs_cifar10")
BATCH = 32
_ROUNDS = {"coda_s_cifar10": 4, "coda_xs_cifar10": 8}


def run(quick: bool) -> dict:
    """Measure both networks."""
    results = {preset: _network(preset, 1 if quick else _ROUNDS[preset]) for preset in PRESETS}
    for preset in PRESETS[1:] if quick else PRESETS:
        rows = results[preset]["rows"]
        memory = measure.fresh_processes("memory", [{"preset": preset, **row["memory_arguments"]} for row in rows])
        for row, peak in zip(rows, memory, strict=True):
            row["memory"] = peak
            print(f"{preset} {row['name']}: {peak['per_image']:.1f} MB per image", flush=True)
    return results


def _network(preset, rounds):
    model = tasks.network(preset)
    images, labels = tasks.batch(BATCH)
    counts = flops.layers(model)
    work, rows = {}, []

    def add(name, kind, function, to_textbook=True, **memory_arguments):
        work[name] = function
        rows.append(
            {
                "name": name,
                "kind": kind,
                "compared": f"textbook {kind}" if to_textbook else kind,
                "memory_arguments": {"kind": kind, **memory_arguments},
            }
        )

    agreement = _agreement(model, images[:4], labels[:4])  # without graphs, gradients by the textbook take gigabytes
    for kind in tasks.TASKS:
        add(kind, kind, tasks.task(model, kind, images, labels))
        add(f"textbook {kind}", kind, tasks.textbook_task(model, kind, images, labels), textbook=True)
    bfloat16 = tasks.network(preset, dtype="mixed_bfloat16")
    for kind in ("training", "prediction"):
        function = tasks.task(bfloat16, kind, images, labels)
        add(f"mixed_bfloat16 {kind}", kind, function, False, dtype="mixed_bfloat16")
    accumulating = tasks.network(preset, optimizer=keras.optimizers.Adam(1e-3, gradient_accumulation_steps=2))
    halves = [
        tasks.task(accumulating, "training", images[half], labels[half])
        for half in (slice(BATCH // 2), slice(BATCH // 2, None))
    ]
    add("accumulating training", "training", lambda: [half() for half in halves], False, accumulate=2)
    xla = tasks.network(preset, jit_compile=True)
    for kind in tasks.TASKS[:3]:
        add(f"XLA {kind}", kind, tasks.task(xla, kind, images, labels), False, jit_compile=True)

    # Two calls before: the accumulating optimizer's second step, Keras' second trace.
    seconds = measure.interleave(work | measure.matmuls(), rounds, warmups=2)
    peaks = measure.peaks(seconds)
    for row in rows:
        name, kind = row["name"], row["kind"]
        operations = tasks.operations(counts, kind, BATCH)
        median, best = measure.median(seconds[name]), min(seconds[name])
        to_prediction = "textbook prediction" if name.startswith("textbook") else "prediction"
        row |= {
            "images_per_second": {"median": BATCH / median, "best": BATCH / best},
            "of_peak": {
                "median": measure.median(operations / t / peak for t, peak in zip(seconds[name], peaks, strict=True)),
                "best": operations / best / max(peaks),
            },
            "speedup": measure.ratio(seconds, row["compared"], to=name),
            "to_prediction": measure.ratio(seconds, name, to=to_prediction),
        }
        print(f"{preset} {name}: {BATCH / median:.1f} images/s, {100 * row['of_peak']['median']:.0f} %", flush=True)
    return {
        "gflops_per_image": {kind: tasks.operations(counts, kind, BATCH) / BATCH / 1e9 for kind in tasks.TASKS},
        "parameters": model.count_params(),
        "peak_gflops": {"median": measure.median(peaks) / 1e9, "best": max(peaks) / 1e9},
        "agreement": agreement,
        "rounds": rounds,
        "rows": rows,
        "seconds": seconds,
    }


def _agreement(model, images, labels):
    """The largest difference between the package and the textbook, relative to the largest value.

    Of maps and of gradients: the logits of random weights hardly differ from their bias.
    """
    ours = model.explain(images, top_k=2, verbose=False)
    _, _, maps = (tensor.numpy() for tensor in textbook.explainer(model)(images, ours.classes.shape[1]))
    gradients = []
    for network in (model, textbook.textbook(model)):
        with tf.GradientTape() as tape:
            loss = model.loss(labels, network(images, training=True))
        gradients.append(tape.gradient(loss, [variable.value for variable in model.trainable_variables]))
    return {
        "maps": _difference(ours.contributions, maps),
        "gradients": max(_difference(each.numpy(), other.numpy()) for each, other in zip(*gradients, strict=True)),
    }


def _difference(values, others):
    return float(np.abs(values - others).max() / np.abs(others).max())
