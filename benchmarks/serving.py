"""Latency and throughput of the clients of a model server, on loopback: ``python -m benchmarks.serving [--quick]``.

Takes a minute or two and prints a Markdown table. The servers are the test doubles
(``tests/helpers/serving_doubles.py``), which run the SavedModel in a process of their own; TF Serving itself reads and
writes JSON faster. The benchmark measures the clients with all their checks, and compares the protocols. The rows
without a server call the same SavedModel in this process.

With ``--server`` it measures ``keras-coda serve`` instead, with ``RestClient``, beside the same computation by Keras in
this process. Calls of both come in turns, so that their ratio means something on a machine with other work.
"""

import argparse
import contextlib
import datetime
import io
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks import records

BATCHES, CALLERS, TOP_K, NAME = (1, 8, 32), 4, 1, "model"
COLUMNS = ("client", "images as", "maps", "batch", "calls", "p50, ms", "p90, ms", "p99, ms", "images/s, 1 caller",
           f"images/s, {CALLERS} callers")  # fmt: skip

SERVER_BATCHES, SERVER_CALLERS = (1, 8), 8
SERVER_COLUMNS = ("images as", "maps", "batch", "calls", "in process p50, ms", "server p50, ms", "ratio",
                  "in process, CPU ms", "server, CPU ms", "client, CPU ms",
                  f"server with {SERVER_CALLERS} callers, CPU ms")  # fmt: skip


def run(quick: bool, preset: str = "coda_xs_cifar10") -> dict:
    """Measure every client, payload and batch size, predictions without and with a map of the predicted class.

    Args:
        quick: whether a few calls each will do.
        preset: a shipped network.

    Returns:
        ``{"preset": ..., "rows": ...}``; a row has an entry for each of ``COLUMNS``.
    """
    from keras_coda import CoDANet, serving

    network = CoDANet.from_preset(preset)
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), *network.input.shape[1:]), dtype="uint8")
    with tempfile.TemporaryDirectory() as folder:
        network.export(f"{folder}/1", top_k=TOP_K, warmup=False)
        with (
            _servers(f"{folder}/1") as (rest, rpc),
            serving.RestClient(f"http://{rest}", NAME) as rest_client,
            serving.GrpcClient(rpc, NAME) as grpc_client,
        ):
            sources = {"none": _Direct(f"{folder}/1"), "REST": rest_client, "gRPC": grpc_client}
            rows = [row for batch in BATCHES for row in _rows(sources, images[:batch], 0.05 if quick else 0.4)]
    return {"preset": preset, "rows": rows}


def run_server(quick: bool, preset: str = "coda_xs_cifar10") -> dict:
    """Measure ``keras-coda serve`` beside the same computation in this process.

    Args:
        quick: whether a few calls each will do.
        preset: a shipped network.

    Returns:
        ``{"preset": ..., "rows": ...}``; a row has an entry for each of ``SERVER_COLUMNS``, processor time per image.
    """
    import psutil

    from keras_coda import CoDANet, serving
    from keras_coda.server.network import Network
    from tests.helpers.model_server import model_server

    network = CoDANet.from_preset(preset)
    images = np.random.default_rng(0).integers(0, 256, (max(SERVER_BATCHES), *network.input.shape[1:]), dtype="uint8")
    with model_server("--model", preset, "--top-k", TOP_K) as server, serving.RestClient(server.url, preset) as client:
        here, process = _InProcess(Network(network, preset, top_k=TOP_K)), psutil.Process(server.process.pid)
        rows = []
        for batch, maps in itertools.product(SERVER_BATCHES, (False, True)):
            calls = [source.explain if maps else source.predict for source in (here, client)]
            for payload, given in _payloads(images[:batch]):
                measured = _in_turns(*calls, process, given, 0.2 if quick else 1.5)
                rows.append([payload, "yes" if maps else "no", batch, *measured])
    return {"preset": preset, "rows": rows}


class _InProcess:
    """What the server computes, without HTTP."""

    def __init__(self, network):
        self._network = network

    def predict(self, images):
        return self._run("serving_default", images)

    def explain(self, images):
        return self._run("contributions", images)

    def _run(self, signature, images):
        request = self._network.request(signature, images)
        return self._network.outputs(request, self._network.run(request.key, request.arrays))


