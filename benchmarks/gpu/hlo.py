"""Evidence of what a device executes: the optimized program of XLA, counted."""

import gzip
from pathlib import Path

from benchmarks.speed import flops, programs


def evidence(compiled, counts: list[flops.LayerCount], batch: int) -> dict:
    """Return what a compiled program is made of.

    Args:
        compiled: of ``jax.jit(...).lower(...).compile()``.
        counts: of :func:`benchmarks.speed.flops.layers`.
        batch: number of images.

    Returns:
        The dicts of :func:`programs.inspect` and :func:`programs.kernels` in one, and ``bytes_accessed`` and ``flops``
        by XLA's own count, in which the body of a loop counts once. None where XLA does not say.
    """
    costs = compiled.cost_analysis() or {}
    costs = costs[0] if isinstance(costs, (list, tuple)) else costs  # older versions: one for each device
    text = compiled.as_text()
    return {
        **programs.inspect(text, programs.unscaled_weights(counts, batch)),
        **programs.kernels(text),
        "bytes_accessed": costs.get("bytes accessed"),
        "flops": costs.get("flops"),
    }


def summary(found: dict) -> str:
    """Return the main figures of :func:`evidence` in a line."""
    calls = {**found["custom_calls"], **found["generated"]}
    parts = [f"{found['dots']} dots, {found['convolutions']} convolutions, {sum(found['fusions'].values())} fusions"]
    parts += [f"{count} {name}" for name, count in sorted(calls.items())]
    if found["bytes_accessed"] is not None:
        parts.append(f"{found['bytes_accessed'] / 1e9:.2f} GB accessed")
    if found["weights_found"]:
        parts.append(f"unscaled weights of {', '.join(found['weights_found'])}")
    return ", ".join(parts)


def save(compiled, file: Path) -> None:
    """Write the text of the program to a compressed file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(compiled.as_text().encode()))
