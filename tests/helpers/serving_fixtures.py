"""Fixtures of the clients' tests: networks exported once, stand-ins of both servers, clients for them."""

import contextlib

import keras
import numpy as np
import pytest

import keras_coda
from tests.helpers.networks import pixels, small
from tests.helpers.serving_doubles import GrpcDouble, RestDouble, real_server, real_server_binary
from tests.helpers.serving_helpers import CLIENTS, NAMES, RGB, K, connect
from tests.helpers.serving_models import LoadedVersion, Models


@pytest.fixture(scope="session")
def served_model():
    keras.utils.set_random_seed(0)
    network = small(input_shape=RGB, class_names=NAMES)
    network.fit(pixels(8, RGB), np.arange(8) % 3, verbose=0)
    return network


@pytest.fixture(scope="session")
def digits_model():
    return keras_coda.CoDANet.from_preset("coda_digits")


@pytest.fixture(scope="session")
def served_base(served_model, digits_model, tmp_path_factory):
    """A folder of models as TF Serving wants it: a small network of three layers, and the shipped digits."""
    folder = tmp_path_factory.mktemp("models")
    served_model.export(folder / "coda" / "1", top_k=K, linear_map=True, warmup=False)
    digits_model.export(folder / "digits" / "1", top_k=3, warmup=False)
    return folder


@pytest.fixture(scope="session")
def served_versions(served_base):
    return {name: LoadedVersion(served_base / name / "1") for name in ("coda", "digits")}


@pytest.fixture
def doubles(served_versions):
    models = Models("coda", {1: served_versions["coda"]}, {"stable": 1})
    models.versions["digits"] = {7: served_versions["digits"]}
    with RestDouble(models) as rest, GrpcDouble(models) as rpc:
        yield {"rest": rest, "grpc": rpc}


@pytest.fixture(params=CLIENTS)
def protocol(request):
    return request.param


@pytest.fixture
def double(doubles, protocol):
    return doubles[protocol]


@pytest.fixture
def client(protocol, double):
    with connect(protocol, double.address) as opened:
        yield opened


@pytest.fixture(scope="session")
def real_servers(served_base):
    """Addresses of TF Serving's own binary, by model: ``(REST, gRPC)``; skips where there is none."""
    if real_server_binary() is None:
        pytest.skip("no tensorflow_model_server")
    with contextlib.ExitStack() as stack:
        found = {name: stack.enter_context(real_server(served_base / name, name)) for name in ("coda", "digits")}
        for name, (rest, _) in found.items():
            with connect("rest", rest, name) as client:
                client.wait_until_ready(60)
        yield found


@pytest.fixture(params=["double", "real"])
def address(request, protocol):
    """Addresses by model, of a stand-in and of the real server."""
    if request.param == "double":
        return dict.fromkeys(("coda", "digits"), request.getfixturevalue("double").address)
    found = request.getfixturevalue("real_servers")
    return {name: addresses[CLIENTS.index(protocol)] for name, addresses in found.items()}
