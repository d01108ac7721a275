"""Bodies of requests and answers: the V1 protocol, which is that of TF Serving's REST API, and the V2 protocol."""

import base64
import binascii
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_coda.exporters import schema
from keras_coda.server.network import SIGNATURES
from keras_coda.utils.checks import require

VERBS = {"predict": schema.PREDICT, "explain": schema.EXPLAIN}  # and the signatures they stand for
_FIELDS = ("signature_name", "instances", "inputs", "classes", "top_k")
_INPUTS = ("images", "image_bytes", "classes")
_IMAGE = "Give an array as nested lists, or an image file as {'b64': BASE64}"
_FILE = "An image file must be {'b64': BASE64}"


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a body asks for; its values are not checked yet.

    Attributes:
        signature: one of ``SIGNATURES``.
        images: an array, or a list of the contents of image files.
        classes: nested lists of indices and names, or None.
        top_k: whatever was given, or None.
        in_rows: whether the answer has a row per image, not a column per output.
    """

    signature: str
    images: np.ndarray | Sequence[bytes]
    classes: Any = None
    top_k: Any = None
    in_rows: bool = False


# === V1 ===


def read_v1(body: object, verb: str) -> Asked:
    """Read the body of ``:predict`` or ``:explain``.

    Images are ``instances``, rows, or ``inputs``, columns by name, as TF Serving wants them. Beside them may be
    ``signature_name``, which must be known to the verb, ``classes`` for all images, and ``top_k``.

    Args:
        body: parsed JSON.
        verb: ``"predict"`` or ``"explain"``.

    Raises:
        ValueError: if it has another form.
    """
    if not isinstance(body, dict):
        raise ValueError(f"A request must be a JSON object. Received: {type(body).__name__}.")
    _require_known(body, _FIELDS, "A request's fields are")
    in_rows = "instances" in body
    rule = "A request must have either `instances` or `inputs`"
    require(in_rows != ("inputs" in body), rule, _IMAGE, fields=sorted(body))
    columns = _from_rows(body["instances"]) if in_rows else _from_columns(body["inputs"])
    _require_known(columns, _INPUTS, "Inputs are")
    if "classes" in body:
        require("classes" not in columns, "Give `classes` once: beside the images or with them", fields=sorted(body))
        columns["classes"] = body["classes"]
    signature = _signature(body.get("signature_name"), verb, columns)
    return Asked(signature, _images(columns), columns.get("classes"), body.get("top_k"), in_rows)


def write_v1(outputs: Mapping[str, np.ndarray], asked: Asked, verb: str) -> dict:
    """Return the answer to :func:`read_v1`, with NumPy arrays for numbers.

    ``{"outputs": ...}`` for columns; for rows ``{"predictions": ...}`` and, from ``:explain``, ``"explanations"`` with
    all outputs of the signature.
    """
    # Neither texts nor arrays in another order than C's can be written as JSON.
    plain = {
        name: array.tolist() if array.dtype.kind == "U" else np.ascontiguousarray(array)
        for name, array in outputs.items()
    }
    if not asked.in_rows:
        return {"outputs": plain}
    rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
    if verb == "predict":
        return {"predictions": rows}
    predictions = [{name: row[name] for name in schema.PREDICTIONS} for row in rows]
    return {"predictions": predictions, "explanations": rows}


def _from_rows(rows) -> dict[str, list]:
    require(isinstance(rows, list) and rows, "`instances` must be a list with an entry for each image", _IMAGE)
    entries = [_inputs_of(row) for row in rows]
    names = entries[0].keys()
    for index, entry in enumerate(entries):
        rule = "All `instances` must have the same inputs"
        require(entry.keys() == names, rule, instance=index, inputs=list(entry)[:5])
    return {name: [entry[name] for entry in entries] for name in names}


def _inputs_of(row) -> dict:
    if _is_file(row):
        return {"image_bytes": row}
    if isinstance(row, list):
        return {"images": row}
    if not isinstance(row, dict):
        raise ValueError(f"An instance must be an image. Received: {type(row).__name__}. {_IMAGE}.")
    return row


def _from_columns(inputs) -> dict:
    if isinstance(inputs, dict) and not _is_file(inputs):
        return dict(inputs)
    if not isinstance(inputs, list) or not inputs:
        raise ValueError(f"`inputs` must be inputs by name, or images. Received: {type(inputs).__name__}. {_IMAGE}.")
    return {"image_bytes" if isinstance(inputs[0], dict) else "images": inputs}


def _images(columns) -> np.ndarray | list[bytes]:
    names = [name for name in ("images", "image_bytes") if name in columns]
    rule = "A request must have either `images` or `image_bytes`"
    require(len(names) == 1, rule, _IMAGE, inputs=sorted(columns))
    values = columns[names[0]]
    require(isinstance(values, list), f"`{names[0]}` must be a list", _IMAGE, type=type(values).__name__)
    return array(values) if names == ["images"] else [_contents(value) for value in values]


def _signature(name, verb, columns) -> str:
    """Return the signature of a V1 request; the ending ``_bytes`` of TF Serving's names says nothing new here."""
    if name is None:
        name = VERBS[verb]
        return schema.EXPLAIN_CLASSES if "classes" in columns and name == schema.EXPLAIN else name
    known = [each for each in SIGNATURES if verb == "predict" or each != schema.PREDICT]
    rule = f"`signature_name` of :{verb} must be one of {known}, with or without {schema.BYTES!r}"
    require(isinstance(name, str) and name.removesuffix(schema.BYTES) in known, rule, signature_name=name)
    return name.removesuffix(schema.BYTES)


