"""Presets: named architectures, and folders with a trained network's configuration, weights and facts about it."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TypeVar

import keras

from keras_coda.models import coda_net_presets
from keras_coda.utils.atomic import new_folder
from keras_coda.utils.checks import require

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.weights.h5"
_Network = TypeVar("_Network")
_SHIPPED = Path(__file__).parent / "shipped"
_TABLES = {"keras_coda>CoDANet": coda_net_presets}  # registered name of a class -> the module with its architectures
_FORMER_CLASS = "keras_coda>CoDANet"  # up to version 0.1.0 folders did not name the class; there was only this one


@dataclasses.dataclass(frozen=True)
class Preset:
    """A preset as :meth:`ExplainableClassifier.from_preset` needs it.

    Attributes:
        class_name: the name under which the network's class is registered with Keras.
        config: constructor arguments.
        weights: path of the weights file, or None for an architecture without trained weights.
        facts: what else ``config.json`` says, for instance ``training_figures``.
    """

    class_name: str
    config: dict
    weights: Path | None
    facts: dict

    @classmethod
    def of(cls, name_or_folder: str | os.PathLike) -> "Preset":
        """Look up a name, or read a folder.

        Raises:
            ValueError: if it is neither a preset's name nor a preset folder, or the folder is damaged.
        """
        folder = preset_folder(name_or_folder)
        if folder is None:
            class_name, table = _find(name_or_folder)
            return cls(class_name, table.architecture(str(name_or_folder)), None, {})
        contents, weights = read(folder)
        return cls(contents.get("class", _FORMER_CLASS), contents["config"], weights, contents)

    def network_class(self, wanted: type[_Network]) -> type[_Network]:
        """Return the class to build: the preset's, or ``wanted`` if that is a subclass of it.

        Raises:
            ValueError: if the preset's class is unknown, or not ``wanted`` or a subclass of it.
        """
        if self.class_name == keras.saving.get_registered_name(wanted):
            return wanted
        found = keras.saving.get_registered_object(self.class_name)
        fix = "Import the module that registers it"
        require(
            found is not None, "The class of a preset must be registered with Keras", fix, class_name=self.class_name
        )
        if issubclass(wanted, found):
            return wanted
        fix = f"Use {found.__name__}.from_preset"
        rule = f"The preset must hold a {wanted.__name__}"
        require(issubclass(found, wanted), rule, fix, class_name=self.class_name)
        return found


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets."""
    return tuple(name for table in _TABLES.values() for name in table.names())


def preset_description(name: str) -> str:
    """Return one sentence that describes a preset.

    Raises:
        ValueError: for an unknown name; the message lists similar names.
    """
    return _find(name)[1].description(name)


def preset_architecture(name: str) -> dict:
    """Return the constructor arguments of a preset's network.

    Raises:
        ValueError: for an unknown name; the message lists similar names.
    """
    return _find(name)[1].architecture(name)


def preset_parameters(name: str) -> int:
    """Return a preset's number of parameters, without building the network.

    Raises:
        ValueError: for an unknown name; the message lists similar names.
    """
    return _find(name)[1].count_parameters(name)


def is_name(name_or_folder: str | os.PathLike) -> bool:
    """Return whether this is a preset's name and no folder of that name takes precedence."""
    is_folder = (Path(name_or_folder).expanduser() / CONFIG_FILE).is_file()
    return str(name_or_folder) in preset_names() and not is_folder


def preset_folder(name_or_folder: str | os.PathLike) -> Path | None:
    """Return the folder with a preset's weights, or None for an architecture that comes without weights.

    Raises:
        ValueError: if it is neither a preset's name nor a preset folder.
    """
    path = Path(name_or_folder).expanduser()
    if (path / CONFIG_FILE).is_file():
        return path
    if path.is_dir() and str(name_or_folder) not in preset_names():
        raise ValueError(
            f"A preset folder holds '{CONFIG_FILE}' and '{WEIGHTS_FILE}', as `save_to_preset` writes them. "
            f"Received: '{path}' with {sorted(file.name for file in path.iterdir())[:10]}"
        )
    _find(name_or_folder)
    shipped = _SHIPPED / str(name_or_folder)
    return shipped if (shipped / CONFIG_FILE).is_file() else None


def write(path: str | os.PathLike, class_name: str, config: dict, save_weights, **facts) -> None:
    """Write a preset folder. If that fails, no folder is left.

    Args:
        path: the new folder; it must not exist.
        class_name: the name under which the network's class is registered with Keras.
        config: constructor arguments, JSON-serializable.
        save_weights: function that writes a ``.weights.h5`` file to the path it is given.
        **facts: what else to know about the network (for instance training figures), JSON-serializable.

    Raises:
        FileExistsError: if ``path`` exists.
        TypeError: if a fact is not JSON-serializable.
    """
    with new_folder(path) as temporary:
        save_weights(str(temporary / WEIGHTS_FILE))
        contents = {
            "class": class_name,
            "config": config,
            "pixels": "[0, 255], any real dtype, channels last; scaled and encoded as [x, 1 - x] by the network",
            "weights_sha256": _sha256(temporary / WEIGHTS_FILE),
            **facts,
        }
        (temporary / CONFIG_FILE).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


def read(path: str | os.PathLike) -> tuple[dict, Path]:
    """Read a preset folder.

    Returns:
        ``(contents, weights)``: the contents of ``config.json`` and the path of the weights file.

    Raises:
        ValueError: if a file is missing or was changed since it was written.
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


def _find(name):
    """Return the registered name of a preset's class and the module of its table, or raise ``ValueError``."""
    name = coda_net_presets.check_name(str(name), preset_names())
    return next((class_name, table) for class_name, table in _TABLES.items() if name in table.names())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
