"""Trained networks by name, by folder, or from a file that `model.save` wrote."""

import os
import warnings
from pathlib import Path

import keras

from keras_coda.models.classifier import ExplainableClassifier
from keras_coda.models.coda_net import CoDANet
from keras_coda.utils.checks import require


def load_network(source: str | os.PathLike) -> ExplainableClassifier:
    """Load a trained network.

    Args:
        source: name of a preset with weights, a folder that ``save_to_preset`` wrote, or a ``.keras`` file.

    Raises:
        ValueError: if it cannot be loaded, has no weights, or is another model.
    """
    if not is_keras_file(source):
        return CoDANet.from_preset(source, load_weights=True)
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
        ValueError: if Keras cannot load it; the message has the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.models.load_model(Path(path).expanduser(), compile=False)
    except Exception as error:  # Keras and its formats raise nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"The file must hold a model that Keras can load. Received: '{os.fspath(path)}' ({reason}). Write it "
            "again: `model.save(path)`."
        ) from error
