"""Trained networks by name, by folder, or from a file that `model.save` wrote."""

import json
import os
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import keras

from keras_coda.layers.initial import weights_are_loaded
from keras_coda.models.classifier import ExplainableClassifier
from keras_coda.models.conventions import own_of
from keras_coda.models.weights_files import array_shapes
from keras_coda.utils.checks import require
from keras_coda.utils.errors import UnreadableFileError
from keras_coda.utils.reading import check_archive


def load_network(source: str | os.PathLike) -> ExplainableClassifier:
    """Load a trained network.

    Args:
        source: name of a preset with weights, a folder that ``save_to_preset`` wrote, or a ``.keras`` file.

    Raises:
        ValueError: if it cannot be loaded, has no weights, or is another model.
    """
    if not is_keras_file(source):
        return ExplainableClassifier.from_preset(source, load_weights=True)
    model = load_keras_file(source)
    rule = "The file must hold a network of this package"
    fix = "Save the network itself, if it is a layer of that model"
    require(isinstance(model, ExplainableClassifier), rule, fix, file=str(source), holds=type(model).__name__)
    return model


def is_keras_file(source: str | os.PathLike) -> bool:
    """Return whether this is the path of a ``.keras`` file."""
    return os.fspath(source).lower().endswith(".keras")


def load_keras_file(path: str | os.PathLike) -> keras.Model:
    """Load any model that ``model.save`` wrote to a ``.keras`` file, without the state of its training.

    Raises:
        UnreadableFileError: a ``ValueError``, if Keras cannot load it, or its networks have other weights than those of
            the file; the message has the reason.
    """
    path = Path(path).expanduser()
    try:
        config = _check_sizes(path)
        with warnings.catch_warnings(), weights_are_loaded():
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            model = keras.models.load_model(path, compile=False)
        if isinstance(model, ExplainableClassifier):
            model.take_conventions(own_of(config.get("compile_config")).get("conventions", {}))
        return model
    except Exception as error:  # Keras and its formats raise nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableFileError(
            f"The file must hold a model that Keras can load. Received: '{os.fspath(path)}' ({reason}). Write it "
            "again: `model.save(path)`."
        ) from error


def _check_sizes(path):
    """Compare sizes before a network is built: a damaged configuration may ask for any number of weights.

    Returns:
        The configuration of the model.
    """
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    missing = Counter(_weight_shapes(config)) - Counter(array_shapes(path))
    require(not missing, "A network must have the weights of its file", missing=next(iter(missing), None))
    return config


def _weight_shapes(config):
    """Yield the shapes of the weights of all networks of this package in the configuration of a model."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        shapes = _own_shapes(value) if isinstance(value, dict) else None
        if shapes is not None:  # those of networks inside it among them
            yield from shapes
        elif isinstance(value, (dict, list)):
            waiting += value.values() if isinstance(value, dict) else value


def _own_shapes(serialized):
    found = keras.saving.get_registered_object(str(serialized.get("registered_name")))
    is_network = isinstance(found, type) and issubclass(found, ExplainableClassifier)
    return found.weight_shapes(serialized.get("config", {})) if is_network else None
