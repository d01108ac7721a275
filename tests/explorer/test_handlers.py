"""Claims about the page without a browser: what its events do, and its downloads."""

import base64
import types

import numpy as np
import pytest
from PIL import Image

from keras_coda import Explanation
from keras_coda.explorer import downloads
from keras_coda.explorer.examples import examples
from keras_coda.explorer.rendering import STYLES
from keras_coda.explorer.sessions import Session
from tests.helpers.image_files import file_of

pytestmark = pytest.mark.slow


@pytest.fixture
def handlers(networks, tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="needs keras-coda[explore]")
    from keras_coda.explorer.handlers import Handlers

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    return Handlers(networks)


def visitor(name="a"):
    return types.SimpleNamespace(session_hash=name)


def upload(tmp_path, name, data):
    path = tmp_path / "uploads" / name
    path.write_bytes(data)
    return path


def test_a_bad_upload_clears_what_was_shown(handlers, tmp_path):
    outcome = handlers.open(visitor())
    assert handlers.show_image(outcome, 99.5, STYLES[0])[1]["name"] == "digit 0"
    outcome = handlers.upload(upload(tmp_path, "b.png", b"no image"), visitor())
    told, image, shown, bars, *_ = handlers.show_image(outcome, 99.5, STYLES[0])
    assert "must be readable" in told
    assert (image, shown, bars) == (None, "", "")
    assert not list((tmp_path / "uploads").rglob("*"))


def test_only_uploads_are_read_or_deleted(handlers, tmp_path):
    handlers.open(visitor())
    (tmp_path / "mine.png").write_bytes(examples(1)[0].data)
    session, problem = handlers.upload(tmp_path / "mine.png", visitor())
    assert "must be uploaded" in problem
    assert session.explanation is None
    assert (tmp_path / "mine.png").is_file()


def test_visitors_have_their_own_images_until_they_leave(handlers):
    handlers.open(visitor("a"))
    handlers.open(visitor("b"))
    handlers.example(5, visitor("a"))
    assert handlers.current(visitor("b"))[0].picture.name == "digit 0"
    assert handlers.current(visitor("a"))[0].picture.name == "digit 5"
    handlers.close(visitor("a"))
    session, problem = handlers.choose_class(3, visitor("a"))
    assert session.explanation is None
    assert "Reload the page" in problem
    assert len(handlers.sessions) == 1


def test_strokes_on_an_image_that_was_replaced_are_ignored(handlers):
    first, _ = handlers.open(visitor())
    second, _ = handlers.example(1, visitor())
    session, problem = handlers.brush(first.number, "1" * 64, visitor())
    assert (session.removed, problem) == (None, "")
    assert handlers.brush(second.number, "1" * 64, visitor())[0].removed.all()
    assert "for every pixel" in handlers.brush(second.number, "1" * 63, visitor())[1]


def test_another_network_explains_own_images_and_brings_its_examples(handlers, tmp_path):
    handlers.open(visitor())
    handlers.example_cells(visitor())
    session, problem = handlers.choose_network("coda_xs_cifar10", visitor())
    assert not problem
    assert session.picture.name == "airplane, drawn"
    assert session.grid.names[0] == "airplane, drawn"
    data = file_of(Image.fromarray(np.zeros((20, 20, 3), "uint8")), "PNG")
    handlers.upload(upload(tmp_path, "own.png", data), visitor())
    session, _ = handlers.choose_network("coda_digits", visitor())
    assert session.picture.name == "own.png"
    assert session.explanation.images.shape == (1, 8, 8, 1)


def test_a_grid_takes_nine_images_or_says_no(handlers, tmp_path):
    handlers.open(visitor())
    handlers.example_cells(visitor())
    paths = [upload(tmp_path, "ten.png", examples(1)[0].data)]
    session, problem = handlers.upload_cells(paths, visitor())
    assert "up to 9 images. Received: images=10" in problem
    assert len(session.grid.names) == 9
    session, _ = handlers.choose_grid_class(4, visitor())
    assert session.grid.explanation.classes.tolist() == [[4]]
    assert handlers.clear_cells(visitor())[0].grid is None


@pytest.mark.parametrize("style", STYLES)
def test_downloads_are_what_is_shown(handlers, style, tmp_path):
    handlers.open(visitor())
    session, _ = handlers.example_cells(visitor())
    for of_grid in (False, True):
        for kind in ("png", "npz"):
            file = downloads.file(session, of_grid, kind, 95, style)
            assert file["name"].endswith(f".{kind}")
            (tmp_path / file["name"]).write_bytes(base64.b64decode(file["data"]))
            if kind == "npz":
                loaded = Explanation.load(tmp_path / file["name"])
                shown = session.grid.explanation if of_grid else session.explanation
                np.testing.assert_array_equal(loaded.contributions, shown.contributions)
    assert downloads.file(Session("coda_digits"), False, "png", 95, style) is None
