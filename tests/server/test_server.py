"""One real server, started by its command: what it answers, refuses, counts, survives, and how it stops."""

import base64
import concurrent.futures
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("kserve", reason="needs keras-coda[serve]")

import psutil

from keras_coda import CoDANet, serving
from keras_coda.utils.hashing import digest_of_model
from tests.helpers.model_server import ROOT, ModelServer, model_server
from tests.helpers.networks import pixels
from tests.helpers.serving_helpers import assert_close, encoded

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eagerly")]

NAME, SHAPE = "coda_digits", (8, 8, 1)
PREDICT, EXPLAIN, INFER = f"/v1/models/{NAME}:predict", f"/v1/models/{NAME}:explain", f"/v2/models/{NAME}/infer"


@pytest.fixture(scope="module")
def server():
    with model_server("--model", NAME, "--top-k", 2, "--max-images", 64, "--max-request-mb", 1) as started:
        yield started


@pytest.fixture(scope="module")
def model():
    return CoDANet.from_preset(NAME)


@pytest.fixture
def client(server):
    with serving.RestClient(server.url, NAME, timeout=30, class_names=[str(index) for index in range(10)]) as opened:
        yield opened


def file_of(image):
    return {"b64": base64.b64encode(encoded(image)).decode()}


def assert_same(found, explanation):
    """Check an answer in columns against an explanation, and that its maps sum to its logits."""
    for name in ("logits", "probabilities", "contributions"):
        assert_close(np.array(found[name], "float32"), getattr(explanation, name))
    np.testing.assert_array_equal(found["classes"], explanation.classes)
    total = np.sum(found["contributions"], axis=(2, 3)) + np.array(found["bias"])[:, None]
    chosen = np.take_along_axis(np.array(found["logits"]), np.array(found["classes"]), axis=1)
    np.testing.assert_allclose(total, chosen, rtol=1e-5, atol=1e-5)


# === Answers ===


def test_arrays_and_files_get_the_maps_of_the_network(server, model):
    images = pixels(3, SHAPE)
    expected = model.explain(images, top_k=2)
    for given in (images.tolist(), images.astype("float32").tolist(), [file_of(image) for image in images]):
        status, answer = server.ask(EXPLAIN, {"inputs": given})
        assert status == 200
        assert_same(answer["outputs"], expected)
    classes = [[1, 7], [0, 9], [2, 4]]
    status, answer = server.ask(EXPLAIN, {"instances": images.tolist(), "classes": classes})
    assert_same(
        {name: [row[name] for row in answer["explanations"]] for name in answer["explanations"][0]},
        model.explain(images, classes),
    )
    assert answer["predictions"][2]["logits"] == answer["explanations"][2]["logits"]
    status, answer = server.ask(PREDICT, {"instances": images.tolist(), "top_k": 1})
    assert [row["top_classes"] for row in answer["predictions"]] == expected.classes[:, :1].tolist()


def test_v2_gives_the_same_tensors(server, model):
    images = pixels(2, SHAPE)
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, *SHAPE], "data": images.ravel().tolist()}
    files = [base64.b64encode(encoded(image)).decode() for image in images]
    named = {"name": "image_bytes", "datatype": "BYTES", "shape": [2], "data": files}
    asked = {"outputs": [{"name": name} for name in ("logits", "probabilities", "classes", "contributions", "bias")]}
    classes = {"name": "classes", "datatype": "INT32", "shape": [2, 2], "data": [4, 5, 6, 7]}
    for inputs, expected in (
        ([tensor], model.explain(images, top_k=2)),
        ([named], model.explain(images, top_k=2)),
        ([tensor, classes], model.explain(images, [[4, 5], [6, 7]])),
    ):
        status, answer = server.ask(INFER, {"id": "7", "inputs": inputs, **asked})
        assert status == 200, answer
        assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", NAME, "1")
        assert_same({o["name"]: np.reshape(o["data"], o["shape"]) for o in answer["outputs"]}, expected)
    _, answer = server.ask(INFER.replace("/infer", "/versions/1/infer"), {"inputs": [tensor]})
    assert {output["name"] for output in answer["outputs"]} >= {"logits", "top_class_names"}
    status, answer = server.ask(INFER, {"inputs": [tensor], "parameters": {"signature_name": "contributions"}})
    assert next(o for o in answer["outputs"] if o["name"] == "class_names")["shape"] == [2, 2]


