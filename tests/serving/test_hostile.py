"""Claims about servers that stall, flood or lie: every call ends in time, within bounds, with a typed error."""

import gzip
import json
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import requests
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from keras_coda import serving
from keras_coda.serving.metadata import read_metadata, read_status
from keras_coda.serving.requests import explain_request, largest_answer, predict_request
from keras_coda.serving.responses import read_explanation, read_prediction
from tests.helpers.networks import pixels
from tests.helpers.raw_server import answering, dripping, raw_server
from tests.helpers.serving_helpers import RGB, connect

pytestmark = pytest.mark.slow

HEAD = b"HTTP/1.1 200 OK\r\n"
STALLS = {
    "nothing": (b"", b""),
    "status line": (b"HTTP/1.1 ", b"2"),
    "header": (HEAD, b"X"),
    "headers": (HEAD, b"X: y\r\n"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "body": (HEAD + b"Content-Length: 99999\r\n\r\n", b" "),
    "body without end": (HEAD + b"\r\n", b" "),
    "handshake": (b"\x16\x03\x03\x40\x00", b"\0"),  # of TLS: a record of 16 KiB
}


@pytest.mark.parametrize("stall", STALLS)
def test_a_server_that_stalls_anywhere_exceeds_the_deadline(stall):
    scheme = "https" if stall == "handshake" else "http"
    with raw_server(dripping(*STALLS[stall])) as address:
        for session in (None, requests.Session())[: 2 if stall == "header" else 1]:
            client = serving.RestClient(f"{scheme}://{address}", "m", timeout=0.15, retries=0, session=session)
            start = time.monotonic()
            with pytest.raises(serving.DeadlineExceeded):
                client.status()
            assert time.monotonic() - start < 1.0


def test_the_session_of_a_user_sends_its_requests_itself(doubles):
    class Session(requests.Session):  # as those that add a token to each request
        def request(self, *args, **kwargs):
            sent.append(args)
            return super().request(*args, **kwargs)

    sent = []
    with serving.RestClient(f"http://{doubles['rest'].address}", "coda", session=Session()) as client:
        assert client.status()
    assert len(sent) == 1


def test_waiting_for_a_server_that_stalls_ends_in_time():
    with raw_server(dripping(HEAD, b"X")) as address, connect("rest", address) as client:
        start = time.monotonic()
        with pytest.raises(serving.DeadlineExceeded, match="must be ready within"):
            client.wait_until_ready(0.3)
        assert time.monotonic() - start < 1.0


def bomb(megabytes):
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(b" " * 2**20) for _ in range(megabytes)) + packer.flush()


@pytest.mark.parametrize(
    ("body", "head", "match"),
    [
        (bomb(100), b"Content-Encoding: gzip", "at most 16777216 bytes"),
        (gzip.compress(bomb(100), mtime=0), b"Content-Encoding: gzip, gzip", "plain or gzip"),
        (zlib.compress(b"{}"), b"Content-Encoding: deflate", "plain or gzip"),
        (b"{}", b"Content-Encoding: br", "plain or gzip"),
        (b" " * (2**24 + 1), b"X: y", "at most 16777216 bytes"),
        (b"no gzip", b"Content-Encoding: gzip", "must be whole"),
        (gzip.compress(b"{}", mtime=0)[:-5], b"Content-Encoding: gzip", "must be whole"),
    ],
)
def test_answers_that_grow_are_refused_before_they_fill_the_memory(body, head, match):
    with raw_server(answering(body, head)) as address, connect("rest", address) as client:
        tracemalloc.start()
        with pytest.raises(serving.InvalidAnswer, match=match):
            client.status()
        assert tracemalloc.get_traced_memory()[1] < 5 * 2**24
        tracemalloc.stop()


def test_compressed_answers_are_read():
    found = gzip.compress(json.dumps({"model_version_status": [{"version": "3", "state": "AVAILABLE"}]}).encode())
    with raw_server(answering(found, b"Content-Encoding: gzip")) as address, connect("rest", address) as client:
        assert client.status() == (serving.VersionStatus(3, "AVAILABLE"),)


