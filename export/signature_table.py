"""The table of signatures in README.md, written from an exported network: ``python -m export.signature_table``."""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from export.config_files import FOLDER
from keras_coda.exporters import schema
from keras_coda.exporters.protos import TensorMetadata, read_signatures
from keras_coda.utils.atomic import new_file

README = FOLDER / "README.md"
_BLOCK = re.compile(
    r"(?<=<!-- signatures: python -m export\.signature_table -->\n).*?(?=<!-- end of signatures -->)", re.S
)

_PROMISE = (
    "**Completeness.** For every image b and map k, `contributions[b, k].sum() + bias[b]`, plus `offsets[b, k]` if "
    "there are any, equals `logits[b, classes[b, k]]` up to `residual[b, k]`, which is computed for every answer and "
    "is float32 rounding: well below 1e-3 for logits of usual size."
)


def render(folder: str | os.PathLike) -> str:
    """Return the Markdown of the signatures of an exported folder; B stands for the number of images.

    Sizes are those of the folder, dtypes and meanings those of :mod:`keras_coda.exporters.schema`.
    """
    lines = ["| signature | inputs | outputs |", "|---|---|---|"]
    found: dict[str, TensorMetadata] = {}
    for name, signature in read_signatures(folder).items():
        lines.append(f"| `{name}` | {_names(signature.inputs)} | {_names(signature.outputs)} |")
        found.update({**signature.outputs, **signature.inputs})
    lines += ["", "| tensor | type | shape | unit and meaning |", "|---|---|---|---|"]
    for name, tensor in schema.tensors().items():
        if name in found:
            lines.append(f"| `{name}` | {tensor.dtype} | {_shape(found[name])} | {tensor.meaning} |")
    return "\n".join([*lines, "", _PROMISE, ""])


def is_up_to_date(folder: str | os.PathLike) -> bool:
    """Tell whether the table in README.md is that of this exported folder."""
    match = _BLOCK.search(README.read_text())
    return match is not None and match.group() == render(folder)


def main() -> None:
    """Export the shipped digits network as README.md says, and write its table there."""
    from keras_coda import CoDANet

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "1")
        CoDANet.from_preset("coda_digits").export(folder, top_k=3, warmup=False)
        table = render(folder)
    text, count = _BLOCK.subn(lambda _: table, README.read_text())
    if count != 1:
        raise ValueError(f"README.md must have one pair of marks around the table. Received: {count} pairs")
    with new_file(README) as temporary:
        temporary.write_text(text)


def _names(specs: Mapping[str, TensorMetadata]) -> str:
    return ", ".join(f"`{name}`" for name in specs)


def _shape(spec: TensorMetadata) -> str:
    return "(" + ", ".join(["B", *map(str, spec.shape[1:])]) + ("," if len(spec.shape) == 1 else "") + ")"


if __name__ == "__main__":
    main()