def test_the_client_of_tf_serving_works_as_it_is(server, client, model, tmp_path):
    metadata = client.wait_until_ready()
    assert (metadata.name, metadata.version) == (NAME, 1)
    assert client.status()[0].state == "AVAILABLE"
    images = pixels(4, SHAPE)
    files = [encoded(image) for image in images]
    assert_close(client.predict(files).logits, model.explain(images).logits)
    for given in (images, files):
        found, expected = client.explain(given), model.explain(images, top_k=2)
        assert_close(found.contributions, expected.contributions)
        assert_close(
            client.explain(given, [[3, 1]] * 4).contributions, model.explain(images, [[3, 1]] * 4).contributions
        )
    address = f"{server.url}/v1/models/{NAME}/versions"
    with serving.connect(f"{address}/1") as chosen, serving.connect(f"{address}/2") as missing:
        np.testing.assert_array_equal(chosen.explain(images).classes, expected.classes)
        with pytest.raises(serving.ModelNotFound, match="has version 1"):
            missing.explain(images)


def test_the_server_says_what_it_is(server, model):
    status, answer = server.ask(f"/v1/models/{NAME}/metadata")
    assert status == 200
    assert answer["network"]["hash"] == digest_of_model(model)
    assert answer["network"]["class_names"] == list(model.class_names)
    assert re.fullmatch(r"\d+\.\d+.*", answer["network"]["keras_coda"])
    status, answer = server.ask(f"/v2/models/{NAME}")
    assert answer["versions"] == ["1"]
    assert {"name": "images", "datatype": "FP32", "shape": [-1, *SHAPE]} in answer["inputs"]
    for path in ("/", "/v2/health/live", "/v2/health/ready", f"/v1/models/{NAME}", f"/v2/models/{NAME}/ready"):
        assert server.ask(path)[0] == 200


# === Refusals ===

IMAGE = pixels(1, SHAPE)[0].tolist()
FLOAT = {"name": "images", "datatype": "FP32", "shape": [1, *SHAPE], "data": np.ravel(IMAGE).astype(float).tolist()}
NESTED = b"[" * 900 + b"]" * 900

