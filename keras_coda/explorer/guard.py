"""What the explorer refuses before Gradio sees a request: other sites, and more than the disk should hold."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from keras_coda.utils.listening import is_loopback

# The content security policy of all pages. Gradio compiles templates from text and starts workers from blobs.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
)
HEADERS = ((b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer"),
           (b"x-content-type-options", b"nosniff"))  # fmt: skip
MAX_FILES = 32  # so many of the largest size fit into the folder for uploads
OLD = 120  # seconds; files are deleted as soon as they are read, and by Gradio after a minute


class Guard:
    """Middleware that keeps other sites out, the folder for uploads small, and the server from fetching addresses.

    If the explorer listens on the loopback interface only, it answers requests that name another host with 403: a site
    whose name was made to lead here (DNS rebinding) would be able to read pages, and to upload. Requests of pages of
    other sites, which browsers send with an ``Origin``, get the same answer.

    Args:
        app: the ASGI application that answers.
        host: the address that the server listens at.
        folder: for uploads.
        max_upload: size of the largest file, in bytes.
    """

    def __init__(self, app, *, host: str, folder: Path, max_upload: int):
        self._app, self._host, self._folder, self._max_upload = app, host, folder, max_upload
        self._is_local = is_loopback(host)
        self._coming = 0  # bytes of the uploads that are under way

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._foreign(headers) or self._fetching(scope["path"]) or self._too_large(scope, headers)
        if refusal:
            return await _refuse(scope, send, *refusal)

        async def guarded(event):
            if event["type"] == "http.response.start":
                event = {**event, "headers": [*event.get("headers", []), *HEADERS]}
            await send(event)

        coming = int(headers.get(b"content-length", 0)) if _is_upload(scope) else 0
        self._coming += coming
        try:
            return await self._app(scope, receive, guarded)
        finally:
            self._coming -= coming

    def _foreign(self, headers):
        """Return why a request comes from another site, or None."""
        if not self._is_local:
            return None
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        name = _hostname(f"//{host}")
        if not name or (name != self._host and not is_loopback(name, resolve=False)):
            return 403, "This explorer answers on this machine only: open it at the address that it printed."
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "This explorer answers its own pages only."
        return None

    def _fetching(self, path):
        """Return why a request would make Gradio fetch an address, or None."""
        return (404, "") if "file=http" in path.lower() or "/proxy=" in path.lower() else None

    def _too_large(self, scope, headers):
        """Return why a request has more content than there is room for, or None."""
        if scope.get("method") in (None, "GET", "HEAD", "OPTIONS"):
            return None
        size = headers.get(b"content-length", "")
        if not (size.isascii() and size.isdigit()):
            return 411, "Requests must have a Content-Length."
        room = MAX_FILES * self._max_upload
        if int(size) > (room if _is_upload(scope) else self._max_upload):
            return 413, "This is more than the explorer takes at once."
        if _is_upload(scope) and self._used() + self._coming + int(size) > room:
            self._delete_old()
            if self._used() + self._coming + int(size) > room:
                return 503, "The folder for uploads is full. Try again in a minute."
        return None

    def _used(self):
        return sum(size for _, size, _ in _files(self._folder))

    def _delete_old(self):
        """Delete files that nobody asks for any more: of pages that were closed, and of uploads that broke off."""
        for path, _, changed in _files(self._folder):
            if time.time() - changed > OLD:
                path.unlink(missing_ok=True)
                if path.parent != self._folder:
                    with contextlib.suppress(OSError):  # holds other files
                        path.parent.rmdir()


def _hostname(address):
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _is_upload(scope):
    return scope["path"].rstrip("/").endswith("/upload")


def _files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Yield path, size and time of the last change of all files in a folder, also while some are deleted."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                yield path, status.st_size, status.st_mtime


async def _refuse(scope, send, status, text):
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    return await send({"type": "http.response.body", "body": text.encode()})