def test_answers_may_be_as_large_as_their_outputs(double, client):
    few, many = explain_request(pixels(1, RGB)), explain_request(pixels(3000, RGB))
    metadata = client.metadata()
    sizes = [largest_answer(request, metadata) for request in (few, many, predict_request(pixels(1, RGB)))]
    assert sizes[0] == sizes[2] == 2**23
    linear_maps = 3000 * 2 * 8 * 7 * 6  # (B, K, H, W, 2c)
    assert 32 * linear_maps < sizes[1] < 64 * linear_maps
    double.alter = lambda outputs: {**outputs, "contributions": np.zeros((3, 2, 600, 600), "float32")}
    with pytest.raises(serving.InvalidAnswer, match="at most 8388608 bytes"):
        client.explain(pixels(3, RGB))


@pytest.mark.parametrize(
    "text",
    [
        '{"model_version_status": [{"version": Infinity}]}',
        '{"model_version_status": [{"version": NaN}]}',
        '{"model_version_status": [5]}',
        '{"model_version_status": {"version": 1}}',
        '{"model_spec": {"name": "m", "version": Infinity}, "metadata": {"signature_def": {"signature_def": {}}}}',
        '{"model_spec": {"name": "m", "version": 1}, "metadata": {"signature_def": {"signature_def": {"a": {"inputs": '
        '{"x": {"tensor_shape": {"dim": [{"size": Infinity}]}}}}}}}}',
        '{"model_spec": {"name": "m", "version": 1}, "metadata": {"signature_def": {"signature_def": {"a": {"inputs": '
        '{"x": {"dtype": [1]}}}}}}}',
    ],
)
def test_metadata_that_make_no_sense_are_an_invalid_answer(text):
    for read in (read_status, read_metadata):
        with pytest.raises(serving.InvalidAnswer, match="must give the"):
            read(json.loads(text))


# === Outputs that contradict each other ===


def explanation(count=2, scale=1.0, **changes):
    """Return a request and a right answer to it, for one image of 2x2 pixels, with some outputs changed."""
    logits = np.array([[0.5, -1.0, 0.25]]) * scale
    order = np.argsort(-logits, axis=1)[:, :count]
    contributions = np.zeros((1, count, 2, 2))
    contributions[..., 0, 0] = np.take_along_axis(logits, order, axis=1)
    right = {
        "logits": logits,
        "probabilities": 0.5 + 0.5 * np.tanh(logits / 2),
        "classes": order,
        "class_names": np.array([[f"class {index}" for index in row] for row in order]),
        "contributions": contributions,
        "residual": np.zeros((1, count)),
        "bias": np.zeros(1),
    }
    return explain_request(np.zeros((1, 2, 2, 1), "float32")), {**right, **changes}


def repeated(outputs):
    """Return the answer for two images that are the same."""
    return {name: np.concatenate([value, value]) for name, value in outputs.items()}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"classes": [[2**32, 2**32 + 2]]}, "of 32 bits"),
        ({"classes": [[2**63, 2]]}, "of 32 bits|be integers"),
        ({"classes": [[2**70, 2]]}, "be integers"),
        ({"classes": [[0, -(2**32)]]}, "of 32 bits"),
        ({"classes": [[0, 0]]}, "different ones"),
        ({"class_names": [["x" * 1001, "b"]]}, "at most 1000 bytes"),
        ({"class_names": [["\ud800", "b"]]}, "UTF-8"),
        ({"class_names": [["a", None]]}, "be text"),
        ({"logits": [[1e308, 0.0, 0.0]]}, "be finite"),
        ({"logits": [[True, False, True]]}, "be numbers"),
        ({"logits": [[]], "probabilities": [[]]}, "have shape"),
        ({"contributions": np.zeros((1, 2, 1, 1))}, "have shape"),
        ({"contributions": np.zeros((1, 2, 1, 1)), "wrt": ["a", "b"]}, "have shape"),
    ],
)
def test_outputs_that_cannot_be_are_caught(changes, match):
    request, right = explanation()
    assert read_explanation(request, right).classes.tolist() == [[0, 2]]
    with pytest.raises(serving.InvalidAnswer, match=match):
        read_explanation(*explanation(**changes))


