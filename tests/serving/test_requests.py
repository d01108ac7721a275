import base64
import json
import re

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.helpers.networks import pixels
from tests.helpers.serving_helpers import RGB, K, encoded, with_pixel

pytestmark = pytest.mark.slow

ONE = pixels(1, RGB)[0].tolist()
URL = "/v1/models/coda:predict"
BYTES = {"b64": "aGVsbG8="}


def columns(signature="serving_default", **inputs):
    return {"signature_name": signature, "inputs": inputs}


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        (URL, b"", 400, "document is empty"),
        (URL, b"{", 400, "JSON Parse error"),
        (URL, [], 400, "Is not object"),
        (URL, {}, 400, "Missing 'inputs' or 'instances' key"),
        (URL, {"inputs": [ONE], "instances": [ONE]}, 400, "only one of"),
        (URL, {"instances": []}, 400, "No values in 'instances'"),
        (URL, {"instances": 3}, 400, "to be an list"),
        (URL, {"instances": [{"pictures": ONE}]}, 400, "does not have named input: pictures"),
        (URL, {"instances": [{"images": ONE, "more": 1}]}, 400, "does not have named input: more"),
        (URL, {"instances": [{"images": ONE}, ONE]}, 400, "Expecting object"),
        (URL, {"instances": [ONE, ONE[1:]]}, 400, "Expecting shape"),
        (URL, {"instances": [[[[1, 2, 3], [1, 2]]]]}, 400, "unexpected size: 2"),
        (URL, {"instances": [[[["a", 2, 3]]]]}, 400, "not of expected type: float"),
        (URL, {"instances": [[[[True, 2, 3]]]]}, 400, "not of expected type: float"),
        (URL, {"instances": [[[[1e39, 2, 3]]]]}, 400, "without loss of precision"),
        (URL, columns(images=[ONE], signature="nothing"), 400, "nothing"),
        (URL, {"signature_name": 3, "inputs": [ONE]}, 400, "'signature_name' key must be a string"),
        (URL, columns(pictures=[ONE]), 400, "Missing named input: images"),
        (URL, columns(images=[[ONE]]), 400, "."),
        (URL, columns(images=ONE), 400, "."),
        (URL, columns("contributions", images=np.zeros((1, 300, 300, 3)).tolist()), 400, "."),
        (URL, columns(images=[[[[float("nan")] * 3] * 7] * 8]), 400, "must be finite"),
        (URL, columns(images=[[[[-1] * 3] * 7] * 8]), 400, r"pixels in \[0, 255\]"),
        (URL, columns("contributions_for_classes", images=[ONE], classes=[[0, 3]]), 400, "`classes` must be in"),
        (URL, columns("contributions_for_classes", images=[ONE], classes=[[0, 0.5]]), 400, "expected type: int32"),
        (URL, columns("contributions_for_classes", images=[ONE], classes=[[0, 2**40]]), 400, "expected type: int32"),
        (URL, columns("contributions_for_classes", images=[ONE], classes=[[0]]), 400, "."),
        (URL, columns("contributions_for_classes", images=[ONE]), 400, "Missing named input: classes"),
        (URL, {"signature_name": "contributions_for_classes", "inputs": [ONE]}, 400, "plain value"),
        (URL, {"signature_name": "contributions_for_classes", "instances": [ONE]}, 400, "plain list"),
        (URL, columns("contributions_bytes", image_bytes=[BYTES]), 400, "no JPEG, PNG, BMP or GIF"),
        (URL, columns("contributions_bytes", image_bytes=[{"b64": "*"}]), 400, "Unable to base64 decode"),
        (URL, columns("contributions_bytes", image_bytes=[{"b65": "aa"}]), 400, "base64"),
        (URL, columns("contributions_bytes", image_bytes=[3]), 400, "expected type: string"),
        (URL, columns(images=[BYTES]), 400, "."),
        ("/v1/models/nobody:predict", columns(images=[ONE]), 404, r"Servable not found for request: Latest\(nobody\)"),
        ("/v1/models/coda/versions/4:predict", columns(images=[ONE]), 404, r"Specific\(coda, 4\)"),
        ("/v1/models/coda/labels/no:predict", columns(images=[ONE]), 400, "Unrecognized servable version label: no"),
        ("/v1/models/coda:classify", columns(images=[ONE]), 400, "."),
        ("/v1/nothing", {}, 400, "Malformed request"),
    ],
)
def test_malformed_rest_requests_get_clear_errors(doubles, path, body, code, message):
    body = body if isinstance(body, bytes) else json.dumps(body)
    answer = requests.post(f"http://{doubles['rest'].address}{path}", data=body, timeout=20)
    assert answer.status_code == code, answer.text
    assert re.search(message, answer.json()["error"])


