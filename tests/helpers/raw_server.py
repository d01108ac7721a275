"""Servers that send bytes as they like, for what no HTTP server of Python's would do."""

import contextlib
import itertools
import socket
import threading


@contextlib.contextmanager
def raw_server(handle):
    """Call ``handle(connection, stopped)`` for each connection; yield the address, ``127.0.0.1:PORT``."""
    stopped, threads = threading.Event(), []

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            handle(connection, stopped)

    def accept():
        while not stopped.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.02)
        threads.append(threading.Thread(target=accept, daemon=True))
        threads[0].start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopped.set()
            for thread in threads:
                thread.join()


def answering(body, head=b"Content-Type: application/json"):
    """Return a handler that reads one request and answers it."""

    def handle(connection, stopped):
        connection.recv(1 << 16)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n\r\n" % (len(body), head)
        )
        connection.sendall(body)

    return handle


def dripping(first, piece, seconds=0.05):
    """Return a handler that sends ``first``, and then one piece after another, for ever."""

    def handle(connection, stopped):
        connection.sendall(first)
        for _ in itertools.count():
            connection.sendall(piece)
            if stopped.wait(seconds):
                break

    return handle
