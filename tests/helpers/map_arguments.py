"""Random images and maps, as arguments of ``plot_contributions``."""

import numpy as np


def arguments(batch=2, targets=3, size=(8, 8), map_size=None, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "images": rng.integers(0, 256, (batch, *size, channels), dtype=np.uint8),
        "contributions": rng.normal(size=(batch, targets, *(map_size or size))),
        "classes": np.tile(np.arange(targets), (batch, 1)),
        "logits": rng.normal(size=(batch, targets)),
        "residuals": 10.0 ** rng.uniform(-8, -6, size=(batch, targets)),
    }
