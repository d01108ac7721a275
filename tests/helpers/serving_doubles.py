"""Stand-ins for TF Serving's REST and gRPC servers: its rules and its errors, with the real SavedModels behind them."""

import collections
import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToJson
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow_serving.apis import model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc

from tests.helpers.serving_json import HTTP_CODES, Refused, invalid, parse_predict, write_error, write_predict
from tests.helpers.waiting import free_ports

_PREDICT = re.compile(
    r"(?i)/v1/models/([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)"
)
_STATUS = re.compile(r"(?i)/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:/(metadata))?")


class Double:
    """What both servers have: a port that stays when they restart, faults to come, counts of what was asked.

    Attributes:
        faults: what happens to the predictions to come, one each: a ``Refused``, seconds to wait, or ``"vanish"``
            (the connection breaks in the middle of the answer), and over REST ``"drip"`` or bytes to answer instead.
        alter: a function of outputs that returns others, or None.
        counts: of requests, by method.
    """

    def __init__(self, models):
        self.models, self.port = models, 0
        self.faults, self.alter, self.counts = collections.deque(), None, collections.Counter()
        self.stopped = threading.Event()
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def next_fault(self):
        self.counts["predict"] += 1
        with contextlib.suppress(IndexError):
            fault = self.faults.popleft()
            if isinstance(fault, Refused):
                raise fault
            if not isinstance(fault, float):
                return fault
            self.stopped.wait(fault)
        return None

    def run(self, loaded, signature, inputs):
        outputs = loaded.run(signature, inputs)
        return outputs if self.alter is None else self.alter(outputs)


class RestDouble(Double):
    def start(self):
        double = self

        class Handler(_Handler):
            server_double = double

        self.stopped.clear()
        self.connections = set()
        self._server = _HTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self):
        """Break all connections, as a process that is killed does."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def answer(self, method, path, body):
        """Return the bytes of the answer to a request."""
        if method == "POST" and (found := _PREDICT.fullmatch(path)) and found[4] == "predict":
            fault = self.next_fault()
            if isinstance(fault, bytes):
                return fault, None
            _, loaded = self.models.find(*_spec(found))
            signature, inputs, in_rows = parse_predict(body, lambda name: _dtypes(loaded, name))
            return write_predict(self.run(loaded, signature, inputs), in_rows), fault
        if method == "GET" and (found := _STATUS.fullmatch(path)) and found[1]:
            name, version, label = _spec(found)
            self.counts[found[4] or "status"] += 1
            if not found[4]:
                return write_message(self.models.status(name, version)), None
            answer, signatures = self.models.metadata(name, version, label)
            spec, signatures = write_message(answer.model_spec), write_message(signatures)
            return b'{"model_spec": %s, "metadata": {"signature_def": %s}}' % (spec, signatures), None
        raise invalid(f"Malformed request: {method} {path}")


def write_message(message):
    return MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True).encode()


def _spec(found):
    return unquote(found[1]), None if found[2] is None else int(found[2]), found[3] and unquote(found[3])


def _dtypes(loaded, signature):
    if signature not in loaded.signatures:
        raise invalid(f'Serving signature name: "{signature}" not found in signature def')
    return {name: DataType.Name(info.dtype) for name, info in loaded.signatures[signature].inputs.items()}


class _HTTPServer(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Say nothing of connections that broke."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    server_double: RestDouble

    def setup(self):
        super().setup()
        self.server_double.counts["connections"] += 1
        self.server_double.connections.add(self.connection)

    def finish(self):
        self.server_double.connections.discard(self.connection)
        super().finish()

    def do_GET(self):
        body, code, fault = self.rfile.read(int(self.headers.get("Content-Length") or 0)), 200, None
        if not self.path.lower().startswith("/v1/"):
            return self._write(404, b"<html>Not Found</html>")
        try:
            content, fault = self.server_double.answer(self.command, self.path, body)
        except Refused as error:
            code, content = HTTP_CODES.get(error.code, 500), write_error(error.message)
        return self._write(code, content, fault)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - names of http.server

    def _write(self, code, content, fault=None):
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "vanish":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif fault == "drip":
            for index in range(len(content)):
                if self.server_double.stopped.wait(0.02):
                    break
                self.wfile.write(content[index : index + 1])
        else:
            self.wfile.write(content)

    def log_message(self, *_):
        """Log nothing."""


class GrpcDouble(
    Double, prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    def start(self):
        self.stopped.clear()
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=40), options=options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self):
        self.stopped.set()
        self._server.stop(None).wait()

    def Predict(self, request, context):  # noqa: N802
        with _aborting(context):
            if self.next_fault() == "vanish":
                self._server.stop(None)
                self.stopped.wait(5)
            number, loaded = self.models.find(*_message_spec(request))
            signature = request.model_spec.signature_name or "serving_default"
            if signature not in loaded.signatures:
                raise Refused("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            answer = predict_pb2.PredictResponse()
            spec = answer.model_spec
            spec.name, spec.version.value, spec.signature_name = request.model_spec.name, number, signature
            for name, array in self.run(loaded, signature, inputs).items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(array, shape=np.shape(array)))
            return answer

    def GetModelMetadata(self, request, context):  # noqa: N802
        self.counts["metadata"] += 1
        with _aborting(context):
            return self.models.metadata(*_message_spec(request))[0]

    def GetModelStatus(self, request, context):  # noqa: N802
        self.counts["status"] += 1
        with _aborting(context):
            return self.models.status(*_message_spec(request)[:2])


@contextlib.contextmanager
def _aborting(context):
    try:
        yield
    except Refused as error:
        cut = error.message[:1024] + "...TRUNCATED" * (len(error.message) > 1024)
        context.abort(grpc.StatusCode[error.code], cut)


def _message_spec(request):
    spec = request.model_spec
    return spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label


def real_server_binary():
    """Where TF Serving's own binary is, or None."""
    return os.environ.get("KERAS_CODA_TF_SERVING") or shutil.which("tensorflow_model_server")


@contextlib.contextmanager
def real_server(base_path, name):
    """Run TF Serving's own binary; give ``(REST address, gRPC address)``."""
    rest, rpc = free_ports(2)
    command = [real_server_binary(), f"--port={rpc}", f"--rest_api_port={rest}", f"--model_name={name}"]
    process = subprocess.Popen([*command, f"--model_base_path={base_path}"], stdout=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{rest}", f"127.0.0.1:{rpc}"
    finally:
        process.terminate()
        process.wait(30)
