"""JAX: two processes, and two devices of one process, compute what a single one does."""

import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

pytestmark = [pytest.mark.any_backend, pytest.mark.slow]


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="make test-jax")
def test_two_processes_train_predict_and_explain_as_one_does_with_the_joined_batches(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    root = pathlib.Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "tests.helpers.without_tensorflow", "tests.helpers.distributed_check"]
    calls = {"one": [], "first": [port, "0"], "second": [port, "1"]}
    options = {"cwd": root, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([*command, str(tmp_path / f"{name}.npz"), *call], **options) for name, call in calls.items()
    ]
    try:
        for process in running:
            errors = process.communicate(timeout=300)[1]
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in running:
            process.kill()
    one, *two = (dict(np.load(tmp_path / f"{name}.npz")) for name in calls)
    for each in two:
        for name in ("loss", "accuracy", "evaluated"):
            np.testing.assert_allclose(each[name], one[name], rtol=1e-4)
    for name in ("images", "logits", "contributions"):
        joined = np.concatenate(
            [part for pair in zip(*(np.split(each[name], 2) for each in two), strict=True) for part in pair]
        )
        np.testing.assert_allclose(joined, one[name], atol=1e-4)
