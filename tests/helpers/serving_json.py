"""TF Serving's rules for JSON: how requests become tensors, and tensors answers."""

import base64
import binascii
import json

import numpy as np

NUMPY = {"DT_FLOAT": np.float32, "DT_INT32": np.int32, "DT_STRING": object}
HTTP_CODES = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "UNIMPLEMENTED": 501, "INTERNAL": 500,
    "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip


class Refused(Exception):  # noqa: N818
    """A status other than OK: the name of its code, and a message."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


def invalid(message):
    return Refused("INVALID_ARGUMENT", message)


def parse_predict(body, inputs_of):
    """Return ``(signature name, arrays by name, whether it is in rows)``.

    Args:
        body: bytes of the request.
        inputs_of: function of a signature's name that gives its inputs' dtypes by name.
    """
    document = _document(body)
    signature = document.get("signature_name", "serving_default")
    if not isinstance(signature, str):
        raise invalid("JSON Value not formatted correctly. 'signature_name' key must be a string value.")
    dtypes = inputs_of(signature)
    if "instances" in document and "inputs" in document:
        raise invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ")
    if "instances" in document:
        return signature, _rows(document["instances"], dtypes), True
    if "inputs" in document:
        return signature, _columns(document["inputs"], dtypes), False
    raise invalid("Missing 'inputs' or 'instances' key")


def write_predict(outputs, in_rows):
    """Return the body of an answer."""
    columns = {name: _plain(name, array) for name, array in outputs.items()}
    if not in_rows:
        return _dump({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})
    if len({len(column) for column in columns.values()}) != 1:
        raise invalid(f"Tensor name: {next(iter(columns))} has inconsistent batch size")
    if len(columns) == 1:
        return _dump({"predictions": next(iter(columns.values()))})
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return _dump({"predictions": rows})


def write_error(message):
    return _dump({"error": message})


def _document(body):
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_show(document)} Is not object")
    return document


def _rows(rows, dtypes):
    if not isinstance(rows, list):
        raise invalid("Excepting 'instances' to be an list/array")
    if not rows:
        raise invalid("No values in 'instances' array")
    if not isinstance(rows[0], dict) and len(dtypes) > 1:
        raise invalid("instances is a plain list, but expecting list of objects as multiple input tensors required")
    are_objects = _is_object(rows[0])
    columns = {}
    for index, row in enumerate(rows):
        if _is_object(row) != are_objects:
            raise invalid(f"Expecting {'object' if are_objects else 'value/list'} at item {index} of input list")
        items = row if are_objects else {next(iter(dtypes)): row}
        for name, value in items.items():
            try:
                columns.setdefault(name, []).append(_item(name, value, dtypes, columns.get(name)))
            except Refused as error:
                raise invalid(f"Failed to process element: {index} of 'instances' list. Error: {error}") from error
        if items.keys() != dtypes.keys():
            raise invalid(f"Failed to process element: {index} of 'instances' list. keys must be equal to: "
                          f"{','.join(sorted(dtypes))}")  # fmt: skip
    return {name: np.stack(column) for name, column in columns.items()}


def _item(name, value, dtypes, earlier):
    if name not in dtypes:
        raise invalid(f"JSON object: does not have named input: {name}")
    array = _tensor(value, dtypes[name])
    if earlier and earlier[0].shape != array.shape:
        raise invalid(f"Expecting shape {list(earlier[0].shape)} but got: {list(array.shape)}")
    return array


def _columns(columns, dtypes):
    if not _is_object(columns):
        if len(dtypes) > 1:
            raise invalid("inputs is a plain value/list, but expecting an object as multiple input tensors required")
        ((name, dtype),) = dtypes.items()
        return {name: _tensor(columns, dtype)}
    for name in dtypes:
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _tensor(columns[name], dtype) for name, dtype in dtypes.items()}


def _is_object(value):
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value):
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _tensor(value, dtype):
    """An array of nested lists; the first entries tell its shape."""
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    flat = []
    _fill(value, 0, shape, dtype, flat)
    array = np.empty(len(flat), NUMPY[dtype])
    array[:] = flat
    return array.reshape(shape)


def _fill(value, level, shape, dtype, flat):
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(f"JSON Value: {_show(value)} found at incorrect level: {level + 1}")
        flat.append(_leaf(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
                      f"{shape[level]}")  # fmt: skip
    for entry in value:
        _fill(entry, level + 1, shape, dtype, flat)


def _leaf(value, dtype):
    if dtype == "DT_STRING":
        if _is_base64(value):
            try:
                return base64.b64decode(value["b64"], validate=True)
            except binascii.Error as error:
                raise invalid("Unable to base64 decode") from error
        if isinstance(value, dict):
            raise invalid(f"JSON Value: {_show(value)} not formatted correctly for base64 data")
        if isinstance(value, str):
            return value.encode()
    is_number = isinstance(value, int if dtype == "DT_INT32" else (int, float)) and not isinstance(value, bool)
    if dtype == "DT_STRING" or not is_number or (dtype == "DT_INT32" and not -(2**31) <= value < 2**31):
        kind = {bool: "Bool", dict: "Object", str: "String", type(None): "Null"}.get(type(value), "Number")
        expected = {"DT_FLOAT": "float", "DT_INT32": "int32", "DT_STRING": "string"}[dtype]
        raise invalid(f"JSON Value: {_show(value)} Type: {kind} is not of expected type: {expected}")
    if dtype == "DT_FLOAT" and np.isfinite(value) and abs(value) > float(np.finfo(np.float32).max):
        raise invalid(f"Cannot convert JSON value: {_show(value)} to float without loss of precision.")
    return value


def _plain(name, array):
    if array.dtype == object:
        as_base64 = name.endswith("_bytes")
        flat = [
            {"b64": base64.b64encode(s).decode()} if as_base64 else s.decode(errors="surrogateescape")
            for s in array.ravel()
        ]
        return _nested(flat, array.shape)
    if array.dtype.kind == "f":  # as many digits as a float32 needs, a dot or an exponent always
        short = [float(f"{value:.9g}") for value in array.ravel().tolist()]
        return np.array(short, np.float64).reshape(array.shape).tolist()
    return array.tolist()


def _nested(flat, shape):
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape).tolist()


def _dump(value):
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape")  # bytes of strings as they are


def _show(value):
    return json.dumps(value)
