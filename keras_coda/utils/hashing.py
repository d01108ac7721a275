"""Content hashes, to detect changed data or weights."""

import hashlib
import json

import numpy as np


def digest(*values: np.ndarray | str) -> str:
    """Return a content hash, 32 hexadecimal digits, of arrays (values, shapes and dtypes) and of strings."""
    found = hashlib.blake2b(digest_size=16)
    for value in values:
        array = np.frombuffer(value.encode(), "uint8") if isinstance(value, str) else np.ascontiguousarray(value)
        found.update(f"{array.shape} {array.dtype} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def digest_of_model(model) -> str:
    """Return a content hash of a Keras model: its weights, and the arguments of its layers except their names.

    Of a layer that has no ``get_config`` only type and weights count.
    """
    configs = json.dumps([_config(layer) for layer in model.layers], default=str, sort_keys=True)
    return digest(configs, *model.get_weights())


def _config(layer):
    try:
        config = layer.get_config()
    except NotImplementedError:
        config = {}
    return [type(layer).__name__, {**config, "name": None}]
