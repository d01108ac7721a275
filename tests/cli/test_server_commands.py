"""`keras-coda explain --server`."""

import contextlib
import io

import numpy as np
import pytest

from keras_coda import Explanation, serving
from tests.helpers.commands import run, write_image
from tests.helpers.serving_doubles import GrpcDouble, RestDouble
from tests.helpers.serving_models import LoadedVersion, Models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def addresses(exported):
    """Addresses of the network on two servers, by protocol."""
    models = Models("photos", {3: LoadedVersion(exported[0])}, {"stable": 3})
    with RestDouble(models) as rest, GrpcDouble(models) as rpc:
        yield {"rest": f"http://{rest.address}/v1/models/photos", "grpc": f"grpc://{rpc.address}/photos"}


@pytest.fixture(scope="module")
def explained(model_folder, tmp_path_factory):
    """Three images, the folder of their explanations by the network in this process, and what the command printed."""
    folder, printed = tmp_path_factory.mktemp("explained"), io.StringIO()
    images = [write_image(folder / f"{index}.png", seed=index, size=(8, 8)) for index in range(3)]
    with contextlib.redirect_stdout(printed):
        assert run("explain", "--model", model_folder, *images, "--out", folder / "here") == 0
    return images, folder / "here", printed.getvalue().splitlines()


@pytest.mark.parametrize("suffix", ["", "/versions/3", "/labels/stable"])
@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_server_explains_files_as_the_network_does(protocol, suffix, explained, addresses, tmp_path, capsys):
    images, here, expected = explained
    there = tmp_path / "there"
    assert run("explain", "--server", addresses[protocol] + suffix, *images, "--out", there) == 0
    shown = capsys.readouterr().out.splitlines()
    rows = [[line.split()[:3] for line in lines if ".png" in line] for lines in (shown, expected)]
    assert rows[0] == rows[1]
    for index in range(3):
        served, local = (Explanation.load(folder / f"{index}.npz") for folder in (there, here))
        np.testing.assert_allclose(served.contributions, local.contributions, atol=1e-5)
        assert (there / f"{index}.png").stat().st_size > 1000


def test_a_server_explains_classes_by_index(addresses, tmp_path):
    image = write_image(tmp_path / "0.png")
    arguments = ["explain", "--server", addresses["rest"], image, "--out", tmp_path / "out", "--classes", "1"]
    assert run(*arguments) == 0
    assert Explanation.load(tmp_path / "out" / "0.npz").classes.tolist() == [[1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--top-k", "2"], "decided at export"), (["--wrt", "dau_1"], "decided at export"),
     (["--classes", "2"], "`classes` must be in [0, 2)"), (["--classes", "bright"], "Names: none")],
)  # fmt: skip
def test_what_a_server_cannot_do_is_refused(options, message, addresses, tmp_path, capsys):
    image = write_image(tmp_path / "0.png")
    out = tmp_path / "out"
    assert run("explain", "--server", addresses["rest"], image, "--out", out, *options) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_no_server_and_no_such_model_are_said(addresses, tmp_path, capsys):
    image, out = write_image(tmp_path / "0.png"), tmp_path / "out"
    nobody = "grpc://127.0.0.1:1/photos"
    for address, message in ((nobody, "UNAVAILABLE"), (addresses["rest"] + "/versions/9", "9")):
        assert run("explain", "--server", address, image, "--out", out) == 1
        assert message in capsys.readouterr().err
        assert not out.exists()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:8501", "http://127.0.0.1:8501", "grpc://127.0.0.1:8500", "ftp://host/v1/models/m", "grpc:///m",
     "http://host/v1/models/m/versions", "grpc://host:1/m/labels/a/b", "grpc://host:1/m/version/2"],
)  # fmt: skip
def test_addresses_are_checked(address):
    with pytest.raises(ValueError, match=r"A server's address must be http://HOST:PORT/v1/models/NAME or grpc://"):
        serving.connect(address)


def test_an_address_says_server_version_and_label():
    with serving.connect("https://host:8501/behind/proxy/v1/models/m/versions/12", timeout=3) as client:
        assert (type(client).__name__, client.model, client.version) == ("RestClient", "m", 12)
    with serving.connect("grpc://host:8500/m/labels/stable") as client:
        assert (type(client).__name__, client.model, client.label) == ("GrpcClient", "m", "stable")
    with pytest.raises(ValueError, match="A version is a number"):
        serving.connect("grpc://host:8500/m/versions/latest")
