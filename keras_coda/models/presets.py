"""Presets: named architectures, and folders with a trained network's configuration, weights and facts about it."""

import dataclasses
import hashlib
import inspect
import json
import os
import warnings
from collections import Counter
from pathlib import Path
from typing import TypeVar

import keras

from keras_coda.layers.initial import weights_are_loaded
from keras_coda.models import architectures, weights_files
from keras_coda.models.graph_config import copied, is_graph, objects
from keras_coda.utils.atomic import new_folder
from keras_coda.utils.checks import require
from keras_coda.utils.errors import NewLayersWarning, UnreadableFileError, WeightsDoNotFitError
from keras_coda.utils.reading import read_json

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.weights.h5"
_LARGEST_CONFIG = 2**24  # bytes
_Network = TypeVar("_Network")
_SHIPPED = Path(__file__).parent / "shipped"
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
            ValueError: if it is neither a preset's name nor a preset folder.
            UnreadableFileError: if the folder is damaged.
        """
        folder = preset_folder(name_or_folder)
        if folder is None:
            name = _find(name_or_folder)
            return cls(architectures.class_name(name), architectures.architecture(name), None, {})
        contents, weights = read(folder)
        return cls(contents.get("class", _FORMER_CLASS), contents["config"], weights, contents)

    def network_class(self, wanted: type[_Network]) -> type[_Network]:
        """Return the class to build: the preset's, or ``wanted`` if that is a subclass of it.

        Raises:
            ValueError: if the preset's class is unknown, or not ``wanted`` or a subclass of it.
            UnreadableFileError: if the network would have other weights than those of the folder.
        """
        network_class = self._find_class(wanted)
        if self.weights is not None:
            self._check_sizes(network_class)
        return network_class

    def _check_sizes(self, network_class):
        """Check the configuration before a network is built: a damaged one may ask for any number of weights."""
        parameters = inspect.signature(network_class.__init__).parameters
        unknown = [name for name in self.config if name not in parameters and not is_graph(self.config)]
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        if unknown and not takes_any:
            raise self.unreadable(f"{network_class.__name__} has no {unknown[:5]}")
        try:
            expected = network_class.weight_shapes(self.config)
        except Exception as error:
            raise self.unreadable(error) from error
        found = weights_files.array_shapes(self.weights)
        missing = Counter(expected or ()) - Counter(found)
        if missing:
            raise self.unreadable(f"weights of shape {next(iter(missing))} are missing in '{WEIGHTS_FILE}'")

    def unreadable(self, reason) -> UnreadableFileError:
        """Return the error that the folder is damaged."""
        folder = None if self.weights is None else str(self.weights.parent)
        text = f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else reason
        return UnreadableFileError(
            "Configuration and weights of a preset must be as `save_to_preset` wrote them. "
            f"Received: '{folder}' ({_shorten(text)})"
        )

    def _find_class(self, wanted):
        if self.class_name == keras.saving.get_registered_name(wanted):
            return wanted
        found = keras.saving.get_registered_object(self.class_name)
        fix = "Import the module that registers it"
        require(
            found is not None, "The class of a preset must be registered with Keras", fix, class_name=self.class_name
        )
        require(isinstance(found, type), "The class of a preset must be a network", class_name=self.class_name)
        if issubclass(wanted, found):
            return wanted
        fix = f"Use {found.__name__}.from_preset"
        rule = f"The preset must hold a {wanted.__name__}"
        require(issubclass(found, wanted), rule, fix, class_name=self.class_name)
        return found


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets."""
    return architectures.names()


def preset_description(name: str) -> str:
    """Return one sentence that describes a preset.

    Raises:
        ValueError: for an unknown name; the message lists similar names.
    """
    return architectures.description(_find(name))


def preset_architecture(name: str) -> dict:
    """Return the constructor arguments of a preset's network.

    Raises:
        ValueError: for an unknown name; the message lists similar names.
    """
    return architectures.architecture(_find(name))


def preset_parameters(name: str) -> int:
    """Return a preset's number of parameters, without building the network.

    Raises:
        ValueError: for an unknown name; the message lists similar names.
    """
    return architectures.count_parameters(_find(name))


def is_name(name_or_folder: str | os.PathLike) -> bool:
    """Return whether this is a preset's name and no folder of that name takes precedence."""
    is_folder = _has_config(Path(name_or_folder).expanduser())
    return str(name_or_folder) in preset_names() and not is_folder


