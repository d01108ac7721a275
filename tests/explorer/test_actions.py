import base64
import dataclasses
import io
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet, Explanation
from keras_coda.explorer import networks as explorer_networks
from keras_coda.explorer import pictures, views
from keras_coda.explorer.examples import examples
from keras_coda.explorer.networks import Networks, evidence, grid_shape
from keras_coda.explorer.pictures import STYLES, Picture
from keras_coda.explorer.sessions import MAX_SESSIONS, Session, Sessions
from keras_coda.layers.dynamic_linear import linearize_chain

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def networks():
    return Networks(["coda_digits"])


@pytest.fixture(scope="module")
def digits_network(networks):
    return networks["coda_digits"]


def image_file(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


# === What is computed ===


def test_what_if_is_the_network_on_a_masked_encoding(digits_network):
    image = examples(1)[3].image((8, 8), 1)
    explanation = digits_network.explain(image)
    gone = np.random.default_rng(0).random((8, 8)) < 0.3
    result = digits_network.what_if(explanation, gone)

    encoded = np.concatenate([image / 255, 1 - image / 255], axis=-1)
    encoded[gone] = 0
    chain = [layer for layer in digits_network.model.layers if hasattr(layer, "pullback")]
    real = np.asarray(linearize_chain(chain, encoded[None].astype("float32"))[0])[0, 3]
    assert explanation.classes[0, 0] == 3
    assert result.real == pytest.approx(float(real), abs=1e-4)
    kept = explanation.contributions[0, 0][~gone].sum() + explanation.bias
    assert result.predicted == pytest.approx(float(kept), abs=1e-4)
    assert result.logit == pytest.approx(result.predicted + result.contribution, abs=1e-6)
    assert result.removed == gone.mean()


def test_what_if_without_any_pixel_gone_changes_nothing_and_with_all_leaves_the_bias(digits_network):
    explanation = digits_network.explain(examples(1)[5].image((8, 8), 1), 2)
    none = digits_network.what_if(explanation, np.zeros((8, 8), bool))
    assert none.predicted == none.logit
    assert none.real == pytest.approx(none.logit, abs=1e-4)
    everything = digits_network.what_if(explanation, np.ones((8, 8), bool))
    assert everything.predicted == pytest.approx(explanation.bias, abs=1e-4)
    assert everything.real == pytest.approx(explanation.bias, abs=1e-4)
    with pytest.raises(ValueError, match=r"those of the image. Received: removed=\(3, 3\)"):
        digits_network.what_if(explanation, np.zeros((3, 3), bool))


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (9, (3, 3))]
)
def test_grids_explain_all_images_as_one(digits_network, count, shape):
    images = [each.image((8, 8), 1) for each in examples(1)[:count]]
    grid = digits_network.grid(images, [str(index) for index in range(count)])
    assert (grid.rows, grid.columns) == shape == grid_shape(count)
    assert grid.explanation.contributions.shape == (1, 1, 8 * shape[0], 8 * shape[1])
    assert grid.explanation.residual.max() < 1e-3
    assert grid.shares.sum() == pytest.approx(1)
    assert grid.alone.tolist() == list(range(count))
    last, (row, column) = count - 1, divmod(count - 1, shape[1])
    shown = grid.explanation.images[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
    np.testing.assert_array_equal(shown, images[last])


def test_evidence_at_its_extremes():
    one = -np.ones((4, 6))
    one[2:, 2:4] = 5
    assert evidence(one, 2, 3).tolist() == [0, 0, 0, 0, 1, 0]
    np.testing.assert_allclose(evidence(np.ones((4, 6)), 2, 3), 1 / 6)
    assert not evidence(-np.ones((4, 6)), 2, 3).any()


def test_grids_have_one_to_nine_images(digits_network):
    image = examples(1)[0].image((8, 8), 1)
    for count in (0, 10):
        with pytest.raises(ValueError, match=f"1 to 9 images. Received: images={count}"):
            digits_network.grid([image] * count, [""] * count)


def test_drawings_are_what_they_are_called():
    network = Networks()["coda_xs_cifar10"]
    for each in examples(3):
        explanation = network.explain(each.image(network.size, 3))
        assert each.name == f"{network.class_names[explanation.classes[0, 0]]}, drawn"
        assert explanation.residual.max() < 1e-4


# === Images ===


def test_images_are_resized_as_files_are(tmp_path, digits_network):
    from keras_coda.data.images import fitting, to_pixels

    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), "uint8")
    expected = fitting((8, 8))(to_pixels(Image.fromarray(pixels), 1))
    np.testing.assert_array_equal(Picture.of("a", pixels).image((8, 8), 1), expected)


