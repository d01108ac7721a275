"""A check of XLA's optimized HLO: no buffer holds unscaled weights, and chains of elementwise operations are fused."""

import tensorflow as tf

from benchmarks.speed import flops, programs, roofline, tasks
from benchmarks.speed.table import BATCH
from keras_coda.explanations.compiled import compiled_explainer

_PRESET = "coda_xs_cifar10"


def run(quick: bool) -> dict:
    """Compile prediction, training step and explanations, and inspect the compiled programs."""
    model = tasks.network(_PRESET, jit_compile=True)
    images, labels = (tf.constant(array) for array in tasks.batch(BATCH))
    model.train_on_batch(images, labels)  # builds optimizer and metrics, whose variables the step takes
    explain = compiled_explainer(model).decomposition.explain
    functions = {
        "prediction": lambda: model(images, training=False),
        "training": lambda: model.train_step((images, labels)),
        "one map": lambda: explain(images, top_k=1),
        "ten maps": lambda: explain(images, top_k=10),
    }
    weights = programs.unscaled_weights(flops.layers(model), BATCH)
    found = {name: programs.inspect(_optimized(function), weights) for name, function in functions.items()}
    for name, program in found.items():
        print(name, program, flush=True)
    estimates = roofline.run(tasks.network(roofline.PRESET))
    return {"preset": _PRESET, "weights": weights, "programs": found, "roofline": estimates}


def _optimized(function) -> str:
    compiled = tf.function(function, jit_compile=True, autograph=False)
    return compiled.experimental_get_compiler_ir()(stage="optimized_hlo")
