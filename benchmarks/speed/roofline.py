"""An estimate of the time of the work on a machine, from operations, bytes, and the machine's two peaks.

Every product takes the longer of two times: its operations at the machine's peak, and its bytes at its bandwidth.
Every elementwise pass takes the time of its bytes. Each operand is read once and each result written once, patches
included; nothing stays in a cache between two operations, and launching a kernel costs nothing. Real kernels of these
shapes (d of 54 to 576, R of 33 and 65) reach half of such an estimate at best.
"""

from benchmarks.speed import flops

PRESET, BATCH = "coda_s_cifar10", 512
BANDWIDTH = 3.35e12  # bytes per second, H100 SXM
# Operations per second of matrix products, dense, and bytes of an activation.
CHIP = {"float32": (67e12, 4), "float32 products as TF32": (494e12, 4), "mixed_bfloat16": (989e12, 2)}
Work = list[tuple[int, int]]  # multiply-adds and bytes of operations, in turn


def run(model) -> dict:
    """Estimate a training step of the network on an H100, by its published peaks."""
    counts, parameters = flops.layers(model), model.count_params()
    operations = flops.training(counts, BATCH)
    results = {}
    for name, (peak, size) in CHIP.items():
        work = training(counts, parameters, BATCH, size)
        moved, seconds = sum(amount for _, amount in work), estimate(work, peak, BANDWIDTH)
        results[name] = {
            "operations": operations,
            "bytes": moved,
            "intensity": operations / moved,
            "balance": peak / BANDWIDTH,
            "seconds_compute": operations / peak,
            "seconds_memory": moved / BANDWIDTH,
            "seconds": seconds,
            "images_per_second": BATCH / seconds,
            "of_peak": operations / peak / seconds,
        }
    return {"batch": BATCH, "chip": results}


def estimate(work: Work, peak: float, bandwidth: float) -> float:
    """Return the seconds of the work at a peak (operations per second) and a bandwidth (bytes per second)."""
    return sum(max(2 * macs / peak, amount / bandwidth) for macs, amount in work)


def training(counts: list[flops.LayerCount], parameters: int, batch: int, size: int) -> Work:
    """The work of a training step with Adam; ``size`` is the number of bytes of an activation."""
    work = []
    for index, c in enumerate(counts):
        work += _forward(c, batch, size) + _backward(c, batch, size, is_first=index == 0)
    return [*work, (0, 7 * 4 * parameters)]  # Adam: reads weight, gradient and two moments, writes three of them


def prediction(counts: list[flops.LayerCount], batch: int, size: int) -> Work:
    """The work of a prediction."""
    return [item for c in counts for item in _forward(c, batch, size)]


def explanation(counts: list[flops.LayerCount], batch: int, size: int, targets: int) -> Work:
    """The work of a prediction and the maps of ``targets`` classes."""
    return prediction(counts, batch, size) + [item for c in counts for item in _pullback(c, batch, size, targets)]


def _bytes(c: flops.LayerCount, batch: int, size: int) -> tuple[int, ...]:
    """Bytes of patches, z, Ãᵀx or Gz, responses, kernel and Gram matrices."""
    N = batch * c.locations
    return *(size * N * n for n in (c.d, c.R, c.f * c.R, c.f)), size * c.d * c.f * c.R, size * c.f * c.R**2


def _forward(c: flops.LayerCount, batch: int, size: int) -> Work:
    x, z, units, y, kernel, gram = _bytes(c, batch, size)
    return [
        (0, 2 * x),  # patches: at most read, and written
        (batch * c.projection, x + z),
        (batch * c.main, x + kernel + units),
        (0, units + z + y),  # contraction with z
        (c.gram, kernel + gram),
        (batch * c.norms, z + gram + units),
        (0, units + z + y),  # contraction with z
        (0, 3 * y),  # scale
    ]


def _backward(c: flops.LayerCount, batch: int, size: int, is_first: bool) -> Work:
    x, z, units, y, kernel, gram = _bytes(c, batch, size)
    projection, main, norms = (batch * n for n in (c.projection, c.main, c.norms))
    work = [
        (0, 6 * y),  # scale
        (0, y + z + units),  # outer product of the responses' gradient
        (0, units + y + z),  # gradient of z through the responses
        (main, x + units + kernel),  # gradient of the kernel
        (0, y + z + units),  # outer product of the norms' gradient
        (norms, units + gram + z),  # gradient of z through the norms
        (norms, units + gram + z),  # gradient of G
        (2 * c.gram, 2 * (kernel + gram)),
        (projection, x + z),  # gradient of B
    ]
    if not is_first:
        work += [(main, units + kernel + x), (projection, 2 * x + z), (0, 2 * x)]  # of the patches, put together
    return work


def _pullback(c: flops.LayerCount, batch: int, size: int, targets: int) -> Work:
    x, z, units, y, kernel, _ = _bytes(c, batch, size)
    main, scaled = batch * c.main, 3 * targets * y  # cotangents times scale
    if targets == 1 or c.R == 1:  # one class after the other; a convolution has no dynamic weights to build first
        return [(0, scaled), *[(0, y + z + units), (main, units + kernel + x), (0, 2 * x)] * targets]
    expanded, each = size * batch * c.locations * c.f * c.d, targets * batch * c.locations * c.f * c.d  # Ã_j z
    rows = targets * x
    return [(0, scaled), (main, z + kernel + expanded), (each, expanded + targets * y + rows), (0, 2 * rows)]
