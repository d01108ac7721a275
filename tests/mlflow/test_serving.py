"""`mlflow models serve` answers with maps over REST."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.networks import pixels
from tests.helpers.waiting import free_ports, wait_until

pytestmark = pytest.mark.slow

IMAGES = pixels(2, seed=3)


@pytest.fixture(scope="module")
def server(store, logged):
    """The address of a server of the logged network, on loopback."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", logged.info.model_uri]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    programs = os.path.dirname(sys.executable)  # MLflow looks for uvicorn on the path
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    with open(store.folder / "server.log", "w") as log:
        process = subprocess.Popen(
            command, cwd=store.folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            if not wait_until(lambda: is_ready(address), process):
                pytest.fail(f"the server did not start:\n{Path(log.name).read_text()[-3000:]}")
            yield address
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)


def is_ready(address):
    try:
        with urllib.request.urlopen(f"{address}/ping", timeout=5):
            return True
    except OSError:
        return False


def post(address, **body):
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["predictions"]


@pytest.mark.parametrize(("params", "top_k", "classes"), [({}, 2, None), ({"classes": [1, 2]}, None, [[1, 2]] * 2)])
def test_maps_over_rest_are_those_of_the_network(logged, server, params, top_k, classes):
    answer = post(server, inputs=IMAGES.tolist(), params=params)
    explanation = logged.model.explain(IMAGES, classes, top_k=top_k)
    assert answer["classes"] == explanation.classes.tolist()
    assert answer["class_names"] == [[logged.model.class_names[c] for c in row] for row in explanation.classes]
    for name in ("logits", "probabilities", "contributions"):
        np.testing.assert_allclose(answer[name], getattr(explanation, name), atol=1e-5, err_msg=name)
    total = np.sum(answer["contributions"], axis=(2, 3)) + np.array(answer["bias"])[:, None]
    np.testing.assert_allclose(total, explanation.explained_logits, atol=1e-5)


def test_predictions_alone_over_rest(logged, server):
    answer = post(server, instances=IMAGES.tolist(), params={"maps": False})
    np.testing.assert_allclose(answer["logits"], logged.model.explain(IMAGES).logits, atol=1e-5)
    assert set(answer) == {"logits", "probabilities"}


def test_bad_requests_are_answered_with_the_rule(server):
    for body, rule in [
        ({"inputs": (IMAGES + 200.0).tolist()}, "pixels in [0, 255]"),
        ({"inputs": IMAGES.tolist(), "params": {"classes": [3]}}, "`classes` must be in [0, 3)"),
        ({"inputs": IMAGES.tolist(), "params": {"top": 7}}, "`top` must be in [1, 3]"),
    ]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(server, **body)
        assert caught.value.code == 400
        assert rule in caught.value.read().decode()
