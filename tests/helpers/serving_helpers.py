"""What several tests of the clients use: images, files, clients by the name of their protocol."""

import io

import numpy as np
from PIL import Image

from keras_coda import serving
from tests.helpers.networks import pixels

RGB, K = (8, 7, 3), 2
NAMES = ("cat", "dog", "öl")
CLIENTS = ("rest", "grpc")


def connect(protocol, address, name="coda", **options):
    options = {"timeout": 20.0, "backoff": 0.001} | options
    if protocol == "rest":
        return serving.RestClient(f"http://{address}", name, **options)
    return serving.GrpcClient(address, name, **options)


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(np.squeeze(image).astype("uint8")).save(file, kind)
    return file.getvalue()


def with_pixel(value):
    images = pixels(3, RGB).astype("float32")
    images[1, 2, 3, 0] = value
    return images


def assert_close(served, expected):
    assert served.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(served, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))
