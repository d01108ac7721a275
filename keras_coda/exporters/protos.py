"""The protos of a SavedModel, read without loading it: signatures with names, dtypes and shapes."""

import dataclasses
import os
from pathlib import Path

from keras_coda.utils.checks import require

SERVE_TAG = "serve"
_INIT_SIGNATURE = "__saved_model_init_op"  # TensorFlow's own: it runs when the model is loaded


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's name of it, ``"float32"`` for one.
        shape: one entry per dimension, None where it is free; None if not even the rank is known.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a client may call.

    Attributes:
        inputs: :class:`TensorSpec` by name.
        outputs: :class:`TensorSpec` by name.
    """

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


def read_meta_graph(folder: str | os.PathLike):
    """Return the ``MetaGraphDef`` that servers load, the one with the tag ``serve``.

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


def signatures(meta_graph) -> dict[str, Signature]:
    """Return the signatures of a ``MetaGraphDef`` by name, in alphabetical order."""
    return {
        name: Signature(_specs(found.inputs), _specs(found.outputs))
        for name, found in sorted(meta_graph.signature_def.items())
        if name != _INIT_SIGNATURE
    }


def _specs(tensors) -> dict[str, TensorSpec]:
    return {name: _spec(info) for name, info in sorted(tensors.items())}


def _spec(info) -> TensorSpec:
    import tensorflow as tf

    shape = tf.TensorShape(info.tensor_shape)
    return TensorSpec(tf.dtypes.as_dtype(info.dtype).name, None if shape.rank is None else tuple(shape.as_list()))
