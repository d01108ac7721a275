"""The table of architectures that have a name, and the shapes of their weights.

This module imports nothing but the standard library: the command line loads it without TensorFlow.
"""

import difflib
import math
from typing import Any

# Constructor arguments of CoDANet. The first two networks are the published ones (CVPR 2021, supplement). The first is
# pooled so that its maps show no grid; the published one is strided. The last two are this package's own and train on a
# CPU.
_CODA: dict[str, dict[str, Any]] = {
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

# The networks of B-cos v2 (arXiv 2306.10898), for ImageNet.
_BOTTLENECK = {"bottleneck": True}
_IMAGENET = {"num_classes": 1000, "input_shape": (None, None, 3)}
_RESNETS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "bcos_resnet18": ((2, 2, 2, 2), {"bottleneck": False}),
    "bcos_resnet34": ((3, 4, 6, 3), {"bottleneck": False}),
    "bcos_resnet50": ((3, 4, 6, 3), _BOTTLENECK),
    "bcos_resnet101": ((3, 4, 23, 3), _BOTTLENECK),
    "bcos_resnet152": ((3, 8, 36, 3), _BOTTLENECK),
    "bcos_resnext50_32x4d": ((3, 4, 6, 3), {**_BOTTLENECK, "groups": 32, "group_width": 4}),
}
_DENSENETS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "bcos_densenet121": ((6, 12, 24, 16), {}),
    "bcos_densenet169": ((6, 12, 32, 32), {}),
    "bcos_densenet201": ((6, 12, 48, 32), {}),
    "bcos_densenet161": ((6, 12, 36, 24), {"growth": 48, "filters": 96}),
}
_BCOS_RESNETS: dict[str, dict[str, Any]] = {
    "bcos_resnet20_cifar10": {
        "description": "A B-cos ResNet-20 for CIFAR-10 that trains on a CPU.",
        "config": {
            "num_classes": 10,
            "input_shape": (32, 32, 3),
            "blocks": (3, 3, 3),
            "bottleneck": False,
            "filters": 16,
            "stem": "small",
        },
    },
    **{
        name: {
            "description": f"The B-cos {name.removeprefix('bcos_')} for ImageNet; convert the authors' weights for it.",
            "config": {**_IMAGENET, "blocks": blocks, **more},
        }
        for name, (blocks, more) in _RESNETS.items()
    },
}
_BCOS_DENSENETS: dict[str, dict[str, Any]] = {
    name: {
        "description": f"The B-cos {name.removeprefix('bcos_')} for ImageNet; convert the authors' weights for it.",
        "config": {**_IMAGENET, "blocks": blocks, **more},
    }
    for name, (blocks, more) in _DENSENETS.items()
}

# === Shapes of weights, without building a network ===


