"""Many callers at once, while servers restart and versions change: no wrong answer, no failure without its type."""

import collections
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from keras_coda import serving
from tests.helpers.networks import pixels, small
from tests.helpers.serving_doubles import GrpcDouble, RestDouble
from tests.helpers.serving_helpers import CLIENTS, RGB, K, connect, encoded
from tests.helpers.serving_models import LoadedVersion, Models
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.slow

CALLERS, REQUESTS, AFTER_THE_SWITCH = 32, 9, 3
POOL = pixels(24, RGB, seed=3)
FILES = [encoded(image) for image in POOL]
EVERY_CLASS = np.tile(np.arange(3), (len(POOL), 1))


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    keras.utils.set_random_seed(7)
    network = small(input_shape=RGB)
    folder = tmp_path_factory.mktemp("other") / "2"
    network.export(folder, top_k=K, warmup=False)
    return network, LoadedVersion(folder)


class Caller:
    """Sends random requests, good and bad, and writes down what came of each."""

    def __init__(self, seed, clients, expected, switched):
        self._rng, self._clients = np.random.default_rng(seed), clients
        self._expected, self._switched = expected, switched
        self.outcomes = []

    def __call__(self):
        for count in range(REQUESTS):
            if count == REQUESTS - AFTER_THE_SWITCH:
                self._switched.wait(60)
            try:
                self.outcomes.append(self._request())
            except serving.ServingError as error:
                self.outcomes.append(type(error).__name__)
        return self.outcomes

    def _request(self):
        client = self._clients[self._rng.integers(len(self._clients))]
        chosen = self._rng.integers(0, len(POOL), self._rng.integers(1, 7))
        images = POOL[chosen] if self._rng.random() < 0.5 else [FILES[index] for index in chosen]
        kind = self._rng.integers(0, 4)
        if kind == 0:
            predicted = client.predict(images)
            return self._version(chosen, predicted.logits, predicted.top_classes)
        if kind == 1:
            explained = client.explain(images)
            return self._version(chosen, explained.logits, explained.classes, explained.contributions)
        if kind == 2:
            classes = self._rng.integers(0, 3, (len(chosen), K))
            explained = client.explain(images, classes)
            np.testing.assert_array_equal(explained.classes, classes)
            return self._version(chosen, explained.logits, explained.classes, explained.contributions)
        client.explain([b"no image", *FILES[:2]])
        raise AssertionError("what is no image was explained")

    def _version(self, chosen, logits, classes, maps=None):
        """Return whose answer it is: it must be one version's in all its parts."""
        for version, expected in self._expected.items():
            if np.abs(logits - expected.logits[chosen]).max() <= 1e-5 * max(1.0, np.abs(expected.logits).max()):
                if maps is not None:
                    of_classes = expected.contributions[chosen[:, None], classes]
                    limit = 1e-5 * max(1.0, np.abs(expected.contributions).max())
                    np.testing.assert_allclose(maps, of_classes, rtol=0, atol=limit)
                return version
        raise AssertionError(f"an answer of no version: {logits}")


def wait_for(callers, count):
    """Wait until so many requests have come to an end."""
    wait_until(lambda: sum(len(caller.outcomes) for caller in callers) >= count, seconds=60)


def test_nothing_wrong_is_returned_while_servers_restart_and_versions_change(
    served_model, served_versions, other_model
):
    other, other_loaded = other_model
    networks = {1: served_model, 2: other}
    expected = {version: network.explain(POOL, EVERY_CLASS, verbose=False) for version, network in networks.items()}
    models = Models("coda", {1: served_versions["coda"]})
    switched = threading.Event()
    with RestDouble(models) as rest, GrpcDouble(models) as rpc, ThreadPoolExecutor(CALLERS) as pool:
        addresses = dict(zip(CLIENTS, (rest.address, rpc.address), strict=True))
        clients = [connect(protocol, addresses[protocol], version=version, timeout=30.0, retries=2)
                   for protocol in CLIENTS for version in (None, 1)]  # fmt: skip
        callers = [Caller(seed, clients, expected, switched) for seed in range(CALLERS)]
        futures = [pool.submit(caller) for caller in callers]
        try:
            wait_for(callers, 2 * CALLERS)
            for double in (rest, rpc):  # killed and started again
                double.stop()
                double.start()
            wait_for(callers, 3 * CALLERS)
            models.versions["coda"][2] = other_loaded
            del models.versions["coda"][1]  # who insists on version 1 shall be told
            rest.stop()
            rest.start()
        finally:
            switched.set()
        outcomes = collections.Counter(outcome for future in futures for outcome in future.result(120))
        for client in clients:
            client.close()
    assert outcomes.total() == CALLERS * REQUESTS
    typed = {"InvalidRequest", "ModelNotFound", "Unavailable"}
    assert outcomes.keys() <= {1, 2} | typed
    assert min(outcomes[outcome] for outcome in (1, 2, "InvalidRequest", "ModelNotFound")) > 0


def test_callers_share_a_client(served_model, served_versions):
    expected = served_model.explain(POOL, top_k=K, verbose=False)
    models = Models("coda", {1: served_versions["coda"]})

    def call(index):
        explained = clients[index % 2].explain(POOL[index : index + 3])
        np.testing.assert_allclose(explained.contributions, expected.contributions[index : index + 3], atol=1e-5)
        return index

    with RestDouble(models) as rest, GrpcDouble(models) as rpc, ThreadPoolExecutor(CALLERS) as pool:
        with connect("rest", rest.address) as one, connect("grpc", rpc.address) as other:
            clients = one, other
            assert list(pool.map(call, [index % 20 for index in range(96)])) == [index % 20 for index in range(96)]
        assert rest.counts["predict"] + rpc.counts["predict"] == 96
