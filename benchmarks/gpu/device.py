"""The device of JAX: what it is, its peaks, and the memory of a compiled program."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks import records
from benchmarks.gpu.networks import PRECISIONS, Precision

PACKAGES = ("keras-coda", "keras", "jax", "jaxlib", "numpy")
SECONDS = 0.02  # of the products that are measured, at least: longer than a device needs to start one
REPEATED = 0.2  # seconds for which calls are repeated, to find the fastest
_LARGEST = 8192
COPIED = 2**26  # float32 numbers of the array that is copied: 256 MB


def described(program: str = "benchmarks.gpu") -> dict:
    """Return what a record begins with: command (of ``program``), date, machine, device and versions."""
    device = jax.devices()[0]
    about = {"device": {"kind": device.device_kind, "platform": device.platform, "count": jax.device_count()}}
    return records.described(program, quick=False, packages=PACKAGES) | about


def peaks() -> dict:
    """Measure the device's peaks.

    Returns:
        dict of ``flops``, operations per second of a large matrix product by precision, and ``bandwidth``, bytes per
        second of a large copy, read and written.
    """
    results = {"flops": {name: _product(precision) for name, precision in PRECISIONS.items()}}
    values = jnp.ones(COPIED, "float32")
    add = jax.jit(lambda values: values + 1)  # a copy by name might be left out
    return results | {"bandwidth": 2 * values.nbytes / fastest(lambda: add(values))}


def fastest(function: Callable, seconds: float | None = None) -> float:
    """Return the seconds of the fastest of several calls, after one to warm up."""
    jax.block_until_ready(function())
    times, end = [], time.perf_counter() + (REPEATED if seconds is None else seconds)
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return min(times)


def memory(compiled) -> float | None:
    """Return the MB (2^20 bytes) that a compiled program needs, its arguments included, as XLA planned it."""
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    total = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return round((total - plan.alias_size_in_bytes) / 2**20, 1)


def peak_memory() -> float | None:
    """Return the MB that this process had in use on the device at most; None if the device does not say."""
    stats = jax.devices()[0].memory_stats()
    return round(stats["peak_bytes_in_use"] / 2**20, 1) if stats and "peak_bytes_in_use" in stats else None


def _product(precision: Precision) -> float:
    """Operations per second of a square product, which grows until it takes long enough."""
    with precision.scope():
        multiply = jax.jit(lambda a, b: a @ b)
        side = 1024
        while True:
            a, b = (jax.random.normal(jax.random.key(seed), (side, side), precision.dtype) for seed in (0, 1))
            seconds = fastest(lambda a=a, b=b: multiply(a, b))
            if seconds > SECONDS or side >= _LARGEST:
                return 2 * side**3 / seconds
            side *= 2
