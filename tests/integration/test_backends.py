import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

from tests.helpers import encoders


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_layers_model_and_explanations_run_on_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    root = pathlib.Path(__file__).parents[2]
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(root)}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # compiling takes most of the time, and the networks are small
    command = [sys.executable, "-m", "tests.helpers.backend_check", backend]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "backend ok"  # a slow machine prints progress before it


def test_maps_follow_weights_of_the_encoder():
    encoders.check_that_maps_follow_the_encoder()  # here on TensorFlow; the other backends run it, too, above