WRONG = [
    (PREDICT, b"", 400, "JSON"),
    (PREDICT, b"{", 400, "JSON"),
    (PREDICT, b"\xff\xfe", 400, "JSON"),
    (PREDICT, b"[" * 100_000, 400, "JSON"),
    (PREDICT, b'{"instances": [[NaN]]}', 400, "JSON"),
    (PREDICT, [IMAGE], 400, "JSON object"),
    (PREDICT, {}, 400, "`instances` or `inputs`"),
    (PREDICT, {"instances": [IMAGE], "inputs": [IMAGE]}, 400, "`instances` or `inputs`"),
    (PREDICT, {"instances": [IMAGE], "topk": 3}, 400, "unknown=['topk']"),
    (PREDICT, {"instances": []}, 400, "entry for each image"),
    (PREDICT, {"instances": IMAGE}, 400, "shape"),
    (PREDICT, {"instances": [IMAGE, IMAGE[:7]]}, 400, "one shape"),
    (PREDICT, {"instances": [[]]}, 400, "shape"),
    (PREDICT, b'{"instances": [' + NESTED + b"]}", 400, "one shape"),
    (PREDICT, b'{"instances": [[[[300.5]]]], "classes": ' + NESTED + b"}", 400, ""),
    (EXPLAIN, b'{"instances": [[[[30]]]], "classes": ' + NESTED + b"}", 400, ""),
    (PREDICT, {"instances": ["/etc/passwd"]}, 400, "Received: str"),
    (PREDICT, {"inputs": {"image_bytes": ["/etc/passwd"]}}, 400, "b64"),
    (PREDICT, {"inputs": {"image_bytes": "/etc/passwd"}}, 400, "must be a list"),
    (PREDICT, {"inputs": {"image": [IMAGE]}}, 400, "unknown=['image']"),
    (PREDICT, {"instances": [None]}, 400, "NoneType"),
    (PREDICT, {"instances": [[[["1"]] * 8] * 8]}, 400, "types=['str']"),
    (PREDICT, {"instances": [[[[True]] * 8] * 8]}, 400, "types=['bool']"),
    (PREDICT, {"instances": [[[[10**30]] * 8] * 8]}, 400, "[0, 255]"),
    (PREDICT, {"instances": [[[[-1]] * 8] * 8]}, 400, "[0, 255]"),
    (PREDICT, {"instances": [[[[256]] * 8] * 8]}, 400, "[0, 255]"),
    (PREDICT, {"instances": [[[[0.5]] * 8] * 8]}, 400, "Multiply them by 255"),
    (PREDICT, {"instances": [[[[1]] * 8] * 9]}, 400, "(batch, 8, 8, 1)"),
    (PREDICT, {"instances": [IMAGE] * 65}, 400, "may have 64 images"),
    (PREDICT, {"instances": [{"b64": "!"}]}, 400, "base64"),
    (PREDICT, {"instances": [{"b64": 7}]}, 400, "b64"),
    (PREDICT, {"instances": [{"b64": ""}]}, 400, "empty"),
    (PREDICT, {"instances": [{"b64": "R0lGODdh"}]}, 400, "image 0"),
    (PREDICT, {"instances": [IMAGE, {"b64": ""}]}, 400, "same inputs"),
    (PREDICT, {"instances": [IMAGE], "signature_name": "regress"}, 400, "signature_name='regress'"),
    (PREDICT, {"instances": [IMAGE], "signature_name": ["x"]}, 400, "signature_name"),
    (PREDICT, {"instances": [IMAGE], "classes": 1}, 400, "'serving_default'"),
    (PREDICT, {"instances": [IMAGE], "top_k": 11}, 400, "10 classes"),
    (PREDICT, {"instances": [IMAGE], "top_k": True}, 400, "positive integer"),
    (EXPLAIN, {"instances": [IMAGE], "signature_name": "serving_default"}, 400, "`signature_name` of :explain"),
    (EXPLAIN, {"instances": [IMAGE], "classes": [[1], [2]]}, 400, "1 images"),
    (EXPLAIN, {"instances": [IMAGE], "classes": 10}, 400, "[0, 9]"),
    (EXPLAIN, {"instances": [IMAGE], "classes": "ten"}, 400, "'ten'"),
    (EXPLAIN, {"instances": [IMAGE], "classes": [[1, [2]]]}, 400, ""),
    (EXPLAIN, {"instances": [IMAGE], "classes": 1, "top_k": 1}, 400, "not both"),
    (EXPLAIN, {"instances": [{"images": IMAGE, "classes": [1]}, {"images": IMAGE}]}, 400, "same inputs"),
    (EXPLAIN, b" " * (2**20 + 1), 413, "1048576 bytes"),
    ("/v1/models/other:predict", {"instances": [IMAGE]}, 404, "'other'"),
    (f"/v1/models/{NAME}/versions/2:predict", {"instances": [IMAGE]}, 404, "version 1"),
    (f"/v1/models/{NAME}/labels/stable:predict", {"instances": [IMAGE]}, 404, "no labels"),
    (f"/v1/models/{NAME}:regress", {"instances": [IMAGE]}, 404, ":regress"),
    ("/v1/model", None, 404, "Not Found"),
    ("/metrics", {}, 405, "Method Not Allowed"),
    ("/v2/models/other", None, 404, "'other'"),
    (f"/v2/repository/models/{NAME}/unload", {}, 404, "cannot be unloaded"),
    (PREDICT, None, 405, "by POST"),
    (INFER, {"inputs": 3}, 400, "V2 protocol"),
    (INFER, {"inputs": []}, 400, "`images` or `image_bytes`"),
    (INFER, {"inputs": [FLOAT, FLOAT]}, 400, "given once"),
    (INFER, {"inputs": [{**FLOAT, "name": "x"}]}, 400, "input='x'"),
    (INFER, {"inputs": [{**FLOAT, "shape": [1, 8, 8, 2]}]}, 400, "as many values"),
    (INFER, {"inputs": [{**FLOAT, "shape": [-1, 8, 8, 1]}]}, 400, "as many values"),
    (INFER, {"inputs": [{**FLOAT, "datatype": "INT32", "data": [1.5] * 64}]}, 400, "what its datatype says"),
    (INFER, {"inputs": [{**FLOAT, "datatype": "FP16"}]}, 400, "FP16"),
    (INFER, {"inputs": [{**FLOAT, "datatype": "FLOAT"}]}, 400, "datatype='FLOAT'"),
    (INFER, {"inputs": [{**FLOAT, "datatype": "BYTES"}]}, 400, "numbers"),
    (INFER, {"inputs": [FLOAT], "outputs": [{"name": "x"}]}, 400, "['x']"),
    (INFER, {"inputs": [FLOAT], "parameters": {"top": 3}}, 400, "unknown=['top']"),
    (INFER, b'{"inputs": [' + NESTED + b"]}", 400, "V2 protocol"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "expected", "message"), WRONG)
