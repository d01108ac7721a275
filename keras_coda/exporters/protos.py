"""The signatures that a SavedModel or a server offers, read without loading a model."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from keras_coda.utils.checks import require

SERVE_TAG = "serve"
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}


@dataclasses.dataclass(frozen=True)
class TensorMetadata:
    """An input or output that a signature has.

    Attributes:
        dtype: TensorFlow's name of it, such as ``"float32"``, ``"int32"`` or ``"string"``.
        shape: one entry per axis, None where any size will do; None if not even the number of axes is known.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of that shape may be sent."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            want in (None, got) for want, got in zip(self.shape, shape, strict=True)
        )


@dataclasses.dataclass(frozen=True)
class SignatureMetadata:
    """Inputs and outputs that a signature has, by name."""

    inputs: Mapping[str, TensorMetadata]
    outputs: Mapping[str, TensorMetadata]


def read_meta_graph(folder: str | os.PathLike):
    """Return the ``MetaGraphDef`` that servers load: the one with the tag ``serve``.

    Args:
        folder: of the SavedModel.

    Raises:
        ValueError: if there is no ``saved_model.pb``, it does not parse, or not exactly one graph has the tag.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = Path(folder, "saved_model.pb")
    require(path.is_file(), "A SavedModel must have a file saved_model.pb", folder=os.fspath(folder))
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"saved_model.pb must be a SavedModel proto. Received: '{path}' ({error})") from error
    tags = [list(graph.meta_info_def.tags) for graph in saved_model.meta_graphs]
    found = [graph for graph in saved_model.meta_graphs if list(graph.meta_info_def.tags) == [SERVE_TAG]]
    require(len(found) == 1, "Exactly one graph of a SavedModel must have the tag 'serve' alone", tags=tags)
    return found[0]


def read_signatures(folder: str | os.PathLike) -> dict[str, SignatureMetadata]:
    """Return the signatures of a SavedModel by name, in alphabetical order.

    Raises:
        ValueError: as :func:`read_meta_graph`.
    """
    return signatures_of(read_meta_graph(folder))


def signatures_of(meta_graph) -> dict[str, SignatureMetadata]:
    """Return the signatures of a ``MetaGraphDef`` by name, in alphabetical order."""
    from google.protobuf.json_format import MessageToDict

    found = meta_graph.signature_def.items()
    return signatures_from_json({name: MessageToDict(proto, preserving_proto_field_name=True) for name, proto in found})


def signatures_from_json(definitions: Mapping[str, Mapping]) -> dict[str, SignatureMetadata]:
    """Return the signatures by name, in alphabetical order.

    Args:
        definitions: ``SignatureDef`` protos in their JSON form, by name.
    """
    return {
        name: SignatureMetadata(_tensors(definition.get("inputs", {})), _tensors(definition.get("outputs", {})))
        for name, definition in sorted(definitions.items())
        if not name.startswith("__")  # TensorFlow's own: __saved_model_init_op runs when the model is loaded
    }


def _tensors(infos: Mapping) -> dict[str, TensorMetadata]:
    return {name: TensorMetadata(_dtype(info), _shape(info)) for name, info in sorted(infos.items())}


# The JSON form of a proto leaves out what is zero or empty.


def _dtype(info: Mapping) -> str:
    name = info.get("dtype", "DT_INVALID")
    return _DTYPES.get(name, name.removeprefix("DT_").lower())


def _shape(info: Mapping) -> tuple[int | None, ...] | None:
    shape = info.get("tensor_shape", {})
    if shape.get("unknown_rank"):
        return None
    sizes = [int(axis.get("size", 0)) for axis in shape.get("dim", ())]
    return tuple(None if size == -1 else size for size in sizes)