def coda_weight_shapes(channels: int, filters, ranks, kernel_sizes) -> list[tuple[int, ...]]:
    """Return the shapes of the weights of a CoDANet, layer by layer: B, then A and b of all units in one array.

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


def _of_coda_net(config):
    sizes = [(size, size) for size in config["kernel_sizes"]]
    return coda_weight_shapes(config["input_shape"][-1], config["filters"], config["ranks"], sizes)


def resnet_layers(config: dict) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of the weights of a BcosResNet, by layer; layers have the names of the authors' modules.

    Args:
        config: arguments of the constructor.
    """
    units = config.get("max_out", 1)
    filters, groups = config.get("filters", 64), config.get("groups", 1)
    layers: dict[str, list[tuple[int, ...]]] = {}

    def conv(conv_name, norm_name, channels, filters, size, groups=1):
        layers[conv_name] = [(size, size, channels // groups, filters * units)]
        layers[norm_name] = [(filters,), (filters,)]

    channels = filters
    size = 3 if config.get("stem", "large") == "small" else 7
    conv("conv1", "bn1", 2 * config.get("input_shape", (None, None, 3))[-1], filters, size)
    for stage, count in enumerate(config.get("blocks", (3, 4, 6, 3))):
        planes = filters * 2**stage
        width = planes * config.get("group_width", 64) // 64 * groups
        for block in range(count):
            if config.get("bottleneck", True):
                last = 4 * planes
                convs = [(channels, width, 1), (width, width, 3, groups), (width, last, 1)]
            else:
                last = planes
                convs = [(channels, last, 3), (last, last, 3)]
            name = f"layer{stage + 1}.{block}"
            for number, shape in enumerate(convs, start=1):
                conv(f"{name}.conv{number}", f"{name}.bn{number}", *shape)
            if channels != last or (stage and not block):
                conv(f"{name}.downsample.0", f"{name}.downsample.1", channels, last, 1)
            channels = last
    layers["fc"] = [(1, 1, channels, config.get("num_classes", 1000) * units)]
    return layers


def densenet_layers(config: dict) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of the weights of a BcosDenseNet, see :func:`resnet_layers`."""
    units = config.get("max_out", 1)
    growth, channels = config.get("growth", 32), config.get("filters", 64)
    blocks, is_large = config.get("blocks", (6, 12, 24, 16)), config.get("stem", "large") == "large"
    size, middle = 7 if is_large else 3, config.get("bottleneck_factor", 4) * growth
    layers: dict[str, list[tuple[int, ...]]] = {}

    def conv(name, channels, filters, size=1):
        layers[name] = [(size, size, channels, filters * units)]

    def norm(name, channels):
        layers[name] = [(channels,), (channels,)]

    conv("features.conv0", 2 * config.get("input_shape", (None, None, 3))[-1], channels, size)
    if is_large:
        norm("features.norm0", channels)
    for number, count in enumerate(blocks, start=1):
        for index in range(1, count + 1):
            name = f"features.denseblock{number}.denselayer{index}"
            norm(f"{name}.norm1", channels)
            conv(f"{name}.conv1", channels, middle)
            norm(f"{name}.norm2", middle)
            conv(f"{name}.conv2", middle, growth, 3)
            channels += growth
        if number < len(blocks):
            name = f"features.transition{number}"
            norm(f"{name}.norm", channels)
            conv(f"{name}.conv", channels, channels // 2)
            channels //= 2
    norm("features.norm5", channels)
    conv("classifier", channels, config.get("num_classes", 1000))
    return layers


def resnet_weight_shapes(config: dict) -> list[tuple[int, ...]]:
    """Return the shapes of the weights of a BcosResNet with these constructor arguments."""
    return [shape for shapes in resnet_layers(config).values() for shape in shapes]


def densenet_weight_shapes(config: dict) -> list[tuple[int, ...]]:
    """Return the shapes of the weights of a BcosDenseNet with these constructor arguments."""
    return [shape for shapes in densenet_layers(config).values() for shape in shapes]


# === Lookup ===

# Registered name of a class: its architectures, and the shapes of the weights of one.
_CLASSES: dict[str, tuple[dict[str, dict[str, Any]], Any]] = {
    "keras_coda>CoDANet": (_CODA, _of_coda_net),
    "keras_coda>BcosResNet": (_BCOS_RESNETS, resnet_weight_shapes),
    "keras_coda>BcosDenseNet": (_BCOS_DENSENETS, densenet_weight_shapes),
}
_CLASS_OF = {name: class_name for class_name, (table, _) in _CLASSES.items() for name in table}


def names() -> tuple[str, ...]:
    """Return the names of all presets."""
    return tuple(_CLASS_OF)


def class_name(name: str) -> str:
    """Return the name under which the class of a preset is registered with Keras."""
    return _CLASS_OF[name]


def description(name: str) -> str:
    """Return one sentence that describes a preset."""
    return _CLASSES[class_name(name)][0][name]["description"]


def architecture(name: str) -> dict:
    """Return the arguments of the constructor of a preset's network."""
    return dict(_CLASSES[class_name(name)][0][name]["config"])


def count_parameters(name: str) -> int:
    """Return a preset's number of parameters, without building the network."""
    return sum(map(math.prod, _CLASSES[class_name(name)][1](architecture(name))))


def check_name(name: str) -> str:
    """Return ``name`` if it is a known one, or raise the ``ValueError`` that lists similar names."""
    known = names()
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Presets: {list(known)}."
    raise ValueError(f"A preset is one of this package's names or an existing folder. Received: {name!r}. {hint}")
