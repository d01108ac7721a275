"""Client of TF Serving's gRPC API."""

import contextlib
import math
from collections.abc import Mapping, Sequence

from keras_coda.serving.client import Client
from keras_coda.serving.errors import (
    AnswerTooLarge,
    DeadlineExceeded,
    InvalidAnswer,
    InvalidRequest,
    ModelNotFound,
    ServingError,
    Unavailable,
)
from keras_coda.serving.metadata import ModelMetadata, VersionStatus, read_metadata, read_status
from keras_coda.serving.requests import Request
from keras_coda.utils.checks import require
from keras_coda.utils.optional import import_optional

_ERRORS = {
    "INVALID_ARGUMENT": InvalidRequest,
    "FAILED_PRECONDITION": InvalidRequest,  # TF Serving's code for a signature that does not exist
    "OUT_OF_RANGE": InvalidRequest,
    "NOT_FOUND": ModelNotFound,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAVAILABLE": Unavailable,
    "CANCELLED": Unavailable,  # a server that stops cancels its calls
}
_NUMBER = 4  # bytes of most tensors
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),  # the default of 4 MiB is 81 maps of 112 x 112
    # No compression, which servers must comply with: a megabyte can hold gigabytes of zeros.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.enable_retries", 0),  # `Retries` tries again
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own, also if the process has others to this server
    # Connect again soon after a connection broke; the default is up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class GrpcClient(Client):
    """Predictions and explanations from a model server, over gRPC.

    Args:
        target: address of the server, ``host:8500``.
        model: name of the model.
        credentials: ``grpc.ChannelCredentials`` (``grpc.ssl_channel_credentials()``) for a secure channel; None for
            one that is not encrypted.
        metadata: pairs of strings sent along with each call, such as an authorization.
        options: further options of the channel, as pairs.
        **common: ``version``, ``label``, ``timeout``, ``retries``, ``backoff`` and ``class_names``, see
            :class:`Client`.

    Raises:
        ImportError: without ``grpcio`` and ``tensorflow-serving-api`` (the extra ``serving``).
        ValueError: for an empty target, and as :class:`Client`.

    Example::

        with GrpcClient("127.0.0.1:8500", "digits", version=2, timeout=5.0) as client:
            print(client.predict(images).top_class_names)
    """

    def __init__(
        self,
        target: str,
        model: str,
        *,
        credentials=None,
        metadata: Sequence[tuple[str, str]] = (),
        options: Sequence[tuple] = (),
        **common,
    ):
        super().__init__(model, **common)
        is_target = isinstance(target, str) and bool(target) and "://" not in target
        require(is_target, "`target` must be host:port", "For instance 127.0.0.1:8500", target=target)
        self._grpc = _import("grpc", "grpcio")
        self._stubs = _Stubs()
        options = (*_OPTIONS, *options)
        if credentials is None:
            self._channel = self._grpc.insecure_channel(target, options=options)
        else:
            self._channel = self._grpc.secure_channel(target, credentials, options=options)
        self._sent_along = tuple(metadata)
        self._predictions = self._stubs.prediction_grpc.PredictionServiceStub(self._channel)
        self._models = self._stubs.model_grpc.ModelServiceStub(self._channel)

    def _predict(self, request: Request, seconds: float, most: int) -> Mapping:
        message = self._stubs.predict.PredictRequest()
        self._fill(message.model_spec)
        message.model_spec.signature_name = request.signature
        for name, array in request.inputs.items():
            message.inputs[name].CopyFrom(self._stubs.tensorflow.make_tensor_proto(array, shape=array.shape))
        answer = self._send(self._predictions.Predict, message, seconds)
        self._check_version(answer.model_spec)
        # A tensor may have a shape of any size and one value, which is repeated.
        size = sum(
            _NUMBER * math.prod(abs(axis.size) for axis in proto.tensor_shape.dim) for proto in answer.outputs.values()
        )
        if size > most:
            raise AnswerTooLarge(f"An answer to this request has at most {most} bytes. Received: {size}")
        with self._stubs.decoding():
            return {name: self._stubs.tensorflow.make_ndarray(proto) for name, proto in answer.outputs.items()}

    def _status(self, seconds: float) -> tuple[VersionStatus, ...]:
        message = self._stubs.status.GetModelStatusRequest()
        self._fill(message.model_spec)
        return read_status(self._stubs.plain(self._send(self._models.GetModelStatus, message, seconds)))

    def _metadata(self, seconds: float) -> ModelMetadata:
        message = self._stubs.metadata.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill(message.model_spec)
        answer = self._send(self._predictions.GetModelMetadata, message, seconds)
        signatures = self._stubs.metadata.SignatureDefMap()
        with self._stubs.decoding():
            answer.metadata["signature_def"].Unpack(signatures)
        spec = self._stubs.plain(answer.model_spec)
        return read_metadata(
            {"model_spec": spec, "metadata": {"signature_def": {"signature_def": {}, **self._stubs.plain(signatures)}}}
        )

    def _close(self) -> None:
        self._channel.close()

    def _fill(self, spec):
        spec.name = self.model
        if self.version is not None:
            spec.version.value = self.version
        if self.label is not None:
            spec.version_label = self.label

    def _check_version(self, spec):
        if self.version is not None and spec.HasField("version") and spec.version.value != self.version:
            rule = f"The answer must be that of version {self.version}"
            raise InvalidAnswer(f"{rule}. Received: version={spec.version.value}")

    def _send(self, method, message, seconds):
        """Send a request and return the answer, or raise the error that the status stands for."""
        try:
            return method(message, timeout=seconds, metadata=self._sent_along)
        except self._grpc.RpcError as error:
            code = error.code().name
            said = error.details() or "nothing"
            raise _ERRORS.get(code, ServingError)(f"The server answered {code}. Received: {said}") from error
        except ValueError as error:  # closed by another thread
            raise ServingError(f"The channel must be open. Received: {error}") from error


class _Stubs:
    """The official stubs, which import TensorFlow."""

    def __init__(self):
        apis = "tensorflow_serving.apis"
        self.predict = _import(f"{apis}.predict_pb2", "tensorflow-serving-api")
        self.status = _import(f"{apis}.get_model_status_pb2", "tensorflow-serving-api")
        self.metadata = _import(f"{apis}.get_model_metadata_pb2", "tensorflow-serving-api")
        self.prediction_grpc = _import(f"{apis}.prediction_service_pb2_grpc", "tensorflow-serving-api")
        self.model_grpc = _import(f"{apis}.model_service_pb2_grpc", "tensorflow-serving-api")
        self.tensorflow = _import("tensorflow", "tensorflow")
        self._json_format = _import("google.protobuf.json_format", "protobuf")
        self._message = _import("google.protobuf.message", "protobuf")

    def plain(self, message) -> dict:
        """Return a message in its JSON form, which is that of the REST API."""
        with self.decoding():
            return self._json_format.MessageToDict(message, preserving_proto_field_name=True)

    @contextlib.contextmanager
    def decoding(self):
        """Raise ``InvalidAnswer`` for messages that hold other messages, or tensors, that are damaged."""
        try:
            yield
        except (self._message.Error, self._json_format.Error, KeyError, TypeError, ValueError) as error:
            raise InvalidAnswer(f"The answer must hold whole messages and tensors. Received: {error!r}") from error


def _import(module: str, package: str):
    return import_optional(module, extra="serving", purpose="GrpcClient", package=package)
