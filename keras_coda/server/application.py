"""The model class, the data plane and the metrics for KServe's server. Only this module imports KServe."""

import asyncio
import functools
import uuid
from concurrent.futures import ThreadPoolExecutor

import fastapi
import kserve
import numpy as np
import orjson
import prometheus_client
import pydantic
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER, PredictorProtocol
from kserve.errors import InvalidInput
from kserve.model_server import app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from starlette.exceptions import HTTPException

from keras_coda.exporters import schema
from keras_coda.server import bodies, metadata
from keras_coda.server.batcher import Batcher, Overloaded
from keras_coda.server.front import Front
from keras_coda.server.network import Network
from keras_coda.utils.checks import summary
from keras_coda.utils.errors import NonFiniteNetworkError, NotEnoughMemoryError

_V2 = "The body must be a request of the V2 protocol."
_SHOWN = 500  # characters of an error
_READERS = 2  # threads that decode image files: each holds the pixels of one
_SIZES = (1, 2, 4, 8, 16, 32, 64)

REQUESTS = prometheus_client.Counter("coda_requests", "answers by kind and HTTP status", ["kind", "status"])
IMAGES = prometheus_client.Counter("coda_images", "images answered by signature", ["signature"])
BATCHES = prometheus_client.Histogram("coda_batch_images", "images computed together", buckets=_SIZES)
RESIDUALS = prometheus_client.Histogram(
    "coda_relative_residual",
    "completeness error of a map: |sum of contributions and constants - logit|, relative to sum |contributions|",
    buckets=(1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3),
)


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """A status other than 200 and the reason in one line."""

    def __init__(self, status: int, reason: object):
        super().__init__(summary(reason if isinstance(reason, BaseException) else ValueError(reason), _SHOWN))
        self.status = status


class Model(kserve.Model):
    """A network that answers the V1 and V2 protocols.

    Args:
        network: what to serve.
        batcher: through which it is run.
    """

    def __init__(self, network: Network, batcher: Batcher):
        super().__init__(network.name)
        self._network, self._batcher = network, batcher
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        """Answer ``:predict`` of V1, or ``/infer`` of V2."""
        if isinstance(payload, kserve.InferRequest):
            return await self._in_thread(_write_v2, payload, self._network, await self._ask(bodies.read_v2, payload))
        return await self._answer(payload, "predict")

    async def explain(self, payload, headers=None):
        """Answer ``:explain`` of V1."""
        return await self._answer(payload, "explain")

    async def _answer(self, payload, verb):
        asked = await self._checked(bodies.read_v1, payload, verb)
        return await self._in_thread(bodies.write_v1, await self._outputs(asked), asked, verb)

    async def _ask(self, read, payload):
        return await self._outputs(await self._checked(read, payload))

    async def _outputs(self, asked: bodies.Asked) -> dict[str, np.ndarray]:
        images = asked.images
        request = await self._checked(self._network.request, asked.signature, images, asked.classes, asked.top_k)
        try:
            fields = await self._batcher(request.key, request.arrays)
        except Overloaded as error:
            raise Refused(503, error) from error
        except NotEnoughMemoryError as error:
            raise Refused(413, error) from error
        except NonFiniteNetworkError as error:
            raise Refused(500, error) from error
        except ValueError as error:  # images too small for a layer
            raise Refused(400, error) from error
        outputs = await self._in_thread(self._network.outputs, request, fields)
        IMAGES.labels(request.signature).inc(len(images))
        if "residual" in outputs:
            scale = np.abs(outputs["contributions"]).sum(axis=(2, 3))
            for value in (outputs["residual"] / np.maximum(scale, np.finfo("float32").tiny)).ravel():
                RESIDUALS.observe(float(value))
        return outputs

    async def _checked(self, function, *arguments):
        """Call a function that raises errors for what is wrong with a request."""
        try:
            return await self._in_thread(function, *arguments)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            raise Refused(400, error) from error

    async def _in_thread(self, function, *arguments):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, functools.partial(function, *arguments))