def test_large_images_are_made_smaller_for_networks_of_any_size_and_photographs_turned():
    picture = Picture.of("a", np.zeros((100, 1000, 3), "uint8"))
    assert picture.image((None, None), 3).shape == (26, 256, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = Picture("b", image_file(np.zeros((10, 20, 3), "uint8"), "JPEG", exif=exif))
    assert turned.image((None, None), 3).shape == (20, 10, 3)


def test_sixteen_bits_keep_their_gray():
    data = image_file(np.full((8, 8), 128 * 256, "uint16"))
    np.testing.assert_array_equal(Picture("a", data).image((8, 8), 1), 128)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no image", r"must be readable. Received: 'bad.png' \(no JPEG, PNG, BMP, GIF or WebP file\). Save it again"),
        (b"", "must be readable"),
        (image_file(np.zeros((9, 9), "uint8"))[:45], "must be readable"),
        (image_file(np.zeros((6400, 6400), "uint8")), "up to 40 million pixels. Received: 'bad.png' with 6400x6400"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "must be readable"),  # no decoder that runs programs
    ],
)
def test_bad_images_say_what_is_wrong(data, message):
    with pytest.raises(ValueError, match=message):
        Picture("bad.png", data).image((8, 8), 1)


def test_animations_are_refused():
    frames, file = [Image.fromarray(np.full((9, 9), value, "uint8")) for value in (0, 200)], io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"must not be animated. Received: 'a.gif' with 2 frames"):
        Picture("a.gif", file.getvalue()).image((8, 8), 1)


def test_uploads_are_deleted_as_they_are_read(tmp_path):
    folder = tmp_path / "upload"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"content")
    assert Picture.take(folder / "a.png") == Picture("a.png", b"content")
    assert not folder.exists()


# === What is shown ===


def test_maps_have_the_colors_of_the_figures(digits_network):
    explanation = digits_network.explain(examples(1)[7].image((8, 8), 1))
    contributions = explanation.contributions[0, 0]
    limit = pictures.limit_of(contributions, 90)
    assert limit == pytest.approx(np.percentile(np.abs(contributions), 90))
    shown = pictures.map_pixels(explanation, 90, STYLES[0]).astype(int)
    clearly = np.abs(contributions) > limit / 10
    assert ((shown[..., 0] > shown[..., 2]) == (contributions > 0))[clearly].all()
    colored = pictures.map_pixels(explanation, 100, STYLES[1])
    assert colored.shape == (8, 8, 3)
    for wrong in ((101, STYLES[0]), (90, "else")):
        with pytest.raises(ValueError, match="Received"):
            pictures.map_pixels(explanation, *wrong)


def test_names_are_text(digits_network):
    explanation = digits_network.explain(examples(1)[0].image((8, 8), 1))
    names = ("<script>", *map(str, range(1, 10)))
    explanation = dataclasses.replace(explanation, class_names=names)
    shown = views.bars(explanation) + views.map_view(explanation, 99.5, STYLES[0])
    shown += views.message("<script>") + views.gallery([Picture('"><script>', b"")])
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


# === Sessions, networks ===


def test_sessions_are_bounded_and_forgotten():
    sessions = Sessions()
    for index in range(MAX_SESSIONS + 3):
        sessions[str(index)] = Session("a")
    assert len(sessions) == MAX_SESSIONS
    sessions.forget("10")
    for key in ("0", "10"):
        with pytest.raises(ValueError, match="Reload it"):
            sessions[key]


