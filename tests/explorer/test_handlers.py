"""Claims about the events of the page without a browser: what they change, and what the page shows after them."""

import base64
import csv
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from keras_coda import Explanation
from keras_coda.explorer import downloads
from keras_coda.explorer.examples import examples
from keras_coda.explorer.handlers import Handlers
from keras_coda.explorer.sessions import Session
from keras_coda.explorer.shown import ALL, OF_EVENT, shown
from keras_coda.explorer.view import STYLES, View, address
from tests.helpers.image_files import file_of

pytestmark = pytest.mark.slow
KEY = "a"


@pytest.fixture
def handlers(networks, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    handlers = Handlers(networks)
    handlers.open({}, KEY)
    return handlers


def upload(tmp_path, name, data):
    path = tmp_path / "uploads" / name
    path.parent.mkdir(exist_ok=True)  # a folder is deleted with its last upload
    path.write_bytes(data)
    return str(path)


# === Wrong input keeps what is shown ===


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("view", {"name": "percentile", "value": "8"}, "number from 50 to 100. Received: '8'. It stays 99.5."),
        ("view", {"name": "percentile", "value": ""}, "number from 50 to 100. Received: nothing. It stays 99.5."),
        ("view", {"name": "percentile", "value": [1]}, "number from 50 to 100"),
        ("view", {"name": "percentile"}, "Received: nothing"),
        ("view", {"name": "style", "value": "else"}, "rendering must be one of"),
        ("view", {"name": ["x"]}, "must be a style"),
        ("class", {"value": "10"}, "one of the 10 that the page shows. Received: class='10'"),
        ("class", {"value": "-1"}, "one of the 10"),
        ("example", {"index": 9}, "one of the 9"),
        ("network", {"value": "else"}, "The network must be one of"),
        ("network", {"value": ["else"]}, "The network must be one of"),
        ("tab", {"value": "else"}, "A tab must be one of"),
        ("upload", {"path": "a\0b"}, "An image must be uploaded"),
        ("upload", {}, "An image must be uploaded"),
        ("cells", {"paths": "a"}, "Images must be uploaded"),
        ("remove", {"index": 0}, "one of the 0"),
        ("brush", {"id": 1, "removed": "1" * 63}, "for every pixel"),
        ("else", {}, "event that this program knows"),
    ],
)
def test_what_a_page_should_not_send_is_answered_by_a_sentence(handlers, kind, data, told, capsys):
    before = handlers.act("current", {}, KEY)[0]
    data = data | ({"id": before.number} if kind == "brush" else {})
    session, problem = handlers.act(kind, data, KEY)
    assert told in problem
    assert session == before
    assert "Traceback" not in capsys.readouterr().err
    assert problem.split("'")[0] in shown(handlers.networks, session, problem, kind)["message"].replace("&#x27;", "'")


def test_a_bad_upload_keeps_the_image_before_it(handlers, tmp_path):
    before = handlers.act("example", {"index": 3}, KEY)[0]
    session, problem = handlers.act("upload", {"path": upload(tmp_path, "b.png", b"no image")}, KEY)
    assert "An image must be readable. Received: 'b.png'" in problem
    assert session == before
    paths = [upload(tmp_path, "a.png", examples(1)[0].data), upload(tmp_path, "c.png", b"no image")]
    assert "'c.png'" in handlers.act("cells", {"paths": paths}, KEY)[1]
    assert not list((tmp_path / "uploads").rglob("*"))


def test_only_uploads_are_read_or_deleted(handlers, tmp_path):
    (tmp_path / "mine.png").write_bytes(examples(1)[0].data)
    session, problem = handlers.act("upload", {"path": str(tmp_path / "mine.png")}, KEY)
    assert "must be uploaded" in problem
    assert session.picture.name == "digit 0"
    assert (tmp_path / "mine.png").is_file()


def test_a_fault_is_shown_and_keeps_the_session(handlers, monkeypatch, capsys):
    monkeypatch.setattr(handlers.networks["coda_digits"], "explain", lambda *_: 1 / 0)
    session, problem = handlers.act("class", {"value": 3}, KEY)
    assert problem == "ZeroDivisionError: division by zero"
    assert session.explanation is not None
    assert "Traceback" in capsys.readouterr().err


