"""Warm-up requests: TF Serving runs them while it loads a model, so that no caller waits for the first runs.

They are ``PredictionLog`` protos in a TFRecord, ``assets.extra/tf_serving_warmup_requests``, one for every signature
and usual batch size. The server refuses to load a model whose warm-up fails: :func:`replay` runs them before.
"""

import base64
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from keras_coda.exporters.protos import Signature, TensorSpec, read_meta_graph, signatures
from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import check_int, require

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
BATCH_SIZES = (1, 8)
MAX_RECORDS = 1000  # TF Serving's own limit
GRAY = 128.0
_RECORD_FRAME = 16  # bytes of a TFRecord around its data

# Runs in a process of its own: a SavedModel needs nothing but TensorFlow. Residuals are computed anew from the maps.
_BARE_TENSORFLOW = """
import base64, json, sys
import numpy as np
import tensorflow as tf

def replay(run, inputs):
    specs = run.structured_input_signature[1]
    inputs = {name: tf.io.parse_tensor(base64.b64decode(data), specs[name].dtype) for name, data in inputs.items()}
    batch_size = len(next(iter(inputs.values())))
    outputs = {name: value.numpy() for name, value in run(**inputs).items()}
    for name, value in outputs.items():
        assert value.shape[:1] == (batch_size,), f"output {name} has shape {value.shape} for {batch_size} rows"
        assert value.dtype.kind != "f" or np.isfinite(value).all(), f"output {name} is not finite"
    residual = None
    if {"contributions", "bias", "classes", "logits"} <= set(outputs):
        total = outputs["contributions"].sum((2, 3), dtype="float64") + outputs["bias"][:, None]
        explained = np.take_along_axis(outputs["logits"], outputs["classes"], axis=1)
        residual = float(np.abs(total - explained).max())
    return {"batch_size": batch_size, "residual": residual}

folder, requests = sys.argv[1:]
functions = tf.saved_model.load(folder).signatures
with open(requests) as file:
    requests = json.load(file)
results = [{"signature": name, **replay(functions[name], inputs)} for name, inputs in requests]
assert "keras_coda" not in sys.modules
print(json.dumps(results))
"""


@dataclasses.dataclass(frozen=True)
class Replayed:
    """A request that ran.

    Attributes:
        signature: its name.
        batch_size: number of images.
        residual: the largest ``|Σ contributions + bias - logit|``, computed from the answer; None without maps.
    """

    signature: str
    batch_size: int
    residual: float | None


@dataclasses.dataclass(frozen=True)
class Replay:
    """What :func:`replay` ran, in order."""

    records: tuple[Replayed, ...]

    @property
    def largest_residual(self) -> float | None:
        """The largest completeness error of any request; None if none asked for maps."""
        return max((record.residual for record in self.records if record.residual is not None), default=None)


def is_available() -> bool:
    """Tell whether the protos of TF Serving are installed."""
    return importlib.util.find_spec("tensorflow_serving") is not None


def require_serving_api() -> None:
    """Raise the ``ImportError`` that names the extra unless the protos of TF Serving are installed."""
    if not is_available():
        raise ImportError(
            "Warm-up requests need the package tensorflow-serving-api, which is not installed. "
            'Install it: `pip install "keras-coda[serving]"`, or export with `warmup=False`.'
        )


def write_warmup(folder: str | os.PathLike, *, batch_sizes: Sequence[int] = BATCH_SIZES) -> Path:
    """Add one warm-up request per signature and batch size to a SavedModel, whole or not at all.

    Requests hold gray images, as arrays or PNG files, and the classes 0 to K - 1: valid, and small on disk.

    Args:
        folder: of any SavedModel whose inputs are images, image files and classes; names and shapes are read from it.
        batch_sizes: numbers of images; those that the server's batching allows.

    Returns:
        The file written.

    Raises:
        ImportError: without the extra ``serving``.
        ValueError: if the image size is free, an input is of another kind, or there would be more than 1,000 requests.
    """
    require_serving_api()
    import tensorflow as tf

    requests = list(example_requests(folder, batch_sizes))
    require(len(requests) <= MAX_RECORDS, f"At most {MAX_RECORDS} warm-up requests are allowed", requests=len(requests))
    path = Path(folder, WARMUP_FILE)
    path.parent.mkdir(exist_ok=True)
    with new_file(path) as temporary, tf.io.TFRecordWriter(os.fspath(temporary)) as writer:
        for name, inputs in requests:
            writer.write(_prediction_log(name, inputs).SerializeToString())
    return path


