"""The server of the explorer."""

import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterable

from keras_coda.explorer.networks import Networks
from keras_coda.utils.checks import check_int, require
from keras_coda.utils.optional import require_installed

PORTS = range(7860, 7960)  # where a free one is looked for
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Gradio's templates are functions that it makes of text, and its workers are blobs.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
)


def explore(
    models: Iterable[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    max_upload_mb: int = 10,
    open_browser: bool = False,
) -> None:
    """Serve the explorer until Ctrl-C, or SIGTERM; print its address.

    Nothing that visitors give is kept: a file is deleted as it is read, and the folder for uploads with the server.

    Args:
        models: folders of trained networks, to choose from before those that come with the package.
        host: address to listen at. Any but that of this machine alone lets others use it.
        port: None for the first free one from 7860, 0 for any free one.
        max_upload_mb: limit of a file, in MiB.
        open_browser: whether to open the page.

    Raises:
        ImportError: without the extra ``explore``.
        OSError: if the port is in use, or the host is none of this machine.
        ValueError: for models without weights, and numbers out of range.
    """
    max_upload_mb = check_int("max_upload_mb", max_upload_mb)
    # Gradio reads its settings from the environment when it is imported, so not yet.
    require_installed("gradio", extra="explore", purpose="The explorer")
    networks = Networks(models)
    port = _free_port(host, port)
    _end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="keras-coda-explorer-") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
        page = None
        try:
            page = start(networks, host, port, max_upload_mb, open_browser)
            print(f"The explorer is at {_address(host, port)} (Ctrl-C ends it).", flush=True)
            if host not in LOOPBACK:
                print("keras-coda: warning: whoever reaches this machine can use it.", file=sys.stderr)
            threading.Event().wait()
        except KeyboardInterrupt:
            print("\nThe explorer has ended.", flush=True)
        finally:
            if page is not None:
                page.server.force_exit = True  # pages that are open keep connections that never end by themselves
                page.close(verbose=False)


def start(networks: Networks, host: str, port: int, max_upload_mb: int = 10, open_browser: bool = False):
    """Start the server in threads of its own, and return Gradio's page, whose ``close`` ends it.

    ``GRADIO_TEMP_DIR`` must name the folder for uploads.
    """
    from starlette.middleware import Middleware

    from keras_coda.explorer import app, widgets

    networks[networks.names[0]].warm_up()
    page = app.build(networks)
    page.queue(max_size=64, api_open=False)
    page.launch(
        server_name=host,
        server_port=port,
        inbrowser=open_browser,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        max_file_size=max_upload_mb * 2**20,
        state_session_capacity=64,
        theme=app.THEME,
        css=widgets.CSS,
        head=widgets.HEAD,
        app_kwargs={"middleware": [Middleware(Guard)], "docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return page


class Guard:
    """Middleware that keeps pages from asking other servers for anything, and this one from doing so for them.

    Args:
        app: the ASGI application behind.
    """

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        """Serve one connection."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = scope["path"]
        if "file=http" in path or "/proxy=" in path:  # Gradio would fetch them
            await send({"type": "http.response.start", "status": 404, "headers": []})
            return await send({"type": "http.response.body", "body": b""})

        async def guarded(event):
            if event["type"] == "http.response.start":
                more = [(b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer"),
                        (b"x-content-type-options", b"nosniff")]  # fmt: skip
                event = {**event, "headers": [*event.get("headers", []), *more]}
            await send(event)

        return await self._app(scope, receive, guarded)


def _free_port(host, port):
    """Return a port that can be listened at: the one asked for, or a free one."""
    require(port is None or 0 <= port <= 65535, "`port` must be in [0, 65535]", port=port)
    reason = None
    for candidate in PORTS if port is None else (port,):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return probe.getsockname()[1]
        except socket.gaierror as error:
            raise OSError(f"`host` must be an address of this machine. Received: host={host!r} ({error}).") from error
        except OSError as error:
            reason = error
    received = f"host={host!r}, port={port} ({reason.strerror})"
    if port is None:
        received = f"host={host!r}, ports {PORTS.start} to {PORTS.stop - 1} ({reason.strerror})"
    raise OSError(
        f"The explorer must be able to listen there. Received: {received}. Choose another --port (0: any free one), or "
        "--host."
    ) from reason


def _address(host, port):
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _end_on_sigterm():
    """Let SIGTERM do what Ctrl-C does, so that the folder for uploads goes with the server."""
    if threading.current_thread() is threading.main_thread():

        def interrupt(*_):
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, interrupt)
