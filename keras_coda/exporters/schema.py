"""The signatures of exported networks: dtype, axes and meaning of every input and output, in one table.

The exporters, the check of a SavedModel, the clients and the table in export/README.md all read this one. A signature
consists of an entry of :data:`SIGNATURES` and of the method of :class:`~keras_coda.exporters.signatures.Signatures`
that has the same name.

Rules for every signature, because TF Serving joins requests and splits answers along the first axis:

- All inputs and outputs have the batch axis ``B`` first, of any length; one letter stands for one size everywhere.
- Numbers are float32, class indices int32, names and files strings: TF Serving's REST API has no half floats.
"""

import dataclasses
from collections.abc import Collection, Mapping, MutableMapping

AXES = {
    "B": "batch",
    "C": "classes",
    "K": "classes",  # those that have maps
    "H": "height",
    "W": "width",
    "c": "channels",
    "D": "encoded channels",
    "h": "map height",  # of features, see `axes_of`
    "w": "map width",
    "d": "feature channels",
}
DTYPES = ("float32", "int32", "string")
PREDICT, EXPLAIN, EXPLAIN_CLASSES = "serving_default", "contributions", "contributions_for_classes"
BYTES = "_bytes"  # ends the name of the variant that takes image files


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        dtype: ``"float32"``, ``"int32"`` or ``"string"``.
        axes: one letter of :data:`AXES` per axis.
        meaning: unit and meaning, for the documentation.
        is_optional: whether an export may leave the output out.
    """

    dtype: str
    axes: str
    meaning: str
    is_optional: bool = False


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function that an exported network offers.

    Attributes:
        inputs: :class:`Tensor` by name, in the order of the function's arguments.
        outputs: :class:`Tensor` by name.
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


IMAGES = {
    "images": Tensor(
        "float32",
        "BHWc",
        "pixels in [0, 255], channels last; as an output: the picture that was explained, decoded and resized",
    )
}
IMAGE_BYTES = {"image_bytes": Tensor("string", "B", "JPEG, PNG, BMP or GIF files, whole")}
CLASSES = {
    "classes": Tensor(
        "int32",
        "BK",
        "indices in [0, C); as an output: the classes explained, most probable first unless they were given",
    )
}
PREDICTIONS = {
    "logits": Tensor("float32", "BC", "logit units"),
    "probabilities": Tensor("float32", "BC", "sigmoids of the logits, each in [0, 1]; they need not sum to 1"),
}
DECISIONS = {
    "decisions": Tensor(
        "int32", "BC", "1 for every label that the image has by the thresholds of its classes", is_optional=True
    )
}  # of networks with several labels
CALIBRATED = {
    "calibrated_probabilities": Tensor(
        "float32",
        "BC",
        "sigmoids of the logits, scaled and shifted for each class as fitted to validation images",
        is_optional=True,
    )
}  # of networks with a calibration
MAPS = {
    **PREDICTIONS,
    **CALIBRATED,
    **CLASSES,
    "class_names": Tensor("string", "BK", "names of `classes`, UTF-8"),
    "contributions": Tensor(
        "float32",
        "BKHW",
        "what every pixel adds to the logit of `classes`, logit units; a negative value lowers the logit",
    ),
    "residual": Tensor("float32", "BK", "completeness error, logit units, see below"),
    "bias": Tensor("float32", "B", "the logit of an image without any contribution, logit units; one for all images"),
    "offsets": Tensor(
        "float32", "BK", "what constants of inner layers add to the logit of `classes`, logit units", is_optional=True
    ),  # of networks with such constants
    "linear_map": Tensor(
        "float32", "BKHWD", "weights of the encoded image `[x, 1-x]`, logit units per unit of it", is_optional=True
    ),
    "wrt": Tensor(
        "string",
        "B",
        "name of the layer from whose output on maps are exact, UTF-8; they have its height h and width w",
        is_optional=True,
    ),  # of networks with a conventional trunk
}
TOP = {
    "top_classes": Tensor("int32", "BK", "indices of the K most probable classes, most probable first"),
    "top_probabilities": Tensor("float32", "BK", "probabilities of `top_classes`"),
    "top_class_names": Tensor("string", "BK", "names of `top_classes`, UTF-8"),
}

SIGNATURES: MutableMapping[str, Signature] = {
    PREDICT: Signature(IMAGES, {**PREDICTIONS, **CALIBRATED, **DECISIONS, **TOP}),
    EXPLAIN: Signature(IMAGES, MAPS),
    EXPLAIN_CLASSES: Signature({**IMAGES, **CLASSES}, MAPS),
}


def signatures(takes_files: bool = True) -> dict[str, Signature]:
    """Return all signatures by name.

    Args:
        takes_files: whether to include the variants for image files, see :func:`takes_files`.
    """
    files = {name + BYTES: of_files(signature) for name, signature in SIGNATURES.items()} if takes_files else {}
    return {**SIGNATURES, **files}


def check_name(name: str) -> None:
    """Raise ``ValueError`` unless an exported network may have a signature of that name."""
    if name not in signatures():
        raise ValueError(f"`signature` must be one of {', '.join(signatures())}. Received: signature={name!r}")


def of_files(signature: Signature) -> Signature:
    """Return the variant of a signature that takes image files in place of arrays.

    If its outputs refer to pixels, it also returns the ``images`` that it decoded: they show what was explained.
    """
    inputs = {**IMAGE_BYTES, **{name: tensor for name, tensor in signature.inputs.items() if name != "images"}}
    has_pixels = any({"H", "W"} <= set(tensor.axes) for tensor in signature.outputs.values())
    return Signature(inputs, {**signature.outputs, **(IMAGES if has_pixels else {})})


def takes_files(image_shape: tuple[int | None, ...]) -> bool:
    """Tell whether a network can be given image files: they are gray or RGB, and resized to one size.

    Args:
        image_shape: ``(height, width, channels)``, None where the size is free.
    """
    return None not in image_shape and image_shape[2] in (1, 3)


def tensors() -> dict[str, Tensor]:
    """Return the inputs and outputs of all signatures by name, inputs first."""
    inputs = [signature.inputs for signature in SIGNATURES.values()]
    outputs = [signature.outputs for signature in SIGNATURES.values()]
    sides = [IMAGES, IMAGE_BYTES, *inputs, *outputs]
    return {name: tensor for side in sides for name, tensor in side.items()}


def axes_of(name: str, tensor: Tensor, offered: Collection[str]) -> str:
    """Return the axes of an output: of a network with a conventional trunk, maps are as large as its features.

    Args:
        name: of the output.
        tensor: its entry.
        offered: names of all outputs of the signature; ``wrt`` is among them if there is a trunk.
    """
    is_of_pixels = "wrt" not in offered or name == "images"
    return tensor.axes if is_of_pixels else tensor.axes.replace("HW", "hw").replace("D", "d")


def match(axes: str, shape: tuple[int | None, ...] | None, sizes: MutableMapping[str, int | None]) -> bool:
    """Tell whether a shape has one entry per letter, each of the size that the letter has elsewhere.

    Args:
        axes: letters of :data:`AXES`.
        shape: sizes, None where they are free; None if the rank is unknown.
        sizes: size by letter; letters that are not in it yet are added.
    """
    if shape is None or len(shape) != len(axes):
        return False
    return all(sizes.setdefault(letter, size) == size for letter, size in zip(axes, shape, strict=True))
