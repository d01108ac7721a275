"""The table of signatures in README.md, written from an exported network: ``python -m export.signature_table``."""

import os
import re
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from export.config_files import FOLDER
from keras_coda.exporters.protos import TensorSpec, read_meta_graph, signatures
from keras_coda.utils.atomic import new_file

README = FOLDER / "README.md"
_BLOCK = re.compile(
    r"(?<=<!-- signatures: python -m export\.signature_table -->\n).*?(?=<!-- end of signatures -->)", re.S
)

_MEANINGS = {
    "images": "pixels in [0, 255], channels last; as an output: the picture that was explained, decoded and resized",
    "image_bytes": "JPEG, PNG, BMP or GIF files, whole",
    "classes": "indices in [0, C); as an output: the classes explained, most probable first unless they were given",
    "logits": "logit units",
    "probabilities": "sigmoids of the logits, each in [0, 1]; they need not sum to 1",
    "top_classes": "indices, most probable first",
    "top_probabilities": "their probabilities",
    "top_class_names": "their names, UTF-8",
    "class_names": "names of `classes`, UTF-8",
    "contributions": "what every pixel adds to the logit of `classes`, logit units; negative: it speaks against",
    "residual": "completeness error, logit units, see below",
    "bias": "what a logit is when nothing contributes, logit units; the same for all images",
    "linear_map": "weights of the encoded image `[x, 1-x]`, logit units per unit of it",
}
_PROMISE = (
    "**Completeness.** For every image b and map k, `contributions[b, k].sum() + bias[b]` equals "
    "`logits[b, classes[b, k]]` up to `residual[b, k]`, which is computed for every answer and is float32 rounding: "
    "well below 1e-3 for logits of usual size."
)


def render(folder: str | os.PathLike) -> str:
    """Return the Markdown of the signatures of an exported folder, B standing for the number of images."""
    found = signatures(read_meta_graph(folder))
    lines = ["| signature | inputs | outputs |", "|---|---|---|"]
    tensors = {}
    for name, signature in found.items():
        lines.append(f"| `{name}` | {_names(signature.inputs)} | {_names(signature.outputs)} |")
        tensors.update({**signature.outputs, **signature.inputs})
    lines += ["", "| tensor | type | shape | unit and meaning |", "|---|---|---|---|"]
    order = [name for name in _MEANINGS if name in tensors] + sorted(set(tensors) - set(_MEANINGS))
    lines += [f"| `{name}` | {tensors[name].dtype} | {_shape(tensors[name])} | {_MEANINGS[name]} |" for name in order]
    return "\n".join([*lines, "", _PROMISE, ""])


def is_up_to_date(folder: str | os.PathLike) -> bool:
    """Tell whether README.md has the table of this exported folder."""
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


def _names(specs: dict[str, TensorSpec]) -> str:
    return ", ".join(f"`{name}`" for name in specs)


def _shape(spec: TensorSpec) -> str:
    return "(" + ", ".join(["B", *map(str, spec.shape[1:])]) + ("," if len(spec.shape) == 1 else "") + ")"


if __name__ == "__main__":
    main()