# === Sessions ===


def test_visitors_have_their_own_images_until_they_leave(handlers):
    handlers.open({}, "b")
    handlers.act("example", {"index": 5}, KEY)
    assert handlers.act("current", {}, "b")[0].picture.name == "digit 0"
    assert handlers.act("current", {}, KEY)[0].picture.name == "digit 5"
    handlers.close(KEY)
    session, problem = handlers.act("class", {"value": 3}, KEY)
    assert session.explanation is None
    assert "Reload the page" in problem
    assert set(shown(handlers.networks, session, problem, "network")) == set(ALL)
    assert len(handlers.sessions) == 1


def test_an_address_opens_what_it_was_made_for(handlers):
    handlers.act("example", {"index": 4}, KEY)
    for name, value in (("style", STYLES[1]), ("percentile", "85"), ("scale", "own")):
        handlers.act("view", {"name": name, "value": value}, KEY)
    handlers.act("tab", {"value": "grid"}, KEY)
    session, _ = handlers.act("class", {"value": "7"}, KEY)
    query = address(session)
    assert query == (
        "?network=coda_digits&example=4&class=7&tab=grid&style=linear+map+in+color&percentile=85&scale=own"
    )
    pairs = dict(pair.split("=") for pair in query[1:].replace("+", " ").split("&"))
    other, problem = handlers.open(pairs, "b")
    assert not problem
    assert address(other) == query
    assert (other.view, other.tab, other.example) == (View(STYLES[1], 85, False), "grid", 4)
    assert address(handlers.open({}, "c")[0]) == "?network=coda_digits&example=0"


def test_a_wrong_address_opens_what_it_can_and_says_so(handlers):
    session, problem = handlers.open({"network": "mine", "example": "77", "class": "x", "percentile": "x"}, KEY)
    assert "names a network that is not here. Received: 'mine'" in problem
    assert session.picture.name == "digit 0"
    assert session.view == View()
    assert "one of the 10" in handlers.open({"class": "77"}, KEY)[1]


def test_strokes_on_an_image_that_was_replaced_are_ignored(handlers):
    first = handlers.act("current", {}, KEY)[0]
    second = handlers.act("example", {"index": 1}, KEY)[0]
    session, problem = handlers.act("brush", {"id": first.number, "removed": "1" * 64}, KEY)
    assert (session.removed, problem) == (None, "")
    assert handlers.act("brush", {"id": second.number, "removed": "1" * 64}, KEY)[0].removed.all()
    assert handlers.act("brush", {"id": second.number, "removed": "0" * 64}, KEY)[0].without is None


def test_another_class_keeps_the_removed_pixels_and_its_list_belongs_to_its_network(handlers):
    number = handlers.act("current", {}, KEY)[0].number
    before = handlers.act("brush", {"id": number, "removed": "1" * 8 + "0" * 56}, KEY)[0]
    session = handlers.act("class", {"value": "4", "network": "coda_digits"}, KEY)[0]
    assert session.without.classes.tolist() == session.explanation.classes.tolist() == [[4]]
    np.testing.assert_array_equal(session.without.logits, before.without.logits)
    assert session.top is before.top
    assert handlers.act("class", {"value": "5", "network": "coda_xs_cifar10"}, KEY)[0] == session


def test_another_network_explains_own_images_and_brings_its_examples(handlers, tmp_path):
    handlers.act("nine", {}, KEY)
    session, problem = handlers.act("network", {"value": "coda_xs_cifar10"}, KEY)
    assert not problem
    assert session.picture.name == "airplane photo"
    assert session.grid.names[0] == "airplane photo"
    data = file_of(Image.fromarray(np.zeros((20, 40, 3), "uint8")), "PNG")
    session, _ = handlers.act("upload", {"path": upload(tmp_path, "own.png", data)}, KEY)
    assert (session.original.width, session.original.part) == (40, (0.25, 0, 0.5, 1))
    assert address(session) == "?network=coda_xs_cifar10"
    session, _ = handlers.act("network", {"value": "coda_digits"}, KEY)
    assert session.picture.name == "own.png"
    assert session.explanation.images.shape == (1, 8, 8, 1)