def preset_folder(name_or_folder: str | os.PathLike) -> Path | None:
    """Return the folder with a preset's weights, or None for an architecture that comes without weights.

    Raises:
        ValueError: if it is neither a preset's name nor a preset folder.
    """
    path = Path(name_or_folder).expanduser()
    if _has_config(path):
        return path
    if os.path.isdir(path) and str(name_or_folder) not in preset_names():
        raise ValueError(
            f"A preset folder holds '{CONFIG_FILE}' and '{WEIGHTS_FILE}', as `save_to_preset` writes them. "
            f"Received: '{path}' with {sorted(file.name for file in path.iterdir())[:10]}"
        )
    _find(name_or_folder)
    shipped = _SHIPPED / str(name_or_folder)
    return shipped if _has_config(shipped) else None


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
        UnreadableFileError: if a file is missing or was changed since it was written.
    """
    path = Path(path)
    weights = path / WEIGHTS_FILE
    try:
        contents = read_json(path / CONFIG_FILE, _LARGEST_CONFIG)
        config, sha256 = contents["config"], contents["weights_sha256"]
        _check_types(contents)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFileError(
            f"'{CONFIG_FILE}' of a preset must be as `save_to_preset` wrote it. Received: '{path / CONFIG_FILE}' "
            f"({_shorten(f'{type(error).__name__}: {error}')})"
        ) from error
    if not isinstance(config, dict):
        received = _shorten(f"config={config!r}")
        raise UnreadableFileError(f"`config` in '{path / CONFIG_FILE}' must be an object. Received: {received}")
    if not weights.is_file() or _sha256(weights) != sha256:
        size = f"{weights.stat().st_size} bytes" if weights.is_file() else "no such file"
        raise UnreadableFileError(
            "The weights of a preset must be as `save_to_preset` wrote them. "
            f"Received: '{weights}' ({size}), truncated or changed. Copy the folder again."
        )
    return contents, weights


def _check_types(contents):
    """Check what is not checked where it is used. In a `dtype`, Keras would import any module that the file names."""
    types = {"class": str, "training_figures": dict}
    parts = {name: contents[name] for name in types if name in contents}
    if isinstance(contents["config"], dict):
        types |= dict.fromkeys(("dtype", "name"), str)
        parts |= {name: contents["config"][name] for name in ("dtype", "name") if contents["config"].get(name)}
    for name, value in parts.items():
        require(isinstance(value, types[name]), f"`{name}` must be a {types[name].__name__}", type=type(value).__name__)


def _has_config(folder):
    return os.path.isfile(folder / CONFIG_FILE)  # False also for names that are no path


def _shorten(text):
    return text if len(text) <= 300 else f"{text[:300]}..."


def copy_fitting_weights(source: keras.Model, target: keras.Model) -> tuple[str, ...]:
    """Copy the weights of the layers that have the same name and shapes; return the names of the other layers."""
    known = {layer.name: layer.get_weights() for layer in source.layers}
    new = []
    for layer in target.layers:
        weights = known.get(layer.name, [])
        if [each.shape for each in weights] == [tuple(variable.shape) for variable in layer.weights]:
            layer.set_weights(weights)
        else:
            new.append(layer.name)
    return tuple(new)


def report_new_layers(model, weights, overrides) -> None:
    """Thaw the new layers of a network and warn of them.

    Raises:
        WeightsDoNotFitError: if all layers are new.
    """
    new = [layer for layer in model.layers if layer.name in model.new_layers]
    is_fit = len(new) < sum(bool(layer.weights) for layer in model.layers)
    if not is_fit:
        raise WeightsDoNotFitError(
            f"The weights of the preset must fit the architecture. Received: '{weights}' for overrides={overrides}, "
            "which change every layer. For another architecture train new weights: load_weights=False."
        )
    if new:
        for layer in new:
            layer.trainable = layer.trainable or "frozen" not in overrides
        warnings.warn(
            f"The weights of {', '.join(model.new_layers)} do not fit and are new: random, to be trained. Received: "
            f"overrides={overrides}. The other layers have the preset's weights.",
            NewLayersWarning,
            stacklevel=3,
        )


def half_precision_copy(model: keras.Model) -> keras.Model:
    """Return a plain model of the same layers with float16 variables and the same weights, rounded."""
    config = copied(keras.Model(model.inputs, model.outputs).get_config())
    for each in objects(config["layers"]):
        own = each.get("config")
        if isinstance(own, dict) and isinstance(own.get("dtype"), dict):  # a policy; inputs have a dtype, a string
            own["dtype"] = "float16"
    with weights_are_loaded():
        half = keras.Model.from_config(config)
    half.set_weights(model.get_weights())
    return half


def _find(name):
    """Return a preset's name, or raise ``ValueError``."""
    return architectures.check_name(str(name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
