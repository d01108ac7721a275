"""What the server refuses before it reads a request: other models and versions, and more than it has room for."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable

_MODEL = re.compile(r"/v([12])/models/([^/:]+)((?:/versions/[^/:]+|/labels/[^/:]+)?)(.*)", re.DOTALL)
_VERBS = (":predict", ":explain")
_LOADS = "/v2/repository"  # KServe's addresses that unload a model, for anybody who can reach the server
_AT_ONCE = 8  # requests of the largest size
_DROPPING = 5.0  # seconds for the rest of a request that is too large


class Front:
    """Middleware before KServe's application.

    Addresses of the form ``/v1/models/NAME/versions/N...`` lead to the model if N is its version; KServe has only those
    without a version. Models cannot be loaded or unloaded.

    Args:
        app: the ASGI application that answers.
        name: of the model.
        version: of the model.
        max_bytes: of the body of a request; those that are answered at a time may have eight times as many together.
        count: called with path and status of every answer.
        max_seconds: in which the body of a request must arrive.
    """

    def __init__(
        self,
        app,
        *,
        name: str,
        version: int,
        max_bytes: int,
        count: Callable[[str, int], object] = lambda path, status: None,
        max_seconds: float = 60.0,
    ):
        self._app, self._name, self._version, self._count = app, name, str(version), count
        self._max_bytes, self._max_seconds, self._coming = max_bytes, max_seconds, 0

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        method, path = scope["method"], scope["path"]

        async def counted(event):
            if event["type"] == "http.response.start":
                self._count(path, event["status"])
            await send(event)

        size = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
        scope, refusal = self._routed(scope)
        refusal = refusal or self._too_large(method, size)
        if refusal:
            if refusal[0] == 413 and int(size) <= _AT_ONCE * self._max_bytes:
                # Callers that still send would see a broken connection in place of the answer.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(_drop(receive), min(self._max_seconds, _DROPPING))
            return await _refuse(counted, *refusal)
        coming = int(size) if size else 0
        self._coming += coming
        try:
            try:
                body = await asyncio.wait_for(_body(receive), self._max_seconds)
            except TimeoutError:
                text = f"A request must arrive within {self._max_seconds:g} s. Received: a part of it. Send it again."
                return await _refuse(counted, 408, text)
            if body is not None:  # the caller has not gone
                await self._app(scope, _replayed(body, receive), counted)
        finally:
            self._coming -= coming

    def _routed(self, scope):
        """Return the scope without the version in its path, and why it is refused, or None."""
        path, method = scope["path"], scope["method"]
        if path.startswith(_LOADS):
            return scope, (404, "This server has one model, which cannot be unloaded. Received: " + path[:100])
        found = _MODEL.fullmatch(path)
        if not found:
            return scope, None
        if found[2] != self._name:
            rule = f"This server has the model '{self._name}'"
            return scope, (404, f"{rule}. Received: '{found[2][:100]}'. Ask for /v{found[1]}/models/{self._name}.")
        if found[4].startswith(":") and found[4] not in _VERBS:
            return scope, (404, f"A model is asked to {' or '.join(_VERBS)}. Received: '{found[4][:100]}'.")
        if found[4].startswith(":") and method != "POST":
            return scope, (405, f"'{found[4]}' is asked by POST. Received: {method}. Send a body.")
        if found[3] in ("", f"/versions/{self._version}"):
            path = f"/v{found[1]}/models/{found[2]}{found[4]}"
            return {**scope, "path": path, "raw_path": path.encode()}, None
        rule = f"This server has version {self._version} of the model, and no labels"
        return scope, (404, f"{rule}. Received: '{found[3][1:101]}'. Leave it out.")

    def _too_large(self, method, size):
        """Return why a request has more content than there is room for, or None."""
        if method in ("GET", "HEAD", "OPTIONS") and not size:
            return None
        if not (size.isascii() and size.isdigit()):
            return 411, "Requests must have a Content-Length. Received: none. Send the body as a whole."
        if int(size) > self._max_bytes:
            return 413, f"A request may have {self._max_bytes} bytes. Received: {int(size)}. Send several requests."
        if self._coming and self._coming + int(size) > _AT_ONCE * self._max_bytes:
            return (
                503,
                f"Requests at a time may have {_AT_ONCE * self._max_bytes} bytes. Received: more. Try again later.",
            )
        return None


async def _body(receive) -> bytes | None:
    """Return the whole body of a request, or None if the connection ends before."""
    parts, is_complete = [], False
    while not is_complete:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        parts.append(event.get("body", b""))
        is_complete = not event.get("more_body", False)
    return b"".join(parts)


async def _drop(receive):
    """Receive the rest of a request, and keep nothing of it."""
    while (event := await receive())["type"] == "http.request" and event.get("more_body", False):
        pass


def _replayed(body, receive):
    """Return what an application receives from: a body that has been read, and then what comes after it."""
    events = [{"type": "http.request", "body": body, "more_body": False}]

    async def again():
        return events.pop() if events else await receive()

    return again


async def _refuse(send, status, text):
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in (408, 411, 413):  # the body will not be read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
