"""Warm-up requests: TF Serving runs them while it loads a model, so that no caller waits for the first runs.

They are ``PredictionLog`` protos in a TFRecord, ``assets.extra/tf_serving_warmup_requests``: one for every signature
and usual batch size. The server refuses to load a model whose warm-up fails; :func:`replay_warmup` runs it beforehand.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_coda.explanations.completeness import completeness
from keras_coda.exporters.bare_tensorflow import SavedModelRunError, run_signatures
from keras_coda.exporters.protos import SignatureMetadata, TensorMetadata, read_signatures
from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import check_int, require
from keras_coda.utils.optional import import_optional, is_installed

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
BATCH_SIZES = (1, 8)
MAX_RECORDS = 1000  # TF Serving's own limit
GRAY = 128
_RECORD_FRAME = 16  # bytes of a TFRecord around its data
Request = tuple[str, dict[str, np.ndarray]]  # name of the signature, and arrays by the name of the input


@dataclasses.dataclass(frozen=True)
class Replayed:
    """A request that ran.

    Attributes:
        signature: its name.
        batch_size: number of images.
        residual: the largest ``|Σ contributions + bias - logit|``, computed from the answer; None without maps.
        relative: the largest of them relative to ``Σ |contributions| + |bias| + |logit|``; None without maps.
    """

    signature: str
    batch_size: int
    residual: float | None
    relative: float | None = None


@dataclasses.dataclass(frozen=True)
class Replay:
    """The requests that :func:`replay_warmup` ran, in order."""

    records: tuple[Replayed, ...]

    @property
    def largest_residual(self) -> float | None:
        """The largest completeness error of any request; None if none asked for maps."""
        return max((record.residual for record in self.records if record.residual is not None), default=None)

    @property
    def largest_relative(self) -> float | None:
        """The largest error relative to the size of what is added up; None if no request asked for maps."""
        return max((record.relative for record in self.records if record.relative is not None), default=None)


def is_available() -> bool:
    """Tell whether the protos of TF Serving are installed."""
    return is_installed("tensorflow_serving")


def require_serving_api() -> None:
    """Raise the ``ImportError`` that names the extra unless the protos of TF Serving are installed."""
    import_optional(
        "tensorflow_serving",
        extra="serving",
        purpose="A warm-up request",
        package="tensorflow-serving-api",
        alternative="export with `warmup=False`",
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
        for request in requests:
            writer.write(prediction_log(*request).SerializeToString())
    return path


def read_warmup(folder: str | os.PathLike) -> list[Request]:
    """Return the warm-up requests of a SavedModel: name of the signature, and arrays by the name of the input.

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
    # TensorFlow ignores what follows the last whole record, if it is too short for the sizes and checksums of one.
    whole = sum(len(record) + _RECORD_FRAME for record in records) == path.stat().st_size
    require(whole, rule, path=os.fspath(path), records=len(records))
    kinds = sorted({log.WhichOneof("log_type") or "empty" for log in logs} - {"predict_log"})
    require(not kinds, "Warm-up must consist of predict_log records", records=kinds)
    try:
        return [_arrays(log.predict_log.request) for log in logs]
    except (TypeError, ValueError) as error:
        raise ValueError(f"Warm-up must hold whole tensors. Received: '{path}' ({error})") from error


def replay_warmup(folder: str | os.PathLike) -> Replay:
    """Run the warm-up requests of a SavedModel in a process that has TensorFlow but does not import this package.

    Without a warm-up file, the requests that :func:`write_warmup` would write are run.

    Args:
        folder: of the SavedModel.

    Raises:
        ImportError: if there is a warm-up file, and the extra ``serving`` to read it is missing.
        SavedModelRunError: if the SavedModel does not load, a request fails, or an answer is not finite or has another
            number of rows than the request.
        ValueError: if the warm-up file cannot be read, or there is none and the image size is free.
    """
    stored = Path(folder, WARMUP_FILE).is_file()
    requests = read_warmup(folder) if stored else list(example_requests(folder))
    answers = run_signatures(folder, requests)
    return Replay(tuple(_replayed(folder, *pair) for pair in zip(requests, answers, strict=True)))


