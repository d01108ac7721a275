"""The configuration that NVIDIA Triton needs beside an exported network.

    python -m export.triton triton/digits/1/model.savedmodel > triton/digits/config.pbtxt

Triton calls one signature of a SavedModel, ``serving_default``: export with ``signature="contributions"`` for maps.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from export.config_files import FOLDER
from keras_coda.exporters.protos import TensorMetadata, read_signatures
from keras_coda.exporters.schema import EXPLAIN, PREDICT

CONFIG = FOLDER / "config.pbtxt"
MAX_BATCH_SIZE = 16  # as in batching_parameters.txt
TYPES = {"float32": "TYPE_FP32", "int32": "TYPE_INT32", "string": "TYPE_STRING"}


def render(folder: str | os.PathLike, max_batch_size: int = MAX_BATCH_SIZE) -> str:
    """Return ``config.pbtxt`` for an exported folder, a ``ModelConfig`` proto in text form.

    Args:
        folder: ``<repository>/<model>/<version>/model.savedmodel``.
        max_batch_size: most images that Triton joins.
    """
    folder = Path(folder).resolve()
    signature = read_signatures(folder)[PREDICT]
    lines = [f'name: "{folder.parents[1].name}"', 'platform: "tensorflow_savedmodel"']
    lines += [f"max_batch_size: {max_batch_size}", "dynamic_batching { }"]
    sides = [("input", signature.inputs), ("output", signature.outputs)]
    return "\n".join([*lines, *(line for side in sides for line in _tensors(*side)), ""])


def export_example(root: str | os.PathLike) -> Path:
    """Export the shipped digits network into a model repository of Triton, and return the folder of the SavedModel."""
    from keras_coda import CoDANet

    folder = Path(root, "digits", "1", "model.savedmodel")
    CoDANet.from_preset("coda_digits").export(folder, top_k=3, signature=EXPLAIN)
    return folder


def _tensors(side: str, tensors: Mapping[str, TensorMetadata]) -> list[str]:
    lines = []
    for name, tensor in tensors.items():
        sizes = [-1 if size is None else size for size in (tensor.shape or ())[1:]]  # the batch is not listed
        # Triton has no tensors of the batch axis alone: callers see (B, 1).
        dims = f"dims: {sizes}" if sizes else "dims: [1] reshape { shape: [] }"
        lines.append(f'{side} {{ name: "{name}" data_type: {TYPES[tensor.dtype]} {dims} }}')
    return lines


def main() -> None:
    """Print the configuration of a folder."""
    parser = argparse.ArgumentParser(prog="python -m export.triton", description=__doc__.partition("\n\n")[0])
    parser.add_argument("folder", help="the SavedModel, REPOSITORY/MODEL/VERSION/model.savedmodel")
    parser.add_argument("--max-batch-size", type=int, default=MAX_BATCH_SIZE, metavar="N", help="default: 16")
    args = parser.parse_args()
    print(render(args.folder, args.max_batch_size), end="")


if __name__ == "__main__":
    main()