def _in_turns(here, client, process, images, seconds):
    """Return calls, both medians and their ratio, and per image the processor time here, of the server and its client.

    Args:
        here: a call in this process.
        client: the same call of the server.
        process: of the server.
        images: arrays or files.
        seconds: for calls in turns, and again for several callers.
    """
    for call in (here, client):
        _repeat(call, images, 0.0)  # warm
    took, used, before, end = [], [], _processor_time(process), time.perf_counter() + seconds
    while len(took) < 5 or time.perf_counter() < end:
        pairs = [_timed(call, images) for call in (here, client)]
        took.append([pair[0] for pair in pairs])
        used.append([pair[1] for pair in pairs])
    per_image = 1e3 / (len(took) * len(images))
    here_used, client_used = per_image * np.sum(used, axis=0)
    server_used = per_image * (_processor_time(process) - before)
    middles = 1e3 * np.median(took, axis=0)
    before = _processor_time(process)
    with ThreadPoolExecutor(SERVER_CALLERS) as pool:
        counts = list(pool.map(lambda _: len(_repeat(client, images, seconds)), range(SERVER_CALLERS)))
    together = 1e3 * (_processor_time(process) - before) / (sum(counts) * len(images))
    times = [*middles, middles[1] / middles[0], here_used, server_used, client_used, together]
    return [len(took), *(f"{value:.{2 if index == 2 else 1}f}" for index, value in enumerate(times))]


def _timed(call, images):
    """Return the seconds that a call takes, and those of processor time in this process."""
    used, start = time.process_time(), time.perf_counter()
    call(images)
    return time.perf_counter() - start, time.process_time() - used


def _processor_time(process):
    times = process.cpu_times()
    return times.user + times.system


@contextlib.contextmanager
def _servers(folder):
    """Run both stand-ins in another process, which shares no interpreter lock with the clients."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(folder, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(120):
            raise RuntimeError(f"The servers must start within two minutes. Received: '{folder}'")
        yield ours.recv()
    finally:
        with contextlib.suppress(BrokenPipeError):
            ours.send("end")
        process.join(20)
        process.kill()


def _serve(folder, pipe):
    from tests.helpers.serving_doubles import GrpcDouble, RestDouble
    from tests.helpers.serving_models import LoadedVersion, Models

    models = Models(NAME, {1: LoadedVersion(folder)})
    with RestDouble(models) as rest, GrpcDouble(models) as rpc:
        pipe.send((rest.address, rpc.address))
        pipe.recv()


class _Direct:
    """The SavedModel in this process: what clients are compared to."""

    def __init__(self, folder):
        from tests.helpers.serving_models import LoadedVersion

        self._loaded = LoadedVersion(folder)

    def predict(self, images):
        return self._run("serving_default", images)

    def explain(self, images):
        return self._run("contributions", images)

    def _run(self, signature, images):
        if isinstance(images, list):
            return self._loaded.run(f"{signature}_bytes", {"image_bytes": np.array(images, dtype=object)})
        return self._loaded.run(signature, {"images": images.astype("float32")})


def _rows(sources, images, seconds):
    for maps in (False, True):
        for payload, given in _payloads(images):
            for name, source in sources.items():
                call = source.explain if maps else source.predict
                measured = _measure(call, given, seconds)
                yield [name, payload, "yes" if maps else "no", len(images), *measured]


def _payloads(images):
    return ("arrays", images), ("PNG files", [_png(image) for image in images])


def _measure(call, images, seconds):
    """Return the calls of one caller, percentiles of their milliseconds, images per second of one and of several."""
    _repeat(call, images, 0.0)  # warm
    took = _repeat(call, images, seconds)
    start = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        counts = list(pool.map(lambda _: len(_repeat(call, images, seconds)), range(CALLERS)))
    together = len(images) * sum(counts) / (time.perf_counter() - start)
    percentiles = (round(float(value), 1) for value in 1e3 * np.percentile(took, (50, 90, 99)))
    return [len(took), *percentiles, round(len(images) * len(took) / sum(took)), round(together)]


def _repeat(call, images, seconds):
    """Call until the time is up, three times at least; return the seconds of each."""
    took, end = [], time.perf_counter() + seconds
    while len(took) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call(images)
        took.append(time.perf_counter() - start)
    return took


def _png(image):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.squeeze(image)).save(file, "PNG")
    return file.getvalue()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few calls: to see whether it works, not to report")
    parser.add_argument("--preset", default="coda_xs_cifar10", help="a shipped network")
    parser.add_argument("--server", action="store_true", help="measure `keras-coda serve` instead")
    args = parser.parse_args()
    measure, columns, texts = (run_server, SERVER_COLUMNS, 2) if args.server else (run, COLUMNS, 3)
    load, results, machine = os.getloadavg()[0], measure(args.quick, args.preset), records.machine()
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    print(f"`{' '.join(['python -m benchmarks.serving', *sys.argv[1:]])}`, "
          f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, `{results['preset']}`, one map per image. "
          f"{machine['cores']} cores, {machine['cpu']}; {versions}; load before {load:.1f}.\n")  # fmt: skip
    print(f"| {' | '.join(columns)} |")
    print(f"|{'---|' * texts}{'---:|' * (len(columns) - texts)}")
    for row in results["rows"]:
        print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
