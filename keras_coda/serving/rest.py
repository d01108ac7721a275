"""Client of TF Serving's REST API."""

import base64
import gzip
import io
import json
import time
import zlib
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import numpy as np

from keras_coda.serving import deadlines
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

_ERRORS = {400: InvalidRequest, 413: InvalidRequest, 404: ModelNotFound, 408: DeadlineExceeded, 503: Unavailable,
           504: DeadlineExceeded}  # fmt: skip
_CHUNK = 1 << 16  # bytes
_ABOUT_A_MODEL = 1 << 24  # bytes, the most for status and metadata
_SHOWN = 1000  # characters of the server's message in an error


class RestClient(Client):
    """Predictions and explanations from a model server, over HTTP with JSON.

    For arrays of more than a few thousand pixels gRPC is several times faster, because JSON takes up to 20 characters
    per float. Image files are sent as they are.

    Args:
        url: of the server, ``http://host:8501``.
        model: name of the model.
        session: a ``requests.Session`` with your own headers, certificates or proxies, which the client does not
            close; None for a new one.
        **options: ``version``, ``label``, ``timeout``, ``retries``, ``backoff`` and ``class_names``, see
            :class:`Client`.

    Raises:
        ImportError: without ``requests`` (the extra ``serving``).
        ValueError: for a URL without http(s), and as :class:`Client`.

    Example::

        with RestClient("http://127.0.0.1:8501", "digits") as client:
            client.wait_until_ready()
            client.explain(["four.png", "nine.png"]).plot()
    """

    def __init__(self, url: str, model: str, *, session=None, **options):
        super().__init__(model, **options)
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
        require(is_url, "`url` must be that of a server", "For instance http://127.0.0.1:8501", url=url)
        chosen = "" if self.version is None else f"/versions/{self.version}"
        chosen = chosen if self.label is None else f"/labels/{quote(self.label, safe='')}"
        self._url = f"{url.rstrip('/')}/v1/models/{quote(model, safe='')}{chosen}"
        self._requests = import_optional("requests", extra="serving", purpose="RestClient")
        self._owns_session = session is None
        self._session = self._new_session() if session is None else session

    def _new_session(self):
        session = self._requests.Session()
        # `Retries` tries again, urllib3 must not; the pool holds a connection for every thread that shares the client.
        adapter = self._requests.adapters.HTTPAdapter(pool_maxsize=64, max_retries=0)
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        return session

    def _predict(self, request: Request, seconds: float, most: int) -> Mapping:
        inputs = {name: _plain(array) for name, array in request.inputs.items()}
        body = json.dumps({"signature_name": request.signature, "inputs": inputs}, allow_nan=False)
        answer = self._send("POST", ":predict", seconds, most, body.encode())
        outputs = answer.get("outputs")
        if not isinstance(outputs, dict):
            raise InvalidAnswer(f"The answer must have `outputs` by name. Received: {_shorten(str(answer))}")
        return outputs

    def _status(self, seconds: float) -> tuple[VersionStatus, ...]:
        return read_status(self._send("GET", "", seconds, _ABOUT_A_MODEL))

    def _metadata(self, seconds: float) -> ModelMetadata:
        return read_metadata(self._send("GET", "/metadata", seconds, _ABOUT_A_MODEL))

    def _close(self) -> None:
        if self._owns_session:
            self._session.close()

    def _send(self, method, path, seconds, most, body=None) -> dict:
        """Send a request; return the JSON object that answers it, within so many seconds and bytes."""
        exceptions, end = self._requests.exceptions, time.monotonic() + seconds
        # Only what `_read` can decode piece by piece: other codings, or several of them, grow without bound.
        headers = {"Accept-Encoding": "gzip", **({"Content-Type": "application/json"} if body else {})}
        try:
            deadlines.limit(self._session, self._requests.Request(method, self._url + path).prepare())
            options = {"timeout": seconds, "stream": True, "allow_redirects": False}
            with deadlines.until(end):
                response = self._session.request(method, self._url + path, data=body, headers=headers, **options)
                with response:
                    content = _read(response, most)
        except exceptions.Timeout as error:
            raise DeadlineExceeded(_no_answer(seconds, error)) from error
        except (exceptions.SSLError, exceptions.InvalidURL) as error:  # trying again does not help
            raise ServingError(f"The server cannot be reached. Received: {error}") from error
        except (exceptions.ConnectionError, exceptions.ChunkedEncodingError) as error:
            if time.monotonic() >= end:  # while it connected or sent the request
                raise DeadlineExceeded(_no_answer(seconds, error)) from error
            raise Unavailable(f"The connection broke. Received: {error}") from error
        except exceptions.RequestException as error:
            raise ServingError(f"The request failed. Received: {error}") from error
        return _json(response.status_code, content)


def _read(response, most) -> bytes:
    """Return the body of an answer, decoded.

    Raises:
        AnswerTooLarge: if it has more than ``most`` bytes, before or after decoding.
        InvalidAnswer: if it cannot be decoded.
    """
    from requests import exceptions
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise InvalidAnswer(f"An answer must be plain or gzip. Received: Content-Encoding: {_shorten(coding)}")
    try:
        content = _at_most(most, lambda size: response.raw.read(size, decode_content=False))
    except ReadTimeoutError as error:
        raise exceptions.ReadTimeout(str(error)) from error
    except (HTTPError, OSError) as error:
        raise exceptions.ConnectionError(str(error)) from error
    if "gzip" not in coding:
        return content
    try:
        return _at_most(most, gzip.GzipFile(fileobj=io.BytesIO(content)).read)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidAnswer(f"An answer in gzip must be whole. Received: {error}") from error


def _at_most(most, read) -> bytes:
    """Call ``read(number of bytes)`` until nothing comes; return it all, or raise ``AnswerTooLarge``."""
    content = bytearray()
    while chunk := read(_CHUNK):
        content += chunk
        if len(content) > most:
            raise AnswerTooLarge(f"An answer to this request has at most {most} bytes. Received: more")
    return bytes(content)


def _json(code, content) -> dict:
    """Return a JSON object, or raise the error that the server's code and message stand for."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):  # the answer of a proxy need not be JSON
        answer = None
    if code == 200:
        if not isinstance(answer, dict) or "error" in answer:
            raise InvalidAnswer(f"The answer must be a JSON object. Received: {_text(answer, content)}")
        return answer
    raise _ERRORS.get(code, ServingError)(f"The server answered {code}. Received: {_text(answer, content)}")


def _text(answer, content):
    if isinstance(answer, dict) and "error" in answer:
        return _shorten(str(answer["error"]))
    return _shorten(content.decode(errors="replace")) or "nothing"


def _shorten(text):
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _no_answer(seconds, error):
    return f"No answer within the time left, {seconds:.3g} s. Received: {error}"


def _plain(array: np.ndarray):
    """Return an array as values that JSON can hold."""
    if array.dtype == object:
        return [{"b64": base64.b64encode(contents).decode()} for contents in array]
    if array.dtype.kind == "f":
        whole = array.astype("int32")  # pixels mostly are whole numbers, which need a fifth of the characters
        array = whole if np.array_equal(whole, array) else array
    return array.tolist()
