"""Preset folders: the configuration of a trained network, its weights, and facts about it."""

import hashlib
import json
import os
from pathlib import Path

from keras_coda.models.coda_net_presets import architecture as architecture
from keras_coda.models.coda_net_presets import check_name
from keras_coda.models.coda_net_presets import count_parameters as count_parameters
from keras_coda.models.coda_net_presets import description as description
from keras_coda.models.coda_net_presets import names as names
from keras_coda.utils.atomic import new_folder

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.weights.h5"
_SHIPPED = Path(__file__).parent / "shipped"


def is_name(name_or_folder: str | os.PathLike) -> bool:
    """Whether a preset is given by its name, and no folder of that name hides it."""
    is_folder = (Path(name_or_folder).expanduser() / CONFIG_FILE).is_file()
    return str(name_or_folder) in names() and not is_folder


def folder(name_or_folder: str | os.PathLike) -> Path | None:
    """Return the folder with a preset's weights, or None for an architecture that ships without.

    Raises:
        ValueError: if it is neither a preset's name nor a preset folder.
    """
    path = Path(name_or_folder).expanduser()
    if (path / CONFIG_FILE).is_file():
        return path
    if path.is_dir() and str(name_or_folder) not in names():
        raise ValueError(
            f"A preset folder holds '{CONFIG_FILE}' and '{WEIGHTS_FILE}', as `save_to_preset` writes them. "
            f"Received: '{path}' with {sorted(file.name for file in path.iterdir())[:10]}"
        )
    shipped = _SHIPPED / check_name(name_or_folder)
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
