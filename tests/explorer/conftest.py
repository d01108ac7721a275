"""What the tests of the explorer share: networks, one server, one browser."""

import pytest

from keras_coda import CoDANet
from keras_coda.explorer.networks import Networks
from tests.helpers import explorer_browser


@pytest.fixture(scope="session")
def networks():
    return Networks(["coda_digits"])


@pytest.fixture(scope="session")
def digits_network(networks):
    return networks["coda_digits"]


@pytest.fixture(scope="package")
def temporary(tmp_path_factory):
    return tmp_path_factory.mktemp("explorer")


@pytest.fixture(scope="package")
def address(temporary, tmp_path_factory):
    own = tmp_path_factory.mktemp("own") / "traffic"
    CoDANet(2, input_shape=(None, None, 3), filters=(4, 2), ranks=2, class_names=("go", "<stop>")).save_to_preset(own)
    with explorer_browser.server(temporary, "--model", "coda_digits", "--model", own, "--max-upload-mb", 1) as address:
        yield address


@pytest.fixture(scope="module")  # an open browser runs an event loop, which other modules need
def chrome():
    with explorer_browser.browser() as chrome:
        yield chrome


@pytest.fixture
def page(chrome, address):
    page = explorer_browser.open_page(chrome, address)
    yield page
    assert page.foreign == [], "requests to other hosts"
    assert not page.complaints
    page.context.close()
