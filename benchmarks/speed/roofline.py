"""An estimate of a training step of S-CoDA on an H100, from operations, bytes and the published peaks.

Every product takes the longer of two times: its operations at the chip's peak, and its bytes at the chip's bandwidth.
Every elementwise pass takes the time of its bytes. Each operand is read once and each result written once, patches
included; nothing stays in a cache between two operations, and launching a kernel costs nothing. Real kernels of these
shapes (d of 54 to 576, R of 33 and 65) reach half of such an estimate at best.
"""

from benchmarks.speed import flops, tasks

BATCH = 512
BANDWIDTH = 3.35e12  # bytes per second, H100 SXM
# Operations per second of matrix products, dense, and bytes of an activation.
CHIP = {"float32": (67e12, 4), "float32 products as TF32": (494e12, 4), "mixed_bfloat16": (989e12, 2)}


def run() -> dict:
    """Estimate a step of ``coda_s_cifar10``."""
    model = tasks.network("coda_s_cifar10")
    counts, parameters = flops.layers(model), model.count_params()
    operations = flops.training(counts, BATCH)
    results = {}
    for name, (peak, size) in CHIP.items():
        work = [item for index, c in enumerate(counts) for item in _layer(c, size, is_first=index == 0)]
        work.append((0, 7 * 4 * parameters))  # Adam: reads weight, gradient and two moments, writes three of them
        moved = sum(amount for _, amount in work)
        seconds = sum(max(2 * macs / peak, amount / BANDWIDTH) for macs, amount in work)
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


def _layer(c: flops.LayerCount, size: int, is_first: bool) -> list[tuple[int, int]]:
    """Multiply-adds and bytes of everything that the layer does in a step, in turn."""
    N = BATCH * c.locations
    x, z, units, y = (size * N * n for n in (c.d, c.R, c.f * c.R, c.f))  # bytes of patches, z, Ãᵀx or Gz, answers
    kernel, gram = size * c.d * c.f * c.R, size * c.f * c.R**2
    projection, main, norms = (BATCH * n for n in (c.projection, c.main, c.norms))
    forward = [
        (0, 2 * x),  # patches: at most read, and written
        (projection, x + z),
        (main, x + kernel + units),
        (0, units + z + y),  # contraction with z
        (c.gram, kernel + gram),
        (norms, z + gram + units),
        (0, units + z + y),  # contraction with z
        (0, 3 * y),  # scale
    ]
    backward = [
        (0, 6 * y),  # scale
        (0, y + z + units),  # outer product of the answers' gradient
        (0, units + y + z),  # gradient of z through the answers
        (main, x + units + kernel),  # gradient of the kernel
        (0, y + z + units),  # outer product of the norms' gradient
        (norms, units + gram + z),  # gradient of z through the norms
        (norms, units + gram + z),  # gradient of G
        (2 * c.gram, 2 * (kernel + gram)),
        (projection, x + z),  # gradient of B
    ]
    if not is_first:
        backward += [(main, units + kernel + x), (projection, 2 * x + z), (0, 2 * x)]  # of the patches, put together
    return forward + backward
