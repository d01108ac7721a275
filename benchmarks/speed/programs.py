"""What a program that XLA compiled is made of, read from the text of its optimized HLO."""

import math
import re
from collections import Counter

from benchmarks.speed import flops

LARGE = 2**20  # elements
_WITHOUT_MEMORY = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant"}  # of their own
_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.-]+) .*\{\s*$")
_SHAPE = re.compile(r"\b(?:pred|[suf]\d+|bf16)\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = (.*?[\])}]) ([a-z][\w-]*)\(")
_CUSTOM_CALL = re.compile(r'\bcustom_call_target="([^"]+)"')
_FUSION = re.compile(r"\bfusion\(.*?\bkind=(k\w+)")
_GENERATED = re.compile(r'"kind":"(__\w+)"')  # kernels that XLA generates for a fusion, such as those of Triton
_ELEMENTWISE = {
    *("add", "subtract", "multiply", "divide", "maximum", "minimum", "exponential", "log", "power", "sqrt", "rsqrt"),
    *("negate", "abs", "sign", "tanh", "logistic", "and", "or", "not", "select", "compare", "convert", "broadcast"),
}


def unscaled_weights(counts: list[flops.LayerCount], batch: int) -> dict[str, dict]:
    """Return shape and size, by layer, of the buffer that would hold the unscaled weights of every location."""
    return {
        f"dau_{index + 1}": {"shape": [batch * c.locations, c.f, c.d], "elements": batch * c.locations * c.f * c.d}
        for index, c in enumerate(counts)
    }


def inspect(text: str, weights: dict[str, dict]) -> dict:
    """Return the buffers and fusions of a program: only instructions outside fused computations write buffers.

    Args:
        text: optimized HLO.
        weights: of :func:`unscaled_weights`, which are looked for among the buffers.
    """
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


def kernels(text: str) -> dict:
    """Return what runs the products of a program: fused computations count, since a GPU's products may be inside one.

    Args:
        text: optimized HLO.

    Returns:
        dict of ``dots`` and ``convolutions`` (numbers of instructions), ``fusions`` (numbers by kind), ``custom_calls``
        (numbers by target: calls of libraries such as cuBLAS) and ``generated`` (numbers by name: fusions for which XLA
        generates a kernel in a special way).
    """
    opcodes = Counter(match.group(2) for match in map(_INSTRUCTION.match, text.splitlines()) if match)
    return {
        "dots": opcodes["dot"],
        "convolutions": opcodes["convolution"],
        "fusions": dict(Counter(_FUSION.findall(text))),
        "custom_calls": dict(Counter(_CUSTOM_CALL.findall(text))),
        "generated": dict(Counter(_GENERATED.findall(text))),
    }


def _fused_computations(text: str) -> set[str]:
    """Names of the computations that are bodies of fusions, or of reductions and the like: they write no buffers."""
    applied = set(re.findall(r"\bto_apply=%?([\w.-]+)", text)) - set(
        re.findall(r" call\(.*?to_apply=%?([\w.-]+)", text)
    )
    return applied | set(re.findall(r"\bfusion\(.*?calls=%?([\w.-]+)", text))
