"""A signature of a SavedModel as a function of NumPy arrays."""

import os

import numpy as np


class RefusedInputsError(ValueError):
    """The graph of an exported network has refused its inputs, for instance a file that is no image."""


class LoadedSignature:
    """A signature of a SavedModel, loaded into this process.

    Args:
        folder: of the SavedModel, on any file system of TensorFlow.
        name: of the signature.
    """

    def __init__(self, folder: str | os.PathLike, name: str):
        import tensorflow as tf

        self._loaded = tf.saved_model.load(os.fspath(folder))  # kept, because the function does not keep the variables
        self._function = self._loaded.signatures[name]

    def __call__(self, **inputs) -> dict[str, np.ndarray]:
        """Return the outputs by name.

        Args:
            **inputs: arrays, or lists of bytes, by name.

        Raises:
            RefusedInputsError: a ``ValueError``, if the graph refuses the inputs.
        """
        import tensorflow as tf

        try:
            outputs = self._function(**{name: tf.constant(value) for name, value in inputs.items()})
        except tf.errors.InvalidArgumentError as error:
            raise RefusedInputsError(error.message) from error
        return {name: np.asarray(value) for name, value in outputs.items()}
