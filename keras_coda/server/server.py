"""The server of one network, started by one call."""

import asyncio
import sys
import warnings

import keras

from keras_coda.server.batcher import Batcher
from keras_coda.server.network import Network
from keras_coda.utils.checks import check_finite, check_int, require
from keras_coda.utils.listening import free_port, is_loopback, stop_on_sigterm, url
from keras_coda.utils.optional import require_installed

_WAITING = 8  # batches; further requests are turned away


def serve(
    model: keras.Model,
    name: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    version: int = 1,
    top_k: int = 1,
    max_images: int = 64,
    max_side: int | None = 512,
    max_request_mb: int = 16,
    max_batch: int = 32,
    max_wait_ms: float = 2.0,
    grace_s: int = 30,
    log_requests: bool = False,
) -> None:
    """Serve predictions and exact maps of a network until Ctrl-C or SIGTERM; print the address.

    Requests that are being answered when the server is told to stop are answered, new ones are not taken.

    Args:
        model: any explainable Keras model, see :func:`keras_coda.explain`.
        name: of the model in addresses, ``/v1/models/NAME:predict``.
        host: the address to listen at. With any other than the default, other machines can use the server.
        port: the port; 0 for any free one.
        version: number of the model in addresses and metadata.
        top_k: how many of the most probable classes an answer has, unless the request says otherwise.
        max_images: of a request.
        max_side: longest side of images for a network that takes any size, in pixels; larger files are reduced to it.
            None: any.
        max_request_mb: the largest request, in MiB.
        max_batch: images that are computed together.
        max_wait_ms: how long a request waits for others to be computed with, in milliseconds.
        grace_s: how long requests may still take when the server is told to stop, in seconds.
        log_requests: whether to write a line for each request.

    Raises:
        ImportError: if KServe is not installed (``keras-coda[serve]``).
        NonFiniteNetworkError: a ``ValueError``, if the network's logits or maps are NaN or infinite.
        OSError: if the port is in use, or ``host`` is not an address of this machine.
        ValueError: if the model cannot be explained, or a number or name is out of range.
    """
    require_installed("kserve", extra="serve", purpose="The server")
    network = Network(model, name, version=version, top_k=top_k, max_images=max_images, max_side=max_side)
    max_bytes = check_int("max_request_mb", max_request_mb) * 2**20
    wait = check_finite("max_wait_ms", max_wait_ms) / 1000
    require(wait >= 0, "`max_wait_ms` must not be negative", max_wait_ms=max_wait_ms)
    check_int("max_batch", max_batch)
    check_int("grace_s", grace_s)
    port = free_port("The server", host, (port,))
    stop_on_sigterm()
    try:
        network.warm_up()
        application = _import_application(log_requests)
        batcher = Batcher(
            network.run,
            max_images=max_batch,
            max_wait=wait,
            max_waiting=_WAITING * max_batch,
            observe=application.BATCHES.observe,
        )
        server = application.rest_server(network, batcher, host, port, max_bytes, grace_s)
        server.config.callback_notify = _announcement(f"{url(host, port)}/v1/models/{name}", host)
        asyncio.run(server.start())
    except KeyboardInterrupt:
        print("\nThe server has stopped.", flush=True)


def _import_application(log_requests):
    """Import the module that imports KServe, which reads its own options from the command line when imported."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        # KServe's way to write JSON: FastAPI would like it to be another one.
        warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")
        from keras_coda.server import application
    finally:
        sys.argv = arguments
    if log_requests:
        from kserve.logging import configure_logging

        configure_logging()
    return application


def _announcement(address, host):
    """Return what uvicorn calls as soon as the server listens, and then every half a minute."""
    waiting = [f"The server is at {address} (Ctrl-C stops it)."]

    async def announce():
        while waiting:
            print(waiting.pop(), flush=True)
            if not is_loopback(host):
                warning = "keras-coda: warning: everybody who can reach this machine can use the server."
                print(warning, file=sys.stderr, flush=True)

    return announce
