"""Explanations in bounded memory: ten thousand images from a pipeline, and images of 512 x 512 pixels."""

from benchmarks.speed import measure


def run(quick: bool) -> dict:
    """Measure each in a fresh process."""
    size = 100  # of a batch
    counts = (200, 400) if quick else (1000, 10000)
    side = 128 if quick else 512
    streams = [measure.fresh_process("stream", preset="coda_xs_cifar10", count=count, size=size) for count in counts]
    large = {
        top_k: measure.fresh_process("large_image", preset="coda_s_cifar10", side=side, top_k=top_k)
        for top_k in (1, 10)
    }
    print(streams, large, flush=True)
    return {"batch": size, "streams": streams, "side": side, "large_images": large}