def example_requests(folder: str | os.PathLike, batch_sizes: Sequence[int] = BATCH_SIZES) -> Iterator[Request]:
    """Yield a valid request for every signature and batch size.

    Raises:
        ValueError: as :func:`write_warmup`.
    """
    found = read_signatures(folder)
    image_shape = _image_shape(found)
    for batch_size in batch_sizes:
        check_int("batch_sizes", batch_size)
        for name, signature in found.items():
            yield name, {key: _example(key, signature, batch_size, image_shape) for key in signature.inputs}


def prediction_log(signature_name: str, inputs: dict[str, np.ndarray]):
    """Return the ``PredictionLog`` of a request; an array of equal values takes the space of one."""
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature_name  # the server fills in the name of the model
    for name, array in inputs.items():
        is_constant = array.size > 0 and (array == array.flat[0]).all()
        values = array.flat[0] if is_constant and array.dtype != object else array
        dtype = tf.string if array.dtype == object else array.dtype
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype, array.shape))
    return log


def _arrays(request) -> Request:
    import tensorflow as tf

    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    return request.model_spec.signature_name, inputs


def _replayed(folder, request: Request, outputs: dict[str, np.ndarray]) -> Replayed:
    """Check an answer, and compute its residual anew from the maps."""
    signature, inputs = request
    batch_size = len(next(iter(inputs.values())))
    for name, array in outputs.items():
        if array.shape[:1] != (batch_size,):
            reason = f"output '{name}' of '{signature}' has shape {array.shape} for {batch_size} rows"
            raise SavedModelRunError(folder, reason)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise SavedModelRunError(folder, f"output '{name}' of '{signature}' is not finite")
    if not {"contributions", "bias", "classes", "logits"} <= set(outputs):
        return Replayed(signature, batch_size, residual=None)
    constants = outputs["bias"][:, None].astype("float64") + outputs.get("offsets", 0)
    explained = np.take_along_axis(outputs["logits"], outputs["classes"], axis=1)
    residual, scale = completeness(outputs["contributions"], constants, explained)
    relative = residual / np.maximum(scale, np.finfo("float32").tiny)
    return Replayed(signature, batch_size, float(residual.max()), float(relative.max()))


def _image_shape(found: dict[str, SignatureMetadata]) -> tuple[int, int, int] | None:
    """Return height, width and channels of the arrays that are images; None if all images are files."""
    specs = [spec for signature in found.values() for spec in signature.inputs.values() if _is_image(spec)]
    shapes = {spec.shape[1:] for spec in specs if spec.shape}
    fixed = [(height, width, channels) for height, width, channels in shapes if height and width and channels]
    rule = "Warm-up requests need images of one size"
    require(len(fixed) == len(shapes), rule, "Export with `image_size`", shapes=sorted(map(str, shapes)))
    return min(fixed, default=None)


def _is_image(spec: TensorMetadata) -> bool:
    return spec.dtype == "float32" and spec.shape is not None and len(spec.shape) == 4


def _example(name: str, signature: SignatureMetadata, batch_size: int, image_shape) -> np.ndarray:
    """Return a valid value of an input, recognized by its dtype and number of axes."""
    spec = signature.inputs[name]
    shape = spec.shape or ()
    sizes = [size for size in shape[1:] if size is not None]
    if _is_image(spec):
        return np.full((batch_size, *sizes), GRAY, "float32")
    if spec.dtype == "string" and len(shape) == 1:
        return np.array([_gray_png(image_shape)] * batch_size, object)
    logits = signature.outputs.get("logits")
    num_classes = (logits.shape[-1] if logits and logits.shape else None) or 0
    is_classes = spec.dtype == "int32" and num_classes and sizes and len(sizes) == len(shape) - 1
    rule = "An input must be images, image files or classes"
    require(is_classes, rule, name=name, dtype=spec.dtype, shape=spec.shape)
    row = np.arange(sizes[-1], dtype="int32") % num_classes
    return np.broadcast_to(row, (batch_size, *sizes))


def _gray_png(image_shape) -> bytes:
    import tensorflow as tf

    height, width, channels = image_shape or (32, 32, 3)
    channels = channels if channels in (1, 3) else 1  # the server decodes no others
    return tf.io.encode_png(np.full((height, width, channels), GRAY, "uint8")).numpy()