def test_cells_of_a_grid_are_added_replaced_and_removed(handlers, tmp_path):
    handlers.act("nine", {}, KEY)
    image = examples(1)[8].data
    session, problem = handlers.act("cells", {"paths": [upload(tmp_path, "ten.png", image)]}, KEY)
    assert "up to 9 images. Received: images=10" in problem
    assert len(session.grid.names) == 9
    session, _ = handlers.act("replace", {"index": "2", "path": upload(tmp_path, "eight.png", image)}, KEY)
    assert session.grid.names[1:4] == ("digit 1", "eight.png", "digit 3")
    assert session.grid.alone[2] == 8
    session, _ = handlers.act("remove", {"index": "0"}, KEY)
    assert session.grid.names[:2] == ("digit 1", "eight.png")
    session, _ = handlers.act("grid-class", {"value": "4"}, KEY)
    assert session.grid.explanation.classes.tolist() == [[4]]
    assert handlers.act("empty", {}, KEY)[0].grid is None


# === What is shown ===


def test_an_event_shows_the_parts_that_it_changes(handlers):
    session, problem = handlers.act("nine", {}, KEY)
    for kind in OF_EVENT:
        found = shown(handlers.networks, session, problem, kind)
        assert {"message", "state", "controls"} <= set(found) <= set(ALL), kind
    everything = shown(handlers.networks, session, problem, "open")
    assert everything["stage"]["maps"][1] is None
    assert "<img" in everything["grid"]


def test_all_classes_share_a_scale_until_somebody_says_no(handlers):
    session = handlers.act("example", {"index": 3}, KEY)[0]

    def ends(session):
        scale = shown(handlers.networks, session, "", "class")["stage"]["maps"][0]["scale"]
        return scale.split("<br>for")[0].rpartition("+")[2], "same colors for all classes" in scale

    first = ends(session)
    other = handlers.act("class", {"value": 0}, KEY)[0]
    assert ends(other) == first
    assert first[1]
    own = ends(handlers.act("view", {"name": "scale", "value": "own"}, KEY)[0])
    assert own[0] != first[0]
    assert not own[1]


@pytest.mark.parametrize("style", STYLES)
def test_downloads_are_what_is_shown(handlers, style, tmp_path):
    handlers.act("view", {"name": "style", "value": style}, KEY)
    session, _ = handlers.act("nine", {}, KEY)
    for of_grid in (False, True):
        for kind in ("png", "npz"):
            file = downloads.file(session, "my net", of_grid, kind)
            explanation = session.grid.explanation if of_grid else session.explanation
            name = explanation.class_names[explanation.classes[0, 0]]
            assert file["name"] == f"{'grid' if of_grid else 'digit-0'}-my-net-{name}.{kind}"
            (tmp_path / file["name"]).write_bytes(base64.b64decode(file["data"]))
            if kind == "npz":
                loaded = Explanation.load(tmp_path / file["name"])
                np.testing.assert_array_equal(loaded.contributions, explanation.contributions)
    assert downloads.file(Session("coda_digits"), "a", False, "png") is None
    assert downloads.file(session, "a", False, "csv") is None


def test_a_grid_is_saved_with_its_lines_and_shares(handlers, monkeypatch):
    session, _ = handlers.act("nine", {}, KEY)
    drawn = []
    monkeypatch.setattr(
        downloads.visualization, "save_picture", lambda figure, path: (drawn.append(figure), path.touch())
    )
    downloads.file(session, "net", True, "png")
    (figure,) = drawn
    image, shown_map = figure.axes[:2]
    assert len(image.lines) == len(shown_map.lines) == 4
    shares = [text.get_text() for text in shown_map.texts if text.get_text().endswith("%")][-9:]
    assert shares == [f"{100 * share:.0f}%" for share in session.grid.shares]
    assert "net · " in figure.texts[-1].get_text()

    named = dataclasses.replace(session.grid, names=("=1+1", *session.grid.names[1:]))
    data = downloads.file(dataclasses.replace(session, grid=named), "net", True, "csv")["data"]
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(data).decode())))
    assert [row["image"] for row in rows[:2]] == ["'=1+1", "digit 1"]
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-4)
