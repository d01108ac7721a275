"""Networks that the tests of the explorer share."""

import pytest

from keras_coda.explorer.networks import Networks


@pytest.fixture(scope="session")
def networks():
    return Networks(["coda_digits"])


@pytest.fixture(scope="session")
def digits_network(networks):
    return networks["coda_digits"]