def test_rest_rows_and_columns_give_the_same(doubles, served_model):
    url = f"http://{doubles['rest'].address}/v1/models/coda:predict"
    images = pixels(3, RGB)
    logits = served_model.predict(images, verbose=0)
    files = [{"b64": base64.b64encode(encoded(image)).decode()} for image in images]
    plain = images.tolist()
    for body in ({"instances": plain}, {"instances": [{"images": image} for image in plain]}, {"inputs": plain},
                 {"inputs": {"images": plain}}, {"signature_name": "serving_default_bytes", "instances": files},
                 {"signature_name": "serving_default_bytes", "inputs": files}):  # fmt: skip
        answer = requests.post(url, json=body, timeout=20).json()
        rows = [row["logits"] for row in answer["predictions"]] if "instances" in body else answer["outputs"]["logits"]
        np.testing.assert_allclose(rows, logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("signature", "inputs", "code", "message"),
    [
        ("nothing", {"images": np.zeros((1, *RGB), "float32")}, "FAILED_PRECONDITION", "nothing"),
        ("contributions", {"pictures": np.zeros((1, *RGB), "float32")}, "INVALID_ARGUMENT", "input"),
        ("contributions", {}, "INVALID_ARGUMENT", "input size does not match"),
        ("contributions", {"images": np.zeros((1, *RGB), "float64")}, "INVALID_ARGUMENT", "(?i)type|double"),
        ("contributions", {"images": np.zeros((1, *RGB), "uint8")}, "INVALID_ARGUMENT", "(?i)type|uint8"),
        ("contributions", {"images": np.zeros((1, 9, 9, 3), "float32")}, "INVALID_ARGUMENT", "."),
        ("contributions", {"images": np.zeros((1, 500, 500, 3), "float32")}, "INVALID_ARGUMENT", "."),
        ("contributions", {"images": with_pixel(np.nan)}, "INVALID_ARGUMENT", "must be finite"),
        ("contributions", {"images": with_pixel(256.0)}, "INVALID_ARGUMENT", "pixels in"),
        ("contributions_bytes", {"image_bytes": np.array([b"x"], object)}, "INVALID_ARGUMENT", "no JPEG, PNG"),
        ("contributions_for_classes", {"images": with_pixel(1.0), "classes": np.full((3, K), 3, "int32")},
         "INVALID_ARGUMENT", "`classes` must be in"),
        ("contributions_for_classes", {"images": with_pixel(1.0), "classes": np.zeros((3, K), "int64")},
         "INVALID_ARGUMENT", "(?i)type|int64"),
        ("contributions_for_classes", {"images": with_pixel(1.0), "classes": np.zeros((2, K), "int32")},
         "INVALID_ARGUMENT", "."),
    ],
)  # fmt: skip
def test_malformed_grpc_requests_get_clear_errors(doubles, signature, inputs, code, message):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "coda", signature
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    with grpc.insecure_channel(doubles["grpc"].address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError, match=message) as caught:
            stub.Predict(request, timeout=20)
    assert caught.value.code().name == code