class CodaDataPlane(DataPlane):
    """Reads all bodies of V1 as JSON, whatever their header says, and gives the metadata of the network.

    Args:
        network: what is served.
        registry: KServe's, with its model.
    """

    def __init__(self, network: Network, registry: kserve.ModelRepository):
        super().__init__(registry)
        self._network = network

    async def model_metadata(self, model_name):
        """Return the metadata of the V2 protocol."""
        return metadata.v2_metadata(self._network)

    def decode(self, body, headers, protocol_version="v1", model_name=None):
        """Parse a body; raise :class:`Refused` if that is impossible."""
        try:
            if isinstance(body, bytes) and protocol_version == PredictorProtocol.REST_V1.value:
                return orjson.loads(body), {}
            if isinstance(body, bytes) and INFERENCE_CONTENT_LENGTH_HEADER not in headers:
                body = InferenceRequest.model_validate_json(body)
            return super().decode(body, headers, protocol_version, model_name)
        except orjson.JSONDecodeError as error:
            raise Refused(400, f"The body of a request must be JSON. Received: {len(body)} bytes ({error}).") from error
        except pydantic.ValidationError as error:
            raise Refused(400, _wrong_form(error)) from error
        except Exception as error:  # KServe raises nearly anything, for instance KeyError for missing fields
            fix = "Send `image_bytes` as text, in base64"
            raise Refused(400, f"{_V2} Received: {error!r}. {fix}.") from error

    def encode(self, model_name, response, headers, req_attributes):
        """Write an answer, never as a cloud event."""
        try:
            return super().encode(model_name, response, None, req_attributes)
        except InvalidInput as error:  # outputs asked for that there are not
            raise Refused(400, error) from error

    async def explain(self, model_name, request, headers=None):
        """Explain; KServe itself would send the headers of the request back as those of the answer."""
        return await super().explain(model_name, request)


def rest_server(network: Network, batcher: Batcher, host: str, port: int, max_bytes: int, grace: int) -> RESTServer:
    """Return KServe's server of one network, not started.

    Args:
        network: what to serve.
        batcher: through which it is run.
        host: the address to listen at; KServe itself listens at all.
        port: the port.
        max_bytes: of the body of a request.
        grace: seconds that requests have to be answered after the server was told to stop.
    """
    registry = kserve.ModelRepository()
    registry.update(Model(network, batcher))
    _add_own_routes(network)
    app.add_middleware(Front, name=network.name, version=network.version, max_bytes=max_bytes, count=_count)
    # KServe's own handlers, and so FastAPI's, log a traceback for each request that is refused.
    for error, status in ((Refused, None), (RequestValidationError, 400), (HTTPException, None)):
        app.add_exception_handler(error, functools.partial(_refuse, status))
    plane = CodaDataPlane(network, registry)
    server = RESTServer("kserve.model_server:app", plane, ModelRepositoryExtension(registry), port, grace_period=grace)
    server.config.host = host
    return server


def _add_own_routes(network):
    """Add what TF Serving's clients ask for, before KServe's routes of the same addresses."""

    async def status():
        return metadata.tf_serving_status(network)

    async def about():
        return metadata.tf_serving_metadata(network)

    app.add_api_route(f"/v1/models/{network.name}", status, methods=["GET"], response_class=JSONResponse)
    app.add_api_route(f"/v1/models/{network.name}/metadata", about, methods=["GET"], response_class=JSONResponse)


async def _refuse(status, request: fastapi.Request, error) -> JSONResponse:
    status = status or getattr(error, "status", None) or error.status_code
    if isinstance(error, RequestValidationError):
        text = _wrong_form(error)
    elif isinstance(error, HTTPException):
        text = f"{error.detail}. Received: {request.method} {request.url.path}."
    else:
        text = str(error)
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"error": text[:_SHOWN]}, status, headers)


def _wrong_form(error) -> str:
    """Return the first thing that pydantic has found."""
    wrong = error.errors()[0]
    return f"{_V2} Received: {'.'.join(map(str, wrong['loc'])) or 'body'}: {wrong['msg']}."


def _count(path, status):
    kinds = {"predict": ":predict", "explain": ":explain", "infer": "/infer"}
    kind = next((kind for kind, end in kinds.items() if path.endswith(end)), "other")
    REQUESTS.labels(kind, str(status)).inc()


def _write_v2(request, network, outputs) -> kserve.InferResponse:
    tensors = []
    expected = schema.tensors()
    for name, array in outputs.items():
        data = array.astype(object) if array.dtype.kind == "U" else array
        datatype = metadata.V2_TYPES[expected[name].dtype]
        tensors.append(kserve.InferOutput(name=name, shape=list(array.shape), datatype=datatype, data=data))
    return kserve.InferResponse(
        response_id=request.id or str(uuid.uuid4()),
        model_name=network.name,
        infer_outputs=tensors,
        model_version=str(network.version),
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )
