"""The server of the explorer: its address, its limits, and the requests that it refuses."""

import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from keras_coda.explorer.guard import Guard, is_loopback
from keras_coda.explorer.networks import Networks
from keras_coda.utils.atomic import temporary_folder
from keras_coda.utils.checks import check_int, require
from keras_coda.utils.optional import require_installed

PORTS = range(7860, 7960)  # the first free one of them is used


def explore(
    models: Iterable[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    max_upload_mb: int = 10,
    open_browser: bool = False,
) -> None:
    """Serve the explorer, a page in the browser, until Ctrl-C or SIGTERM; print its address.

    Uploads are not kept: a file is deleted as soon as it is read, the folder for uploads when the server stops. What an
    explorer that was killed left is deleted when the next one starts.

    Args:
        models: folders of trained networks, or names of presets; listed before those that come with the package.
        host: the address to listen at. With any other than the default, other machines can use the explorer.
        port: None for the first free port from 7860 on, 0 for any free port.
        max_upload_mb: the largest file that can be uploaded, in MiB.
        open_browser: whether to open the page in the browser.

    Raises:
        ImportError: if Gradio is not installed (``keras-coda[explore]``).
        OSError: if the port is in use, or ``host`` is not an address of this machine.
        ValueError: if a model has no weights, or a number is out of range.
    """
    max_upload_mb = check_int("max_upload_mb", max_upload_mb)
    # Only looked for: Gradio reads its settings from the environment, set below, when it is imported.
    require_installed("gradio", extra="explore", purpose="The explorer")
    networks = Networks(models)
    port = _free_port(host, port)
    _stop_on_sigterm()
    with temporary_folder(Path(tempfile.gettempdir()), "keras-coda-explorer") as folder:
        folder.chmod(0o700)  # uploads are nobody else's business
        os.environ |= {
            "GRADIO_TEMP_DIR": str(folder),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        app = None
        try:
            app = start(networks, host, port, max_upload_mb, open_browser)
            print(f"The explorer is at {_address(host, port)} (Ctrl-C stops it).", flush=True)
            if not is_loopback(host):
                warning = "keras-coda: warning: everybody who can reach this machine can use the explorer."
                print(warning, file=sys.stderr)
            threading.Event().wait()
        except KeyboardInterrupt:
            print("\nThe explorer has stopped.", flush=True)
        finally:
            if app is not None:
                app.server.force_exit = True  # open pages hold connections that never end by themselves
                app.close(verbose=False)


def start(networks: Networks, host: str, port: int, max_upload_mb: int = 10, open_browser: bool = False):
    """Start the server in threads of its own, and return Gradio's app; its method ``close`` stops the server.

    The environment variable ``GRADIO_TEMP_DIR`` must be the folder for uploads.

    Args:
        networks: the networks to choose from.
        host: the address to listen at.
        port: the port, which must be free.
        max_upload_mb: the largest file that can be uploaded, in MiB.
        open_browser: whether to open the page in the browser.
    """
    from starlette.middleware import Middleware

    from keras_coda.explorer import page

    folder, max_upload = Path(os.environ["GRADIO_TEMP_DIR"]), max_upload_mb * 2**20
    guard = Middleware(Guard, host=host, folder=folder, max_upload=max_upload)
    networks[networks.names[0]].warm_up()
    app = page.build(networks)
    app.queue(max_size=64, api_open=False)
    app.launch(
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
        max_file_size=max_upload,
        state_session_capacity=64,
        theme=page.THEME,
        css=page.static("style.css"),
        head=f"<script>\n{page.static('page.js')}</script>",
        app_kwargs={"middleware": [guard], "docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return app


def _free_port(host, port):
    """Return ``port`` if the server can listen at it; for None or 0 a free port."""
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
        f"The explorer must be able to listen at its address. Received: {received}. Choose another --port (0: any free "
        "one), or another --host."
    ) from reason


def _address(host, port):
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _stop_on_sigterm():
    """Make SIGTERM stop the server as Ctrl-C does, so that the folder for uploads is deleted."""
    if threading.current_thread() is threading.main_thread():

        def interrupt(*_):
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, interrupt)
