"""Claims about uploaded images and the state of open pages."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from keras_coda.data.preparation import Preparation
from keras_coda.explorer.sessions import MAX_SESSIONS, Picture, Session, Sessions
from tests.helpers.image_files import file_of

pytestmark = pytest.mark.slow


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
    turned = Picture("b", file_of(Image.fromarray(np.zeros((10, 20, 3), "uint8")), "JPEG", exif=exif))
    assert turned.image((None, None), 3).shape == (20, 10, 3)


def test_sixteen_bits_keep_their_gray_or_are_windowed():
    data = file_of(Image.fromarray(np.full((8, 8), 3000, "uint16")), "PNG")
    np.testing.assert_allclose(Picture("a", data).image((8, 8), 1), 3000 * 255 / 65535, rtol=1e-6)
    np.testing.assert_allclose(Picture("a", data).image((None, None), 1, window=(1000, 5000)), 127.5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"no image",
            r"must be readable. Received: 'bad.png' \(no JPEG, PNG, BMP, GIF, WebP or TIFF file\). Save it again",
        ),
        (b"", "must be readable"),
        (file_of(Image.fromarray(np.zeros((9, 9), "uint8")), "PNG")[:45], "must be readable"),
        (
            file_of(Image.fromarray(np.zeros((6400, 6400), "uint8")), "PNG"),
            "up to 40 million pixels. Received: 'bad.png' with 6400x6400",
        ),
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


@pytest.mark.parametrize(
    ("size", "preparation", "part"),
    [
        ((None, None), None, (0, 0, 1, 1)),
        ((32, 32), None, (0.25, 0, 0.5, 1)),
        ((10, 40), None, (0, 0.25, 1, 0.5)),
        ((None, None), Preparation(resize=8, crop=4), (0.375, 0.25, 0.25, 0.5)),
    ],
)
def test_the_part_that_a_network_sees(size, preparation, part):
    pixels = np.zeros((30, 60, 3), "uint8")
    found = Picture.of("a", pixels).original(size, preparation=preparation)
    assert (found.width, found.height) == (60, 30)
    assert found.part == pytest.approx(part)
    left, top, width, height = found.part
    rows, columns = (
        slice(math.floor(30 * top) - 1 if top else 0, math.ceil(30 * (top + height)) + 1),
        slice(math.floor(60 * left) - 1 if left else 0, math.ceil(60 * (left + width)) + 1),
    )
    pixels[rows, columns] = 255  # and one more, since pixels are interpolated
    image = Picture.of("a", pixels).image(size, 3, preparation=preparation)
    assert image.min() > 254 or preparation is not None, "all that it sees is in the frame"


def test_sessions_are_bounded_and_forgotten():
    sessions = Sessions()
    for index in range(MAX_SESSIONS + 3):
        sessions[str(index)] = Session("a")
    assert len(sessions) == MAX_SESSIONS
    sessions.forget("10")
    for key in ("0", "10"):
        with pytest.raises(ValueError, match="Reload the page"):
            sessions[key]
