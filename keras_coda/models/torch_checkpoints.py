"""CoDA networks from state dicts of the authors' PyTorch code."""

import itertools
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_coda.models.coda_net import LOGIT_BIAS, CoDANet
from keras_coda.models.state_dicts import read_state_dict
from keras_coda.utils.checks import require

# After an optional "state/" (.npz) and "module." (multi-GPU training): the layer's index; 0 is B, 1 is A and b.
_KEY = re.compile(r"^(?:state/)?(?:module\.)?(?:\w+\.)*?(\d+)\.weight_mod\.weighting_f\.([01])\.(weight|bias)$")


def load_coda_checkpoint(
    path: str | os.PathLike,
    *,
    strides: int | Sequence | None = None,
    rescaling: str | None = None,
    temperature: float | None = None,
    logit_bias: float | None = None,
    image_size: Sequence[int | None] | None = None,
    class_names: Sequence[str] | None = None,
    dtype=None,
) -> CoDANet:
    """Turn a state dict of the authors' format into a :class:`~keras_coda.CoDANet`.

    Channels, filters, ranks, kernel sizes and the number of classes follow from the shapes. All other settings come
    from the arguments, or else from the ``config/...`` entries of a ``.npz`` file, or else from the defaults below.

    Args:
        path: a PyTorch pickle (needs PyTorch; read with ``weights_only=True``, which runs no code of the file), or a
            ``.npz`` or ``.safetensors`` file with the same keys, optionally with the prefix ``state/``.
        strides: int, or one per layer. They do not follow from the shapes, so they must be given here or in the file.
        rescaling: ``"squash"`` (default) or ``"l2"``.
        temperature: float; default 1000, which the authors use for CIFAR-10.
        logit_bias: float; default ``log(0.1 / 0.9)``.
        image_size: ``(height, width)``; by default the network takes images of any size.
        class_names: one name per class, or None.
        dtype: dtype policy of the model.

    Returns:
        A compiled :class:`~keras_coda.CoDANet`.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if the file is a pickle and PyTorch is not installed.
        UnreadableFileError: a ``ValueError``, if the file cannot be read, or holds far more than its size.
        ValueError: if keys are missing or unknown, shapes contradict each other, or the strides are not given.

    Example:
        >>> model = load_coda_checkpoint("s_coda_sq.pt", strides=(1, 1, 2, 1, 1, 2, 1, 1, 1))  # doctest: +SKIP
    """
    path = Path(path).expanduser()
    entries = read_state_dict(path)
    config = {
        key.removeprefix("config/"): value.tolist() for key, value in entries.items() if key.startswith("config/")
    }
    state = {key: value for key, value in entries.items() if not key.startswith("config/")}
    layers = [_convert(index, tensors) for index, tensors in sorted(_group(state, path).items())]
    if strides is None:
        strides = config.get("strides")
    if strides is None:
        raise ValueError(
            "Shapes do not tell the strides of a network. Received: strides=None. "
            f"Give an int or one per layer ({len(layers)})."
        )
    channels = layers[0][1].shape[2]
    for index, ((_, before), (_, after)) in enumerate(itertools.pairwise(layers)):
        if after.shape[2] != before.shape[3]:
            raise ValueError(
                f"Every layer must take the channels of the one before. Received: layer {index} with "
                f"{before.shape[3]} filters, then one for {after.shape[2]} channels in '{path}'"
            )
    if channels % 2:
        raise ValueError(f"The first layer must take [x, 1-x], an even number of channels. Received: {channels}")
    choices: dict[str, Any] = {
        "rescaling": rescaling,
        "temperature": temperature,
        "logit_bias": logit_bias,
        "image_size": image_size,
    }
    defaults: dict[str, Any] = {
        "rescaling": "squash",
        "temperature": 1000.0,
        "logit_bias": LOGIT_BIAS,
        "image_size": (None, None),
    }
    chosen = {name: config.get(name, defaults[name]) if given is None else given for name, given in choices.items()}
    size = chosen.pop("image_size")
    is_pair = isinstance(size, (tuple, list)) and len(size) == 2
    require(is_pair, "`image_size` must be (height, width)", image_size=size)
    model = CoDANet(
        layers[-1][1].shape[3],
        input_shape=(*size, channels // 2),
        filters=[kernel.shape[3] for _, kernel in layers],
        ranks=[projection.shape[3] for projection, _ in layers],
        kernel_sizes=[kernel.shape[:2] for _, kernel in layers],
        strides=strides,
        class_names=class_names,
        dtype=dtype,
        **chosen,
    )
    for number, (projection, kernel) in enumerate(layers, start=1):
        layer = model.get_layer(f"dau_{number}")
        layer.projection.assign(projection)
        layer.kernel.assign(kernel)
    return model


def _group(state: dict[str, np.ndarray], path: Path) -> dict[int, dict[str, np.ndarray]]:
    """Group tensors by layer as ``{place: {"0.weight", "1.weight", "1.bias"}}``."""
    layers: dict[int, dict[str, np.ndarray]] = {}
    others: list[str] = []
    for key, value in state.items():
        if match := _KEY.match(key):
            layers.setdefault(int(match[1]), {})[f"{match[2]}.{match[3]}"] = value
        elif not key.startswith(("image", "logits", "linear_map", "contributions")):
            others.append(key)
    if others or not layers:
        raise ValueError(
            "Keys must look like '<layer>.weight_mod.weighting_f.<0|1>.<weight|bias>', 'module.' before them or not. "
            f"Received: {sorted(others)[:5] or 'no such key'} in '{path}'"
        )
    return layers


def _convert(index: int, tensors: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return a layer's ``projection (kh, kw, c, r)`` and ``kernel (kh, kw, c, f, r + 1)``."""
    if set(tensors) != {"0.weight", "1.weight", "1.bias"}:
        raise ValueError(
            "A layer has exactly '0.weight' (B), '1.weight' (A) and '1.bias' (b). "
            f"Received: layer {index} with {sorted(tensors)}"
        )
    kinds = {tensor.dtype.kind for tensor in tensors.values()}
    require(kinds <= set("fiu"), "Weights must be real numbers", layer=index, kinds=sorted(kinds))
    B, A, b = tensors["0.weight"], tensors["1.weight"], tensors["1.bias"]
    shapes = f"layer {index} with B {B.shape}, A {A.shape}, b {b.shape}"
    patch = math.prod(B.shape[1:])
    if B.ndim != 4 or A.shape != (*b.shape, B.shape[0], 1, 1) or b.shape[0] % patch:
        raise ValueError(f"Shapes must be (r, c, kh, kw), (d·f, r, 1, 1) and (d·f,), d = c·kh·kw. Received: {shapes}")
    r, c, kh, kw = B.shape
    f = b.shape[0] // patch
    # Row p·f + j of A is entry p of unit j's patch; p counts (c, kh, kw), c slowest.
    A = A.reshape(c, kh, kw, f, r).transpose(1, 2, 0, 3, 4)
    b = b.reshape(c, kh, kw, f, 1).transpose(1, 2, 0, 3, 4)
    return B.transpose(2, 3, 1, 0), np.concatenate([A, b], axis=-1)
