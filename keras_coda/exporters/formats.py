"""The file formats that networks convert to: one line here and one module each.

The module has two functions:

- ``convert(network, *, classes=False) -> bytes`` makes the file from a
  :class:`~keras_coda.exporters.nan_guard.PortableNetwork`.
- ``run(content, inputs) -> {signature: {name: array}}`` runs the file in its runtime, and returns inputs and outputs.

This file imports the standard library only: the command line reads it without waiting for Keras.
"""

from typing import NamedTuple


class Format(NamedTuple):
    """A file format.

    Attributes:
        module: full name of the module.
        required: the packages that it imports; the extra that installs them has the name of the format.
    """

    module: str
    required: tuple[str, ...]


FORMATS = {
    "onnx": Format("keras_coda.exporters.onnx", ("onnx", "tf2onnx", "onnxruntime")),
    "litert": Format("keras_coda.exporters.litert", ("ai_edge_litert",)),
}