def test_networks_are_own_ones_then_those_with_weights_and_read_when_asked_for(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(explorer_networks, "Network", lambda source: made.append(source) or source)
    own = tmp_path / "photos" / "model"
    CoDANet(2, input_shape=(8, 8, 3), filters=(4, 2), ranks=2).save_to_preset(own)
    networks = Networks([own, "coda_digits"])
    assert networks.names == ("photos/model", "coda_digits", "coda_xs_cifar10")
    assert not made
    assert networks["photos/model"] == networks["photos/model"] == str(own)
    assert made == [str(own)]
    with pytest.raises(ValueError, match="The network is one of"):
        networks["else"]


def test_networks_are_checked_before_anything_starts(tmp_path):
    with pytest.raises(ValueError, match="must have weights. Received: model='coda_s_cifar10'"):
        Networks(["coda_s_cifar10"])
    with pytest.raises(ValueError, match="nowhere"):
        Networks([tmp_path / "nowhere"])
    CoDANet(2, input_shape=(8, 8, 2), filters=(4, 2), ranks=2).save_to_preset(tmp_path / "two")
    with pytest.raises(ValueError, match=r"1 or 3 channels. Received: a network for 2"):
        Networks([tmp_path / "two"])["two"]


# === The page, without a browser ===


@pytest.fixture
def explorer(networks, tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="needs keras-coda[explore]")
    from keras_coda.explorer.actions import Explorer

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    return Explorer(networks)


def visitor(name="a"):
    return types.SimpleNamespace(session_hash=name)


def upload(tmp_path, name, data):
    path = tmp_path / "uploads" / name
    path.write_bytes(data)
    return path


def test_a_bad_upload_clears_what_was_shown(explorer, tmp_path):
    outcome = explorer.open(visitor())
    assert explorer.one(outcome, 99.5, STYLES[0])[1]["name"] == "digit 0"
    outcome = explorer.give(upload(tmp_path, "b.png", b"no image"), visitor())
    told, image, shown, bars, *_ = explorer.one(outcome, 99.5, STYLES[0])
    assert "must be readable" in told
    assert (image, shown, bars) == (None, "", "")
    assert not list((tmp_path / "uploads").rglob("*"))


def test_only_uploads_are_read_or_deleted(explorer, tmp_path):
    explorer.open(visitor())
    (tmp_path / "mine.png").write_bytes(examples(1)[0].data)
    session, problem = explorer.give(tmp_path / "mine.png", visitor())
    assert "must be uploaded" in problem
    assert session.explanation is None
    assert (tmp_path / "mine.png").is_file()


def test_visitors_have_their_own_images_until_they_leave(explorer):
    explorer.open(visitor("a"))
    explorer.open(visitor("b"))
    explorer.example(5, visitor("a"))
    assert explorer.look(visitor("b"))[0].picture.name == "digit 0"
    assert explorer.look(visitor("a"))[0].picture.name == "digit 5"
    explorer.close(visitor("a"))
    session, problem = explorer.choose_class(3, visitor("a"))
    assert session.explanation is None
    assert "Reload it" in problem
    assert len(explorer.sessions) == 1


def test_strokes_on_an_image_that_was_replaced_are_ignored(explorer):
    first, _ = explorer.open(visitor())
    second, _ = explorer.example(1, visitor())
    session, problem = explorer.brush(first.number, "1" * 64, visitor())
    assert (session.gone, problem) == (None, "")
    assert explorer.brush(second.number, "1" * 64, visitor())[0].gone.all()
    assert "for every pixel" in explorer.brush(second.number, "1" * 63, visitor())[1]


def test_another_network_explains_own_images_and_brings_its_examples(explorer, tmp_path):
    explorer.open(visitor())
    explorer.example_cells(visitor())
    session, problem = explorer.choose_network("coda_xs_cifar10", visitor())
    assert not problem
    assert session.picture.name == "airplane, drawn"
    assert session.grid.names[0] == "airplane, drawn"
    data = image_file(np.zeros((20, 20, 3), "uint8"))
    explorer.give(upload(tmp_path, "own.png", data), visitor())
    session, _ = explorer.choose_network("coda_digits", visitor())
    assert session.picture.name == "own.png"
    assert session.explanation.images.shape == (1, 8, 8, 1)


def test_a_grid_takes_nine_images_or_says_no(explorer, tmp_path):
    explorer.open(visitor())
    explorer.example_cells(visitor())
    paths = [upload(tmp_path, "ten.png", examples(1)[0].data)]
    session, problem = explorer.add_cells(paths, visitor())
    assert "up to 9 images. Received: images=10" in problem
    assert len(session.grid.names) == 9
    session, _ = explorer.choose_grid_class(4, visitor())
    assert session.grid.explanation.classes.tolist() == [[4]]
    assert explorer.clear_cells(visitor())[0].grid is None


@pytest.mark.parametrize("style", STYLES)
def test_downloads_are_what_is_shown(explorer, style, tmp_path):
    from keras_coda.explorer import downloads

    explorer.open(visitor())
    session, _ = explorer.example_cells(visitor())
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


def test_the_page_is_built_and_gradio_writes_nothing_beside_it(explorer):
    from keras_coda.explorer import app

    page = app.build(explorer.networks)
    assert all(event.api_visibility == "private" for event in page.fns.values() if event.fn is not None)
    events = [event for event in page.fns.values() if event.fn is not None and event.outputs]
    assert {(event.concurrency_id, event.concurrency_limit) for event in events} == {("page", 1)}, "in their order"
    assert not list((ROOT / "keras_coda" / "explorer").glob("*.pyi"))
