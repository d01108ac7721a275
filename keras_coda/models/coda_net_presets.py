"""The table of CoDANet architectures that have a name.

This module imports nothing but the standard library: the command line loads it without TensorFlow.
"""

import difflib
import math
from typing import Any

# Filters, ranks, kernel sizes and strides of each layer. The first two networks are the published ones (CVPR 2021,
# supplement). The first is pooled so that its maps show no grid; the published one is strided. The last two are this
# package's own and train on a CPU.
_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "coda_s_cifar10": {
        "description": "The paper's S-CoDA-SQ for CIFAR-10, with pooled down-sampling.",
        "config": {
            "num_classes": 10,
            "input_shape": (32, 32, 3),
            "filters": (16, 16, 32, 32, 32, 64, 64, 64, 10),
            "ranks": (32, 32, 64, 64, 64, 64, 64, 64, 64),
            "kernel_sizes": (3, 3, 3, 3, 3, 3, 3, 3, 1),
            "strides": (1, 1, 2, 1, 1, 2, 1, 1, 1),
            "downsampling": "pooled",
            "temperature": 1000.0,
        },
    },
    "coda_l_imagenet100": {
        "description": "The paper's L-CoDA-SQ for 100 classes of ImageNet.",
        "config": {
            "num_classes": 100,
            "input_shape": (240, 240, 3),
            "filters": (16, 32, 32, 64, 64, 64, 64, 64, 100),
            "ranks": (64, 64, 64, 128, 128, 128, 256, 256, 256),
            "kernel_sizes": (7, 3, 3, 3, 3, 3, 3, 3, 3),
            "strides": (3, 1, 1, 2, 1, 1, 2, 1, 1),
            "temperature": 100000.0,
        },
    },
    "coda_xs_cifar10": {
        "description": "A smaller network for CIFAR-10 that trains on a CPU.",
        "config": {
            "num_classes": 10,
            "input_shape": (32, 32, 3),
            "filters": (16, 32, 32, 64, 64, 64, 10),
            "ranks": (16, 16, 16, 32, 32, 32, 32),
            "kernel_sizes": (3, 3, 3, 3, 3, 3, 1),
            "strides": (1, 2, 1, 2, 1, 1, 1),
            "temperature": 10000.0,
        },
    },
    "coda_digits": {
        "description": "A network for 8x8 digits that trains in seconds.",
        "config": {
            "num_classes": 10,
            "input_shape": (8, 8, 1),
            "filters": (16, 24, 10),
            "ranks": (8, 12, 12),
            "kernel_sizes": (3, 3, 3),
            "strides": (1, 1, 1),
            "temperature": 50.0,
        },
    },
}


def names() -> tuple[str, ...]:
    """Return the names of all presets."""
    return tuple(_ARCHITECTURES)


def description(name: str) -> str:
    """Return one sentence that describes a preset."""
    return _ARCHITECTURES[name]["description"]


def architecture(name: str) -> dict:
    """Return the constructor arguments of a preset's :class:`~keras_coda.CoDANet`."""
    return dict(_ARCHITECTURES[name]["config"])


def count_parameters(name: str) -> int:
    """Return a preset's number of parameters, without building the network."""
    config = architecture(name)
    sizes = [(size, size) for size in config["kernel_sizes"]]
    shapes = weight_shapes(config["input_shape"][-1], config["filters"], config["ranks"], sizes)
    return sum(map(math.prod, shapes))


def weight_shapes(channels: int, filters, ranks, kernel_sizes) -> list[tuple[int, ...]]:
    """Return the shapes of a network's weights, layer by layer: B, then A and b of all units in one array.

    Args:
        channels: of images.
        filters: ints, one per layer.
        ranks: ints, one per layer.
        kernel_sizes: pairs of ints, one per layer.
    """
    shapes, channels = [], 2 * channels
    for units, rank, size in zip(filters, ranks, kernel_sizes, strict=True):
        shapes += [(*size, channels, rank), (*size, channels, units, rank + 1)]
        channels = units
    return shapes


def check_name(name: str, known: tuple[str, ...] = tuple(_ARCHITECTURES)) -> str:
    """Return ``name`` if it is a known one, or raise the ``ValueError`` that lists similar names."""
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Presets: {list(known)}."
    raise ValueError(f"A preset is one of this package's names or an existing folder. Received: {name!r}. {hint}")
