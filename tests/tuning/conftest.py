import pytest

from tests.helpers import quarters


@pytest.fixture(scope="module")
def data():
    return quarters.make_data()


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    return quarters.save_preset(tmp_path_factory.mktemp("preset"))