def test_more_classes_than_there_are_is_caught():
    request, outputs = explanation(count=3)
    wider = {
        name: np.concatenate([outputs[name]] * 2, axis=1)
        for name in ("classes", "class_names", "contributions", "residual")
    }
    for changed in (outputs | wider, outputs | wider | {"classes": [[0, 1, 2, 3, 4, 5]]}):
        with pytest.raises(serving.InvalidAnswer):
            read_explanation(request, changed)
    top = {"top_classes": [[0, 2, 1, 0]], "top_probabilities": [[0.5] * 4], "top_class_names": [["a"] * 4]}
    with pytest.raises(serving.InvalidAnswer, match="different ones"):
        read_prediction(predict_request(np.zeros((1, 2, 2, 1), "float32")), {**outputs, **top})


def test_a_class_has_one_name_in_an_answer():
    _, right = explanation()
    two = repeated(right)
    request = explain_request(np.zeros((2, 2, 2, 1), "float32"))
    assert read_explanation(request, two).class_names == ("class 0", "1", "class 2")
    two["class_names"][1, 0] = "class 9"
    with pytest.raises(serving.InvalidAnswer, match="give class 0 one name"):
        read_explanation(request, two)


def test_maps_refer_to_the_pixels_or_to_one_layer():
    _, right = explanation()
    maps = right["contributions"].sum(axis=(2, 3), keepdims=True)
    two = repeated({**right, "contributions": maps, "wrt": np.array(["pool"])})
    request = explain_request(np.zeros((2, 2, 2, 1), "float32"))
    assert read_explanation(request, two).wrt == "pool"
    with pytest.raises(serving.InvalidAnswer, match="be one layer for all images"):
        read_explanation(request, {**two, "wrt": ["pool", "mean"]})


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e6, 1e30])
def test_completeness_is_measured_by_what_is_added_up(scale):
    request, outputs = explanation(scale=scale)
    assert read_explanation(request, outputs).residual.max() < 1e-5 * scale
    large = np.zeros((1, 2, 2, 2))
    large[..., 1, 0], large[..., 1, 1] = 1e6 * scale, -1e6 * scale  # sums to zero up to the rounding of float32
    large[..., 1, 1] += 0.1 * scale
    assert read_explanation(request, {**outputs, "contributions": outputs["contributions"] + large}).residual.max() > 0
    altered = outputs["contributions"] * (1 + 1e-4)
    with pytest.raises(serving.IncompleteMaps):
        read_explanation(request, {**outputs, "contributions": altered})


# === gRPC ===


def tensor(shape, dtype=types_pb2.DT_FLOAT, **values):
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        tensor((10**6, 10**6), float_val=[1.0]),  # 4 TB in a few bytes
        tensor((10**9, 10**9, 10**9), float_val=[1.0]),
        tensor((-(10**9), 10**9), float_val=[1.0]),
        tensor((10**9,), types_pb2.DT_STRING, string_val=[b"x"]),
        tensor((2, 3), tensor_content=b"1234"),
        tensor((2, 3), types_pb2.DT_INVALID),
        tensor((2, 3), types_pb2.DT_RESOURCE),
    ],
)
def test_tensors_that_are_not_whole_are_invalid(doubles, monkeypatch, proto):
    answer = predict_pb2.PredictResponse()
    answer.outputs["logits"].CopyFrom(proto)
    with connect("grpc", doubles["grpc"].address) as client:
        client.wait_until_ready()
        monkeypatch.setattr(client, "_predictions", type("Stub", (), {"Predict": lambda *_, **__: answer}))
        monkeypatch.setattr(client, "_metadata", lambda seconds: client._offered)  # noqa: SLF001
        with pytest.raises(serving.InvalidAnswer):
            client.predict(pixels(1, RGB))


def test_metadata_that_are_no_message_are_an_invalid_answer(doubles, monkeypatch):
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    answer.metadata["signature_def"].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    answer.metadata["signature_def"].value = b"\xff\xff\xff"
    with connect("grpc", doubles["grpc"].address) as client:
        monkeypatch.setattr(client, "_predictions", type("Stub", (), {"GetModelMetadata": lambda *_, **__: answer}))
        with pytest.raises(serving.InvalidAnswer, match="whole messages"):
            client.metadata()
