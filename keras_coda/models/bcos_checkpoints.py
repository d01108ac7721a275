"""B-cos networks from state dicts of the authors' PyTorch code."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_coda.layers.initial import weights_are_loaded
from keras_coda.models.architectures import densenet_layers, resnet_layers
from keras_coda.models.bcos_densenet import BcosDenseNet
from keras_coda.models.bcos_net import BcosNet
from keras_coda.models.bcos_resnet import BcosResNet
from keras_coda.models.state_dicts import read_state_dict
from keras_coda.utils.checks import check_int, require

_CONV, _SCALE, _VARIANCE = ".linear.weight", ".weight", ".running_var"  # endings of the keys of weights
_UNUSED = (".running_mean", ".num_batches_tracked")  # the norm does not subtract a mean
_MOST_STAGES = 16  # each doubles the width
_FOREIGN = ("conv1.weight", "features.conv0.weight")  # first layers of torchvision's ResNet and DenseNet


def load_bcos_checkpoint(
    path: str | os.PathLike,
    *,
    b: float = 2.0,
    max_out: int | None = None,
    groups: int | None = None,
    logit_temperature: float | None = None,
    logit_bias: float | None = None,
    image_size: Sequence[int | None] | None = None,
    class_names: Sequence[str] | None = None,
    dtype=None,
) -> BcosNet:
    """Turn a state dict of the authors' B-cos v2 code into a network.

    The architecture follows from the keys and shapes: ResNet or DenseNet, blocks, widths, groups, MaxOut, the stem, the
    number of classes and of channels. The exponent, the temperature and the bias do not: the defaults are those of the
    published networks for ImageNet. A state dict does not say which exponent its network was trained with, and another
    one gives other predictions.

    Args:
        path: a PyTorch pickle (``.pth``; needs PyTorch; read with ``weights_only=True``, which runs no code of the
            file), or a ``.npz`` or ``.safetensors`` file with the same keys. All keys may begin with ``module.`` or
            ``model.``. If some keys of a ``.npz`` file begin with ``state/``, only these are read.
        b: float, the exponent B of all layers.
        max_out: int, number of weights per channel. None: that of the file. Any other than the file's is refused.
        groups: int, groups of the 3x3 convolutions. None: that of the file. Any other than the file's is refused.
        logit_temperature: float > 0; None: 1.
        logit_bias: float; None: ``-log(num_classes - 1)``.
        image_size: ``(height, width)``; None: the network takes images of any size.
        class_names: one name per class, or None.
        dtype: dtype policy of the model.

    Returns:
        A compiled :class:`~keras_coda.BcosResNet` or :class:`~keras_coda.BcosDenseNet`.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if the file is a pickle and PyTorch is not installed.
        UnreadableFileError: a ``ValueError``, if the file cannot be read, or holds far more than its size.
        ValueError: if keys are missing or unknown, or shapes contradict each other; the message names a key.

    Example:
        >>> model = load_bcos_checkpoint("resnet_50.pth", image_size=(224, 224))  # doctest: +SKIP

    Reference:
        Böhle, Singh, Fritz, Schiele: B-cos Alignment for Inherently Interpretable CNNs and Vision Transformers (arXiv
        2306.10898).
    """
    path = Path(path).expanduser()
    state = _without_prefix(read_state_dict(path))
    network_class, config = architecture_of(state, path)
    for name, given, found in (
        ("max_out", max_out, config["max_out"]),
        ("groups", groups, config.get("groups", 1)),
    ):
        is_same = given is None or check_int(name, given) == found
        require(is_same, f"`{name}` must be that of the file, {found}", "Leave it out", **{name: given})
    size = (None, None) if image_size is None else image_size
    require(isinstance(size, (tuple, list)) and len(size) == 2, "`image_size` must be (height, width)", image_size=size)
    layers = resnet_layers(config) if network_class is BcosResNet else densenet_layers(config)
    weights = _weights(state, layers, path)
    config["input_shape"] = (*size, config["input_shape"][-1])
    temperature = 1.0 if logit_temperature is None else logit_temperature
    settings: dict[str, Any] = {"b": b, "temperature": temperature, "logit_bias": logit_bias}
    with weights_are_loaded():
        model = network_class(**config, **settings, class_names=class_names, dtype=dtype)
    for name, arrays in weights.items():
        model.get_layer(name).set_weights(arrays)
    return model


def _without_prefix(state):
    """Return the entries of a state dict, without what training programs put before all keys, and no other entries."""
    if any(key.startswith("state/") for key in state):
        state = {key.removeprefix("state/"): value for key, value in state.items() if key.startswith("state/")}
    for prefix in ("module.", "model."):
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


# === The architecture ===


def architecture_of(state: dict[str, np.ndarray], path: Path) -> tuple[type[BcosNet], dict[str, Any]]:
    """Return the class of the network that a state dict belongs to, and the arguments of its constructor.

    Args:
        state: arrays by key; only some of them, and only their shapes, are looked at.
        path: of the file, for messages.

    Raises:
        ValueError: if it is no network of these, or keys that tell the architecture are missing or contradictory.
    """
    if f"conv1{_CONV}" in state:
        return BcosResNet, _resnet_config(state)
    fix = (
        "This is a conventional network: train a B-cos network, or use a file of one"
        if any(key in state for key in _FOREIGN)
        else "Only ResNets and DenseNets can be loaded"
    )
    rule = f"A B-cos ResNet has the key 'conv1{_CONV}', a B-cos DenseNet 'features.conv0{_CONV}'"
    require(f"features.conv0{_CONV}" in state, rule, fix, keys=sorted(state)[:5], path=str(path))
    return BcosDenseNet, _densenet_config(state)


def _resnet_config(state) -> dict[str, Any]:
    units, filters = _units(state, "conv1", "bn1")
    blocks = _counts(state, r"layer(\d+)\.(\d+)\.")
    config: dict[str, Any] = {"bottleneck": "layer1.0.conv3.linear.weight" in state, "filters": filters}
    if config["bottleneck"]:
        last, planes = f"layer{len(blocks)}.0", filters * 2 ** (len(blocks) - 1)
        rows, columns = _shape(state, f"{last}.conv2{_CONV}", 4)[:2]
        config["groups"] = max(1, rows // units // columns)
        config["group_width"] = -(-64 * columns // planes)  # the network rounds down: planes * group_width // 64
    return {**_common(state, "conv1", "fc", units), "blocks": blocks, **config}


def _densenet_config(state) -> dict[str, Any]:
    first = "features.denseblock1.denselayer1"
    units, middle = _units(state, f"{first}.conv1", f"{first}.norm2")
    growth = max(1, _shape(state, f"{first}.conv2{_CONV}", 4)[0] // units)
    return {
        **_common(state, "features.conv0", "classifier", units),
        "blocks": _counts(state, r"features\.denseblock(\d+)\.denselayer(\d+)\."),
        "growth": growth,
        "filters": _shape(state, f"features.conv0{_CONV}", 4)[0] // units,
        "bottleneck_factor": max(1, middle // growth),
    }


def _common(state, first, last, units) -> dict[str, Any]:
    """Return the arguments that all architectures have."""
    key = f"{first}{_CONV}"
    _, channels, size, _ = shape = _shape(state, key, 4)
    fix = "The first layer takes [x, 1 - x]: two channels for each of the image"
    is_stem = size in (3, 7) and channels % 2 == 0
    require(is_stem, f"'{key}' must be of shape (filters, 2 * channels, k, k), k = 3 or 7", fix, shape=shape)
    return {
        "num_classes": _shape(state, f"{last}{_CONV}", 4)[0] // units,
        "input_shape": (None, None, channels // 2),
        "stem": "large" if size == 7 else "small",
        "max_out": units,
    }


def _units(state, conv, norm) -> tuple[int, int]:
    """Return the number of weights per channel, and of channels, of a convolution that a norm follows."""
    (rows, *_), (channels,) = _shape(state, conv + _CONV, 4), _shape(state, norm + _SCALE, 1)
    rule = f"'{conv}{_CONV}' must have as many filters as '{norm}{_SCALE}' entries, or a multiple of them (MaxOut)"
    require(channels and rows and rows % channels == 0, rule, filters=rows, entries=channels)
    return rows // channels, channels


def _counts(state, pattern) -> tuple[int, ...]:
    """Return how many blocks each stage has; whether their numbers have gaps shows later, by missing keys."""
    found: dict[int, set[int]] = {}
    for match in filter(None, map(re.compile(pattern).match, state)):
        found.setdefault(int(match[1]), set()).add(int(match[2]))
    is_network = 1 <= len(found) <= _MOST_STAGES
    require(is_network, f"A network has 1 to {_MOST_STAGES} stages of blocks", stages=len(found), keys=pattern)
    return tuple(len(found[stage]) for stage in sorted(found))


def _shape(state, key, rank) -> tuple[int, ...]:
    require(key in state, "A state dict must have all keys of its network", missing=key)
    shape = state[key].shape
    require(len(shape) == rank and 0 not in shape, f"'{key}' must have {rank} axes, none of them empty", shape=shape)
    return shape


# === The weights ===


def _weights(state, layers, path) -> dict[str, list[np.ndarray]]:
    """Return the weights of each layer; raise unless the state dict has exactly these, in these shapes.

    Args:
        state: arrays by key.
        layers: shapes of the weights by the authors' name of the layer.
        path: of the file, for messages.
    """
    expected: dict[str, tuple[str, tuple[int, ...], Callable[[np.ndarray], np.ndarray]]] = {}
    for layer, shapes in layers.items():
        name = layer.replace(".", "_")
        if len(shapes) == 1:  # PyTorch has filters and channels first
            height, width, channels, filters = shapes[0]
            expected[layer + _CONV] = name, (filters, channels, height, width), lambda v: v.transpose(2, 3, 1, 0)
        else:
            expected |= {layer + ending: (name, shapes[0], lambda v: v) for ending in (_SCALE, _VARIANCE)}
    missing = [key for key in expected if key not in state]
    require(not missing, "A state dict must have all keys of its network", missing=missing[:5], path=str(path))
    known = {layer + ending for layer, shapes in layers.items() if len(shapes) > 1 for ending in _UNUSED}
    unknown = [key for key in state if key not in expected and key not in known]
    fix = (
        "A norm with a bias adds constants that no pixel contributes: such networks are not supported"
        if any(key.endswith(".bias") for key in unknown)
        else ""
    )
    rule = "A state dict must have no other keys than those of its network"
    require(not unknown, rule, fix, unknown=sorted(unknown)[:5], path=str(path))
    weights: dict[str, list[np.ndarray]] = {}
    for key, (name, shape, converted) in expected.items():
        value = state[key]
        require(value.shape == shape, f"'{key}' must be of shape {shape}", shape=value.shape, path=str(path))
        require(value.dtype.kind in "fiu", f"'{key}' must have real numbers", dtype=value.dtype.name)
        is_valid = np.isfinite(value).all() and (not key.endswith(_VARIANCE) or (value >= 0).all())
        require(is_valid, f"'{key}' must be finite, and a variance not negative", path=str(path))
        weights.setdefault(name, []).append(converted(value))
    return weights
