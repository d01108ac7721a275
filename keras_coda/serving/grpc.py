"""Client of TF Serving's gRPC API."""

from collections.abc import Mapping, Sequence

from keras_coda.serving.client import Client
from keras_coda.serving.errors import (
    DeadlineExceeded,
    InvalidAnswer,
    InvalidRequest,
    ModelNotFound,
    ServingError,
    Unavailable,
    optional,
)
from keras_coda.serving.metadata import ModelMetadata, VersionStatus, read_metadata, read_status
from keras_coda.serving.requests import Request
from keras_coda.utils.checks import require

_ERRORS = {
    "INVALID_ARGUMENT": InvalidRequest,
    "FAILED_PRECONDITION": InvalidRequest,  # so TF Serving calls a signature that there is not
    "OUT_OF_RANGE": InvalidRequest,
    "NOT_FOUND": ModelNotFound,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAVAILABLE": Unavailable,
    "CANCELLED": Unavailable,  # what a server that stops does to its calls
}
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),  # 4 MiB else: 81 maps of 112 x 112
    ("grpc.enable_retries", 0),  # retries are this client's own
    ("grpc.use_local_subchannel_pool", 1),  # a channel of its own, whatever else the process talks to
    # A broken connection is taken up again soon, not after up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class GrpcClient(Client):
    """Predictions and explanations from a model server, over gRPC.

    Args:
        target: address of the server, ``host:8500``.
        model: name of the model.
        version: int; None for the newest.
        label: name of a version instead.
        timeout: seconds for a whole call, with all its attempts.
        retries: attempts after the first, where the connection breaks or the server says UNAVAILABLE.
        backoff: seconds before the first of them; doubles each time, and is jittered.
        class_names: one name per class for explanations; None for the names served, which are only those of the
            classes explained.
        credentials: ``grpc.ChannelCredentials`` (``grpc.ssl_channel_credentials()``) for a secure channel; None for
            one that is not encrypted.
        metadata: pairs of strings sent along with each call, such as an authorization.
        options: further options of the channel, as pairs.

    Raises:
        ImportError: without ``grpcio`` and ``tensorflow-serving-api`` (the extra ``serving``).
        ValueError: for an empty target, both version and label, times that are not positive.

    Example::

        with GrpcClient("127.0.0.1:8500", "digits", version=2, timeout=5.0) as client:
            print(client.predict(images).top_class_names)
    """

    def __init__(
        self,
        target: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        backoff: float = 0.1,
        class_names: Sequence[str] | None = None,
        credentials=None,
        metadata: Sequence[tuple[str, str]] = (),
        options: Sequence[tuple] = (),
    ):
        super().__init__(
            model,
            version=version,
            label=label,
            timeout=timeout,
            retries=retries,
            backoff=backoff,
            class_names=class_names,
        )
        is_target = isinstance(target, str) and bool(target) and "://" not in target
        require(is_target, "`target` must be host:port", "For instance 127.0.0.1:8500", target=target)
        self._grpc = optional("grpc")
        self._stubs = _Stubs()
        options = (*_OPTIONS, *options)
        if credentials is None:
            self._channel = self._grpc.insecure_channel(target, options=options)
        else:
            self._channel = self._grpc.secure_channel(target, credentials, options=options)
        self._sent_along = tuple(metadata)
        self._predictions = self._stubs.prediction_grpc.PredictionServiceStub(self._channel)
        self._models = self._stubs.model_grpc.ModelServiceStub(self._channel)

    def _predict(self, request: Request, seconds: float) -> Mapping:
        message = self._stubs.predict.PredictRequest()
        self._fill(message.model_spec)
        message.model_spec.signature_name = request.signature
        for name, array in request.inputs.items():
            message.inputs[name].CopyFrom(self._stubs.tensorflow.make_tensor_proto(array, shape=array.shape))
        answer = self._send(self._predictions.Predict, message, seconds)
        self._check_version(answer.model_spec)
        try:
            return {name: self._stubs.tensorflow.make_ndarray(proto) for name, proto in answer.outputs.items()}
        except (TypeError, ValueError) as error:
            raise InvalidAnswer(f"The answer must hold whole tensors. Received: {error}") from error

    def _status(self, seconds: float) -> tuple[VersionStatus, ...]:
        message = self._stubs.status.GetModelStatusRequest()
        self._fill(message.model_spec)
        return read_status(self._stubs.plain(self._send(self._models.GetModelStatus, message, seconds)))

    def _metadata(self, seconds: float) -> ModelMetadata:
        message = self._stubs.metadata.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill(message.model_spec)
        answer = self._send(self._predictions.GetModelMetadata, message, seconds)
        signatures = self._stubs.metadata.SignatureDefMap()
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
        """Send a request and return the answer, or raise what the status means."""
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
        self.predict = optional(f"{apis}.predict_pb2")
        self.status = optional(f"{apis}.get_model_status_pb2")
        self.metadata = optional(f"{apis}.get_model_metadata_pb2")
        self.prediction_grpc = optional(f"{apis}.prediction_service_pb2_grpc")
        self.model_grpc = optional(f"{apis}.model_service_pb2_grpc")
        self.tensorflow = optional("tensorflow")
        self._json_format = optional("google.protobuf.json_format")

    def plain(self, message) -> dict:
        """Return a message in the JSON form that the REST API gives, too."""
        return self._json_format.MessageToDict(message, preserving_proto_field_name=True)
