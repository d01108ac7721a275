"""The table of architectures, and folders that hold a trained network: configuration, weights and what they mean."""

import difflib
import hashlib
import json
import os
from pathlib import Path

from keras_coda.utils.atomic import new_folder

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.weights.h5"
_SHIPPED = Path(__file__).parent / "shipped"

# Filters, ranks, kernel sizes and strides per layer, as published (CVPR 2021, supplement) but for the last two, which
# are this package's own: networks that train on a CPU.
_ARCHITECTURES = {
    "coda_s_cifar10": {
        "description": "The paper's S-CoDA-SQ for CIFAR-10.",
        "config": {
            "num_classes": 10,
            "input_shape": (32, 32, 3),
            "filters": (16, 16, 32, 32, 32, 64, 64, 64, 10),
            "ranks": (32, 32, 64, 64, 64, 64, 64, 64, 64),
            "kernel_sizes": (3, 3, 3, 3, 3, 3, 3, 3, 1),
            "strides": (1, 1, 2, 1, 1, 2, 1, 1, 1),
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
    """Names of the presets."""
    return tuple(_ARCHITECTURES)


def is_name(name_or_folder: str | os.PathLike) -> bool:
    """Whether a preset is given by its name, and no folder of that name hides it."""
    is_folder = (Path(name_or_folder).expanduser() / CONFIG_FILE).is_file()
    return str(name_or_folder) in _ARCHITECTURES and not is_folder


def description(name: str) -> str:
    """One sentence about a preset."""
    return _ARCHITECTURES[_known(name)]["description"]


def architecture(name: str) -> dict:
    """Constructor arguments of a preset's :class:`~keras_coda.CoDANet`.

    Raises:
        ValueError: for an unknown name; near matches are named.
    """
    return dict(_ARCHITECTURES[_known(name)]["config"])


def count_parameters(name: str) -> int:
    """Number of parameters of a preset, without building it."""
    config = architecture(name)
    total, channels = 0, 2 * config["input_shape"][-1]
    for units, rank, size in zip(config["filters"], config["ranks"], config["kernel_sizes"], strict=True):
        patch = size * size * channels
        total += patch * rank + units * patch * (rank + 1)  # B, then A and b of every unit
        channels = units
    return total


def folder(name_or_folder: str | os.PathLike) -> Path | None:
    """Return the folder with a preset's weights, or None for an architecture that ships without.

    Raises:
        ValueError: if it is neither a preset's name nor a preset folder.
    """
    path = Path(name_or_folder).expanduser()
    if (path / CONFIG_FILE).is_file():
        return path
    if path.is_dir() and str(name_or_folder) not in _ARCHITECTURES:
        raise ValueError(
            f"A preset folder holds '{CONFIG_FILE}' and '{WEIGHTS_FILE}', as `save_to_preset` writes them. "
            f"Received: '{path}' with {sorted(file.name for file in path.iterdir())[:10]}"
        )
    shipped = _SHIPPED / _known(name_or_folder)
    return shipped if (shipped / CONFIG_FILE).is_file() else None


def write(path: str | os.PathLike, config: dict, save_weights, **facts) -> None:
    """Write a preset folder, whole or not at all.

    Args:
        path: the folder to be; it must not exist.
        config: constructor arguments, JSON-serializable.
        save_weights: function that writes a ``.weights.h5`` file at the path it is given.
        **facts: what else to know about the network (class names, training figures), JSON-serializable.

    Raises:
        FileExistsError: if ``path`` exists.
        TypeError: if a fact is not JSON-serializable.
    """
    with new_folder(path) as temporary:
        save_weights(str(temporary / WEIGHTS_FILE))
        contents = {
            "config": config,
            "pixels": "[0, 255], any real dtype, channels last; scaled and encoded as [x, 1 - x] by the network",
            "weights_sha256": _sha256(temporary / WEIGHTS_FILE),
            **facts,
        }
        (temporary / CONFIG_FILE).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


def read(path: str | os.PathLike) -> tuple[dict, Path]:
    """Read a preset folder.

    Returns:
        ``(contents, weights)``: what ``config.json`` says and the path of the weights file.

    Raises:
        ValueError: if a file is missing, or not as it was written.
    """
    path = Path(path)
    weights = path / WEIGHTS_FILE
    try:
        contents = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
        config, sha256 = contents["config"], contents["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"'{CONFIG_FILE}' of a preset must be as `save_to_preset` wrote it. Received: '{path / CONFIG_FILE}' "
            f"({type(error).__name__}: {error})"
        ) from error
    if not isinstance(config, dict):
        raise ValueError(f"`config` in '{path / CONFIG_FILE}' must be an object. Received: config={config!r}")
    if not weights.is_file() or _sha256(weights) != sha256:
        size = f"{weights.stat().st_size} bytes" if weights.is_file() else "no such file"
        raise ValueError(
            "The weights of a preset must be as `save_to_preset` wrote them. "
            f"Received: '{weights}' ({size}), truncated or changed. Copy the folder again."
        )
    return contents, weights


def _known(name) -> str:
    if str(name) in _ARCHITECTURES:
        return str(name)
    near = difflib.get_close_matches(str(name), _ARCHITECTURES, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Presets: {list(_ARCHITECTURES)}."
    raise ValueError(f"A preset is one of this package's names or an existing folder. Received: {str(name)!r}. {hint}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
