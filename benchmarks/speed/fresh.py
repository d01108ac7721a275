"""Tasks for a fresh process, in which no earlier work has raised the peak of memory; see ``measure.fresh_process``."""

import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks.speed import measure, tasks

_CALLS = 3


def memory(preset, kind, *, size=32, side=32, top_k=None, textbook=False, accumulate=1, **overrides) -> dict:
    """Peak memory of a few calls of a task, above what the process had after its imports.

    Args:
        preset: name.
        kind: one of ``tasks.TASKS``.
        size: images in a batch.
        side: of the images.
        top_k: number of classes to explain; None: as ``kind`` says.
        textbook: whether to use the textbook evaluation.
        accumulate: training steps of ``size / accumulate`` images each between two updates.
        **overrides: of the network: ``dtype``, ``jit_compile``, ``input_shape``.

    Returns:
        ``total`` and ``per_image``, in MB.
    """
    base = measure.peak_memory()
    if accumulate > 1:
        overrides["optimizer"] = keras.optimizers.Adam(1e-3, gradient_accumulation_steps=accumulate)
    model = tasks.network(preset, **overrides)
    images, labels = tasks.batch(size // accumulate, side)
    if textbook:
        work = tasks.textbook_task(model, kind, images, labels)
    else:
        work = tasks.task(model, kind, images, labels, top_k=top_k)
    for _ in range(_CALLS * accumulate):
        work()
    total = measure.peak_memory() - base
    return {"total": total, "per_image": total / size}


def stream(preset, count, size) -> dict:
    """Explain ``count`` random uint8 images out of a ``tf.data`` pipeline, ``size`` at a time."""
    base = measure.peak_memory()
    model = tasks.network(preset)

    def images(index):
        shape = (size, *model.input.shape[1:])
        return tf.cast(tf.random.stateless_uniform(shape, (0, index), 0, 256, tf.int32), tf.uint8)

    dataset = tf.data.Dataset.range(-(-count // size)).map(images).unbatch().take(count).batch(size)
    explained, residual, start = 0, 0.0, time.perf_counter()
    for explanation in model.explain_batches(dataset, verbose=False):
        explained += len(explanation)
        residual = max(residual, float(explanation.residual.max()))
    seconds = time.perf_counter() - start
    return {
        "images": explained,
        "seconds": seconds,
        "images_per_second": explained / seconds,
        "peak_mb": measure.peak_memory() - base,
        "residual": residual,
    }


def large_image(preset, side, top_k) -> dict:
    """Explain one image of ``side`` x ``side`` pixels, tracing included."""
    base = measure.peak_memory()
    model = tasks.network(preset, input_shape=(None, None, 3))
    images, _ = tasks.batch(1, side)
    start = time.perf_counter()
    explanation = model.explain(images, top_k=top_k, verbose=False)
    seconds = time.perf_counter() - start
    # With random weights and so many pixels, the residual is meaningful only relative to the sum of absolute values.
    size = np.abs(explanation.contributions).sum(axis=(2, 3)).max()
    return {
        "seconds": seconds,
        "peak_mb": measure.peak_memory() - base,
        "relative_residual": float(explanation.residual.max() / size),
    }


if __name__ == "__main__":
    functions = {"memory": memory, "stream": stream, "large_image": large_image}
    tf.constant(0)  # starts TensorFlow
    print(json.dumps(functions[sys.argv[1]](**json.loads(sys.argv[2]))))
