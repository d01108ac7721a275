"""Start `keras-coda serve` in a process of its own: for tests and benchmarks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]


class ModelServer:
    """A server that has started; ``port`` stays free for another one after it has stopped.

    Attributes:
        process: of the server.
        url: for instance ``http://127.0.0.1:8080``.
        port: int.
    """

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "keras_coda", "serve", *map(str, arguments)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()  # "The server is at http://127.0.0.1:8080/v1/models/NAME (Ctrl-C ..."
        if " at " not in line:
            self.process.kill()
            raise RuntimeError(f"The server must start. Received: {line!r}")
        self.url = line.split(" at ")[1].split("/v1/")[0]
        self.port = int(self.url.rpartition(":")[2])

    def stop(self, number=signal.SIGTERM):
        """Send a signal, and return the exit code and what was printed at the end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        printed, _ = self.process.communicate(timeout=60)
        return self.process.returncode, printed

    def ask(self, path, body=None, **headers):
        """Return the status and the answer to a request: JSON, or text if it is none."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                status, content = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode(errors="replace")


@contextlib.contextmanager
def model_server(*arguments):
    """Run ``keras-coda serve`` with these arguments at a free port."""
    server = ModelServer("--port", "0", *arguments)
    try:
        yield server
    finally:
        server.stop()