def read_warmup(folder: str | os.PathLike) -> list[tuple[str, dict]]:
    """Return the warm-up requests of a SavedModel: signature name and ``TensorProto`` by input name.

    Raises:
        FileNotFoundError: if there are none.
        ImportError: without the extra ``serving``.
        ValueError: if the file is no TFRecord of prediction logs.
    """
    require_serving_api()
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    path = Path(folder, WARMUP_FILE)
    if not path.is_file():
        raise FileNotFoundError(f"The SavedModel must have warm-up requests. Received: folder='{folder}'")
    rule = "Warm-up must be a TFRecord of PredictionLog"
    try:
        records = [record.numpy() for record in tf.data.TFRecordDataset(os.fspath(path))]
        logs = [PredictionLog.FromString(record) for record in records]
    except (tf.errors.DataLossError, DecodeError) as error:
        raise ValueError(f"{rule}. Received: '{path}' ({error})") from error
    # TensorFlow passes over a tail too short for a record, which begins and ends with sizes and checksums.
    whole = sum(len(record) + _RECORD_FRAME for record in records) == path.stat().st_size
    require(whole, rule, path=os.fspath(path), records=len(records))
    kinds = sorted({log.WhichOneof("log_type") or "empty" for log in logs} - {"predict_log"})
    require(not kinds, "Warm-up must consist of predict_log records", records=kinds)
    requests = [log.predict_log.request for log in logs]
    return [(request.model_spec.signature_name, dict(request.inputs)) for request in requests]


def replay(folder: str | os.PathLike) -> Replay:
    """Run the warm-up requests of a SavedModel in a process that knows TensorFlow but not this package.

    Without a warm-up file, the requests it would have are run.

    Args:
        folder: of the SavedModel.

    Raises:
        ImportError: if there is a warm-up file, and the extra ``serving`` to read it is missing.
        RuntimeError: if the SavedModel does not load, a request fails, or an answer is not finite or of another
            number of rows.
        ValueError: if the warm-up file cannot be read, or there is none and the image size is free.
    """
    stored = Path(folder, WARMUP_FILE).is_file()
    requests = read_warmup(folder) if stored else example_requests(folder)
    encoded = [(name, {key: _base64(tensor) for key, tensor in inputs.items()}) for name, inputs in requests]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "requests.json")
        path.write_text(json.dumps(encoded))
        command = [sys.executable, "-c", _BARE_TENSORFLOW, os.fspath(folder), os.fspath(path)]
        process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"Warm-up requests must run in bare TensorFlow. Received: '{folder}' ({reason})")
    return Replay(tuple(Replayed(**record) for record in json.loads(process.stdout.splitlines()[-1])))


def example_requests(folder: str | os.PathLike, batch_sizes: Sequence[int] = BATCH_SIZES):
    """Yield the signature name and a valid ``TensorProto`` by input name for every signature and batch size.

    Raises:
        ValueError: as :func:`write_warmup`.
    """
    found = signatures(read_meta_graph(folder))
    image_shape = _image_shape(found)
    for batch_size in batch_sizes:
        check_int("batch_sizes", batch_size)
        for name, signature in found.items():
            yield name, {key: _example(key, signature, batch_size, image_shape) for key in signature.inputs}


def _image_shape(found: dict[str, Signature]) -> tuple[int, int, int] | None:
    """Height, width and channels of the arrays that are images; None if all images come as files."""
    specs = [spec for signature in found.values() for spec in signature.inputs.values() if _is_image(spec)]
    shapes = {spec.shape[1:] for spec in specs}
    fixed = all(None not in shape for shape in shapes)
    require(
        fixed, "Warm-up requests need images of one size", "Export with `image_size`", shapes=sorted(map(str, shapes))
    )
    return min(shapes, default=None)


def _is_image(spec: TensorSpec) -> bool:
    return spec.dtype == "float32" and spec.shape is not None and len(spec.shape) == 4


def _example(name: str, signature: Signature, batch_size: int, image_shape):
    """Return a valid value of an input, as a ``TensorProto``."""
    import tensorflow as tf

    spec = signature.inputs[name]
    if _is_image(spec):
        # One value stands for all: a full picture would take megabytes.
        return tf.make_tensor_proto(GRAY, tf.float32, (batch_size, *spec.shape[1:]))
    if spec.dtype == "string" and spec.shape is not None and len(spec.shape) == 1:
        return tf.make_tensor_proto([_gray_png(image_shape)] * batch_size)
    is_classes = spec.dtype == "int32" and "logits" in signature.outputs and spec.shape and None not in spec.shape[1:]
    require(
        is_classes, "An input must be images, image files or classes", name=name, dtype=spec.dtype, shape=spec.shape
    )
    num_classes = signature.outputs["logits"].shape[-1]
    row = tf.range(spec.shape[-1], dtype=tf.int32) % num_classes
    return tf.make_tensor_proto(tf.broadcast_to(row, (batch_size, *spec.shape[1:])).numpy())


def _gray_png(image_shape) -> bytes:
    import tensorflow as tf

    height, width, channels = image_shape or (32, 32, 3)
    channels = channels if channels in (1, 3) else 1  # the server decodes no others
    return tf.io.encode_png(tf.fill((height, width, channels), tf.constant(int(GRAY), tf.uint8))).numpy()


def _prediction_log(signature_name: str, inputs: dict):
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature_name  # the server fills in the model that it loads
    for name, tensor in inputs.items():
        request.inputs[name].CopyFrom(tensor)
    return log


def _base64(tensor) -> str:
    return base64.b64encode(tensor.SerializeToString()).decode()
