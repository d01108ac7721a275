"""One deadline for a whole HTTP request.

The timeout of `requests` limits the wait for a connection and for every next piece of the answer. A server that sends a
byte now and then, of its headers for instance, is waited for much longer. Here every read, write and handshake may take
only the time that is left.
"""

import contextlib
import contextvars
import functools
import http.client
import io
import socket
import time
from collections.abc import Iterator

_end: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline of the request", default=None)


@contextlib.contextmanager
def until(end: float) -> Iterator[None]:
    """Let requests of this thread end at a time on the clock of ``time.monotonic``, see :func:`limit`."""
    token = _end.set(end)
    try:
        yield
    finally:
        _end.reset(token)


def limit(session, request) -> None:
    """Let a session keep the deadlines of :func:`until` on the connections that it makes for requests to a server.

    Args:
        session: a ``requests.Session``. Adapters that are not those of `requests` are left as they are.
        request: a ``requests.PreparedRequest`` to that server.
    """
    pool_for = getattr(session.get_adapter(request.url), "get_connection_with_tls_context", None)
    if pool_for is not None:
        settings = session.merge_environment_settings(request.url, {}, True, None, None)
        pool = pool_for(request, settings["verify"], proxies=settings["proxies"], cert=settings["cert"])
        pool.ConnectionCls = _limited(pool.ConnectionCls)


@functools.cache
def _limited(connection_class):
    if not issubclass(connection_class, http.client.HTTPConnection) or issubclass(connection_class, _Limited):
        return connection_class
    return type(f"Limited{connection_class.__name__}", (_Limited, connection_class), {})


class _Body(io.RawIOBase):
    """What a server sends, including status line, headers and the sizes of chunks."""

    def __init__(self, connection: socket.socket, raw):
        self._connection, self._raw = connection, raw

    def readable(self):
        return True

    def readinto(self, buffer):
        _set_time_left(self._connection)
        return self._raw.readinto(buffer)

    def close(self):
        if not self.closed:
            self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock, *args, **kwargs):
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Body(sock, self.fp.detach()))


class _Limited(http.client.HTTPConnection):
    """Goes before a connection class of urllib3."""

    response_class = _Response

    def _new_conn(self):
        connected = super()._new_conn()  # type: ignore[misc]  # of urllib3
        _set_time_left(connected)  # for the TLS handshake, which as a whole takes no longer than the socket's timeout
        return connected

    def send(self, data):
        if self.sock is not None:
            _set_time_left(self.sock)
        super().send(data)


def _set_time_left(connection):
    end = _end.get()
    if end is None:
        return
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(left)
