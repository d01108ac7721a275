"""The server of the explorer: its address, its limits, and the requests that it refuses."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from keras_coda.explorer.guard import Guard
from keras_coda.explorer.networks import Networks
from keras_coda.utils.atomic import temporary_folder
from keras_coda.utils.checks import check_int
from keras_coda.utils.listening import free_port, is_loopback, stop_on_sigterm, url
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
    port = free_port("The explorer", host, PORTS if port is None else (port,))
    stop_on_sigterm()
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
            print(f"The explorer is at {url(host, port)} (Ctrl-C stops it).", flush=True)
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
    _tell("importing Gradio")
    from starlette.middleware import Middleware

    from keras_coda.explorer import page

    folder, max_upload = Path(os.environ["GRADIO_TEMP_DIR"]), max_upload_mb * 2**20
    guard = Middleware(Guard, host=host, folder=folder, max_upload=max_upload)
    _tell(f"loading the network {networks.names[0]}")
    network = networks[networks.names[0]]
    _tell("preparing its explanations, so that the first page does not wait for them")
    network.warm_up()
    _tell("starting the page")
    app = page.build(networks, max_upload_mb)
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


def _tell(what):
    """Say what the start waits for: it takes many seconds."""
    print(f"keras-coda: {what} ...", file=sys.stderr, flush=True)