def test_wrong_requests_get_one_line_that_says_why(server, path, body, expected, message):
    status, answer = server.ask(path, body)
    assert (status, answer.keys()) == (expected, {"error"}), answer
    assert message in answer["error"]
    assert "\n" not in answer["error"]
    assert len(answer["error"]) <= 501


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"])
def test_bodies_are_json_whatever_the_header_says(server, kind):
    assert server.ask(PREDICT, {"instances": [IMAGE]}, **{"Content-Type": kind})[0] == 200
    assert server.ask(INFER, {"inputs": [FLOAT]}, **{"Content-Type": kind})[0] == 200


def test_headers_of_a_request_do_not_return(server):
    import urllib.request

    request = urllib.request.Request(server.url + EXPLAIN, b'{"instances": [%s]}' % str(IMAGE).encode())
    for name in ("Authorization", "ce-specversion", "ce-id", "ce-source", "ce-type"):
        request.add_header(name, "secret")
    with urllib.request.urlopen(request) as response:
        assert "secret" not in str(response.headers)
        assert response.headers["Content-Type"] == "application/json"


# === Load ===


def test_32_callers_at_once_get_their_own_answers_from_common_batches(server, client, model):
    images = pixels(64, SHAPE, seed=3)
    before = metrics(server)
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda image: client.explain(image[None]), images))
    expected = model.explain(images, top_k=2)
    assert_close(np.concatenate([answer.contributions for answer in answers]), expected.contributions)
    after = metrics(server)
    assert after["coda_batch_images_sum"] - before["coda_batch_images_sum"] == 64
    assert after["coda_batch_images_count"] - before["coda_batch_images_count"] < 64
    assert after['coda_images_total{signature="contributions"}'] >= 64
    assert after['coda_relative_residual_bucket{le="1e-05"}'] == after["coda_relative_residual_count"] > 0
    assert after['coda_requests_total{kind="predict",status="200"}'] >= 64


def metrics(server):
    status, text = server.ask("/metrics")
    assert status == 200
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_memory_is_flat_over_hundreds_of_requests(server, client):
    images, process = pixels(2, SHAPE, seed=4), psutil.Process(server.process.pid)

    def ask(count):
        for index in range(count):
            client.explain(images if index % 2 else [encoded(images[0])])
            if index % 10 == 0:
                server.ask(EXPLAIN, {"instances": "nothing"})
        return process.memory_info().rss / 2**20

    before = ask(80)
    assert ask(160) - before < 16, "MiB"


# === The page ===


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_page_run(server, tmp_path):
    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    blocks = [
        block
        for block in re.findall(r"^```sh\n(.*?)^```$", page, re.M | re.S)
        if "digit.png" in block or "curl" in block
    ]
    assert sum(block.count("curl") for block in blocks) >= 6
    for block in blocks:
        script = f"PATH={Path(sys.executable).parent}:$PATH\n{block}"
        script = script.replace("http://127.0.0.1:8080", server.url).replace("curl ", "curl --fail-with-body ")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{block}{done.stdout}{done.stderr}"
    assert Path(tmp_path, "digit.png").exists()


# === The end; last, since it stops the server ===


def test_a_server_that_is_stopped_answers_what_is_in_flight_and_another_takes_its_place(server, client, model):
    images = pixels(64, SHAPE, seed=5)
    expected = model.explain(images, top_k=2)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # with as many images as may wait
        answers = [pool.submit(server.ask, EXPLAIN, {"inputs": images.tolist()}) for _ in range(4)]
        next(concurrent.futures.as_completed(answers))
        in_flight = sum(not answer.done() for answer in answers)
        code, printed = server.stop()
        found = [answer.result() for answer in answers]
    assert in_flight > 0
    assert (code, printed.strip()) == (0, "The server has stopped.")
    assert [status for status, _ in found] == [200] * 4
    for _, answer in found:
        assert_close(np.array(answer["outputs"]["contributions"], "float32"), expected.contributions)
    with pytest.raises(serving.Unavailable):
        client.explain(images)
    another = ModelServer("--model", NAME, "--top-k", 2, "--port", server.port)
    try:
        client.wait_until_ready()
        assert_close(client.explain(images).contributions, expected.contributions)
    finally:
        another.stop()