def _is_file(value) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _contents(value) -> bytes:
    if not _is_file(value) or not isinstance(value["b64"], str):
        raise ValueError(f"{_FILE}. Received: {type(value).__name__}. Do not mix files with arrays.")
    return from_base64(value["b64"])


# === V2 ===


def read_v2(request) -> Asked:
    """Read a request of the V2 protocol.

    The signature is ``signature_name`` among the parameters, or the first one that takes these inputs and gives the
    outputs that are asked for. A file is an element of the ``BYTES`` tensor ``image_bytes``, in base64.

    Args:
        request: ``kserve.InferRequest``.

    Raises:
        ValueError: if it has another form.
    """
    parameters = dict(request.parameters or {})
    _require_known(parameters, ("signature_name", "top_k", "binary_data_output"), "Parameters of a request are")
    columns: dict[str, Any] = {}
    for tensor in request.inputs:
        require(tensor.name in _INPUTS, f"Inputs are {', '.join(_INPUTS)}", input=tensor.name)
        require(tensor.name not in columns, "An input must be given once", input=tensor.name)
        columns[tensor.name] = _tensor(tensor)
    names = [name for name in ("images", "image_bytes") if name in columns]
    require(len(names) == 1, "A request must have either `images` or `image_bytes`", inputs=sorted(columns))
    wanted = {output.name for output in request.request_outputs or ()}
    signature = parameters.get("signature_name")
    if signature is None:
        signature = _fitting_signature("classes" in columns, names[0] == "image_bytes", wanted)
    signature = _signature(signature, "predict", columns)
    return Asked(signature, columns[names[0]], columns.get("classes"), parameters.get("top_k"))


def _fitting_signature(has_classes, of_files, wanted):
    for name in SIGNATURES:
        signature = schema.SIGNATURES[name]
        outputs = (schema.of_files(signature) if of_files else signature).outputs
        if ("classes" in signature.inputs) == has_classes and wanted <= outputs.keys():
            return name
    raise ValueError(f"A signature must give the outputs that are asked for. Received: {sorted(wanted)[:10]}.")


def _tensor(tensor):
    """Return an input as an array, or the contents of image files."""
    values, shape, name = tensor.data, tensor.shape, tensor.name
    is_flat = isinstance(values, list) and all(isinstance(size, int) and size > 0 for size in shape)
    found = array(values) if tensor.datatype != "BYTES" else np.array(values, object)
    is_flat = is_flat and math.prod(shape) == found.size
    require(is_flat, f"`{name}` must have as many values as its shape says", shape=shape, values=found.size)
    if name == "image_bytes":
        is_text = tensor.datatype == "BYTES" and all(isinstance(value, str) for value in found.ravel())
        require(is_text and len(shape) == 1, "`image_bytes` must be BYTES of shape (B,), in base64", shape=shape)
        return [from_base64(value) for value in found.ravel()]
    is_integer = tensor.datatype.lstrip("U").startswith("INT")
    is_number = is_integer or tensor.datatype in ("FP32", "FP64")
    require(is_number, f"`{name}` must be numbers, FP32 or of integers", datatype=tensor.datatype)
    fits = not is_integer or found.dtype.kind == "i"
    require(fits, f"`{name}` must hold what its datatype says", datatype=tensor.datatype, values=str(found.dtype))
    return found.reshape(shape)


# === Both ===


def array(values: list) -> np.ndarray:
    """Return nested lists of numbers as an array, int64 if all are whole; raise ``ValueError`` for anything else."""
    found = np.array(values, object)  # NumPy would make a single text in it the type, and so the size, of all entries
    types = set(map(type, found.ravel().tolist()))
    require(list not in types, "Nested lists must have one shape", received="rows of several lengths, or empty ones")
    rule = "Images must be numbers"
    require(types <= {int, float}, rule, _IMAGE, types=sorted(each.__name__ for each in types)[:5])
    try:
        return found.astype("float64" if float in types else "int64")
    except OverflowError as error:
        raise ValueError(f"{rule} in [0, 255]. Received: an integer of more than 64 bits.") from error


def from_base64(text: str) -> bytes:
    """Decode an image file; raise ``ValueError`` for text that is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{_FILE}. Received: {len(text)} characters that are not base64 ({error}).") from error


def _require_known(given, known, rule):
    unknown = [name for name in given if name not in known]
    require(not unknown, f"{rule} {', '.join(known)}", unknown=unknown[:5])
