"""A check of XLA's optimized HLO: no buffer holds unscaled weights, and chains of elementwise operations are fused."""

import math
import re
from collections import Counter

import tensorflow as tf

from benchmarks.speed import flops, roofline, tasks
from benchmarks.speed.table import BATCH
from keras_coda.explanations.compiled import compiled_explainer

_PRESET = "coda_xs_cifar10"
LARGE = 2**20  # elements
_WITHOUT_MEMORY = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant"}  # of their own
_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.-]+) .*\{\s*$")
_SHAPE = re.compile(r"\b(?:pred|[suf]\d+|bf16)\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = (.*?[\])}]) ([a-z][\w-]*)\(")
_ELEMENTWISE = {
    *("add", "subtract", "multiply", "divide", "maximum", "minimum", "exponential", "log", "power", "sqrt", "rsqrt"),
    *("negate", "abs", "sign", "tanh", "logistic", "and", "or", "not", "select", "compare", "convert", "broadcast"),
}


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
    counts = flops.layers(model)
    weights = {
        f"dau_{index + 1}": {
            "shape": [BATCH * c.locations, c.f, c.d],
            "elements": BATCH * c.locations * c.f * c.d,
        }
        for index, c in enumerate(counts)
    }
    programs = {name: _inspect(_optimized(function), weights) for name, function in functions.items()}
    for name, program in programs.items():
        print(name, program, flush=True)
    return {"preset": _PRESET, "weights": weights, "programs": programs, "roofline": roofline.run()}


def _optimized(function) -> str:
    compiled = tf.function(function, jit_compile=True, autograph=False)
    return compiled.experimental_get_compiler_ir()(stage="optimized_hlo")


def _inspect(text: str, weights: dict) -> dict:
    """Buffers and fusions of a program: only instructions outside fused computations write buffers."""
    layers = {}
    for name, each in weights.items():
        layers.setdefault(each["elements"], []).append(name)
    buffers, opcodes, outside = Counter(), Counter(), Counter()
    bodies, in_body = _fused_computations(text), False
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            in_body = header.group(1) in bodies
        match = _INSTRUCTION.match(line)
        if not match or in_body:
            continue
        shapes, opcode = match.groups()
        opcodes[opcode] += 1
        if opcode in _WITHOUT_MEMORY:
            continue
        for shape in _SHAPE.findall(shapes):
            elements = math.prod(int(size) for size in shape.split(",") if size)
            buffers[elements, shape] += 1
            if opcode in _ELEMENTWISE and elements >= LARGE:
                outside[f"{opcode} [{shape}]"] += 1
    found = {elements for elements, _ in buffers if elements in layers}
    return {
        "largest_buffers": [{"shape": shape, "elements": size} for size, shape in sorted(buffers, reverse=True)[:6]],
        "weights_found": sorted({name for elements in found for name in layers[elements]}),
        "fusions": opcodes["fusion"],
        "elementwise_outside_fusions": dict(outside),
        "instructions": sum(opcodes.values()),
        "opcodes": dict(opcodes.most_common(14)),
    }


def _fused_computations(text: str) -> set[str]:
    """Names of the computations that are bodies of fusions, or of reductions and the like: they write no buffers."""
    applied = set(re.findall(r"\bto_apply=%?([\w.-]+)", text)) - set(
        re.findall(r" call\(.*?to_apply=%?([\w.-]+)", text)
    )
    return applied | set(re.findall(r"\bfusion\(.*?calls=%?([\w.-]+)", text))
