"""Images with 16 bits per channel: no bit is lost on any way to a network; a window says what is black and white."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet, data, training
from keras_coda.data import images, read_image
from keras_coda.explanations import explain_files, predict_files
from keras_coda.explorer.sessions import Picture
from keras_coda.utils.errors import UnreadableImageError
from tests.helpers.datasets import arrays
from tests.helpers.image_files import file_of, orientation, png_of, tiff_of

pytestmark = pytest.mark.any_backend
WINDOW = (1000, 5000)


def deep(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, shape).astype("uint16")


def colors_of(pixels):
    return np.broadcast_to(pixels[..., :1] if pixels.shape[2] < 3 else pixels[..., :3], (*pixels.shape[:2], 3))


def windowed(pixels, low, high):
    return np.clip((pixels.astype("float64") - low) / (high - low), 0, 1) * 255


def test_every_value_has_a_pixel_of_its_own():
    values = np.arange(65536).astype("uint16").reshape(256, 256, 1)
    found = read_image(png_of(values, 16), 1)
    assert (found.dtype, found.min(), found.max()) == ("float32", 0, 255)
    assert len(np.unique(found)) == 65536
    np.testing.assert_array_equal(np.rint(found.astype("float64") * 257), values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_files_of_both_byte_orders_keep_all_bits(order, channels, bits):
    pixels = deep(11, 14, channels)
    pixels = pixels if bits == 16 else (pixels >> 8).astype("uint8")
    if (bits, channels) == (16, 2):
        with pytest.raises(UnreadableImageError, match="Received: 'bytes'"):  # Pillow has no such images
            read_image(tiff_of(pixels, order), 3)
        return
    found = read_image(tiff_of(pixels, order), 3)
    assert found.dtype == ("float32" if bits == 16 else "uint8")
    np.testing.assert_array_equal(found, colors_of(pixels) / np.float32(257 if bits == 16 else 1))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("bits", [8, 16])
def test_compressed_tiff_files_are_read(compression, bits):
    pixels = deep(11, 14) if bits == 16 else (deep(11, 14) >> 8).astype("uint8")
    found = read_image(file_of(Image.fromarray(pixels), "TIFF", compression=compression), 1)
    np.testing.assert_array_equal(found[..., 0], pixels / np.float32(257 if bits == 16 else 1))


def test_compressed_colors_of_16_bits_keep_all_bits():
    cv2 = pytest.importorskip("cv2")  # Pillow cannot write them
    pixels = deep(40, 30, 3)
    for compression in (1, 5, 8):
        _, file = cv2.imencode(".tiff", pixels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
        np.testing.assert_array_equal(read_image(file.tobytes(), 3), pixels / np.float32(257))


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (tiff_of(deep(5, 6, 1), colors=0), "other colors than gray"),
        (tiff_of(deep(5, 6, 1), format=2), "other bits per channel than 8 or 16, unsigned"),
        (tiff_of(deep(5, 6, 3), orientation=6), "an orientation"),
        (tiff_of(deep(5, 6, 3), planes=2), "channels stored one after the other"),
        (tiff_of(deep(5, 6, 4), extra=1), "alpha that is multiplied"),
        (file_of(Image.fromarray(np.zeros((9, 9), "float32")), "TIFF"), "other bits per channel"),
        (file_of(Image.new("1", (9, 9)), "TIFF"), "other bits per channel"),
        (file_of(Image.new("P", (9, 9)), "TIFF"), "other colors than gray"),
        (file_of(Image.new("CMYK", (9, 9)), "TIFF"), "other colors than gray"),
        (file_of(Image.new("RGB", (16, 16)), "TIFF", compression="jpeg"), ""),
        (tiff_of(deep(5, 6, 3))[:100], ""),
        (b"II*\0" + bytes(30), ""),
        (png_of(deep(5, 6, 3), 16)[:60], "cut off"),
    ],
)
def test_unusual_and_damaged_files_are_refused_by_name(file, problem):
    with pytest.raises(UnreadableImageError, match=f"Received: 'a.tif' .*{problem}.*Save it again as PNG"):
        read_image(file, 3, name="a.tif")


def test_pages_of_a_tiff_are_an_animation():
    pages = [Image.fromarray(deep(5, 6, seed=seed)) for seed in range(2)]
    file = file_of(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read_image(file, 1)[..., 0], np.asarray(pages[0]) / np.float32(257))
    with pytest.raises(UnreadableImageError, match="with 2 frames"):
        read_image(file, 1, animated=False)


@pytest.mark.parametrize(
    ("make", "channels"),
    [*((lambda pixels: png_of(pixels, 16), channels) for channels in (1, 2, 3, 4)), *((tiff_of, c) for c in (1, 3, 4))],
)
def test_a_window_says_what_is_black_and_what_is_white(channels, make):
    pixels = deep(11, 14, channels) % 8000
    found = read_image(make(pixels), 3, window=WINDOW)
    np.testing.assert_allclose(found, windowed(colors_of(pixels), *WINDOW), atol=1e-4)
    assert (found.min(), found.max()) == (0, 255)
    gray = read_image(make(pixels), 1, window=WINDOW)[..., 0]
    expected = windowed(colors_of(pixels), *WINDOW) @ [19595, 38470, 7471] / 65536
    np.testing.assert_allclose(gray, expected, atol=1e-3)


def test_windows_leave_files_of_8_bits_as_they_are_and_are_checked():
    file = png_of((deep(4, 5, 3) >> 8).astype("uint8"))
    np.testing.assert_array_equal(read_image(file, 3, window=WINDOW), read_image(file, 3))
    for window in ((5, 5), (5, 1), (-1, 5), (0, 65536), (1,), "ab", (0, np.nan), 7):
        with pytest.raises(ValueError, match="`window` must be .* Received: window="):
            read_image(file, 3, window=window)


def test_images_are_turned_scaled_down_and_measured_as_those_of_8_bits():
    exif = orientation(6).tobytes()[6:]
    pixels = deep(40, 24, 3)
    file = png_of(pixels, 16, chunks=[(b"eXIf", exif)])
    np.testing.assert_array_equal(read_image(file, 3), np.rot90(pixels, -1) / np.float32(257))
    smooth = np.asarray(Image.fromarray((deep(4, 4, 3) >> 8).astype("uint8")).resize((24, 40)))
    small = [
        read_image(png_of(smooth.astype("uint16") * factor, bits), 3, max_side=20)
        for factor, bits in ((1, 8), (257, 16))
    ]
    assert small[0].shape == small[1].shape == (20, 12, 3)
    assert np.abs(small[0] - small[1]).max() < 1.5
    assert 0 <= small[1].min() <= small[1].max() <= 255


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two classes of gray images with 16 bits, of which nothing but noise lies in the upper eight."""
    folder = tmp_path_factory.mktemp("scans")
    for index, name in enumerate(("dark", "bright")):
        (folder / name).mkdir()
        for i in range(3):
            pixels = (np.random.default_rng(i).integers(0, 100, (8, 8)) + 1000 + 100 * index).astype("uint16")
            Image.fromarray(pixels).save(folder / name / f"{i}.{'png' if i else 'tiff'}")
    return folder


@pytest.fixture(scope="module")
def network():
    model = CoDANet(2, input_shape=(8, 8, 3), filters=(2,), ranks=2, class_names=("bright", "dark"))
    model.window = (1000, 1200)
    return model


def test_training_reads_what_explanations_read(scans, network, tmp_path):
    loaded = data.load(scans, window=(1000, 1200), augment=False, batch_size=6, validation_split=0.5)
    assert loaded.window == (1000, 1200)
    found = np.concatenate([arrays(part)[0] for part in (loaded.train, loaded.validation)])
    paths = sorted(scans.glob("*/*.*"))
    expected = [windowed(np.asarray(Image.open(path)), 1000, 1200) for path in paths]
    assert np.mean(found) > 60  # without the window all are nearly black
    order = np.lexsort(np.reshape(found, (6, -1))[:, ::-1].T)
    options = {"window": network.window}
    ways = [
        expected,
        [network.explain(path).images[0, ..., 0] for path in paths],
        [network.explain(Image.open(path)).images[0, ..., 0] for path in paths],
        [Picture.take(copy(path, tmp_path)).image((8, 8), 1, **options)[..., 0] for path in paths],
    ]
    for array in ways:
        own = np.lexsort(np.reshape(array, (6, -1))[:, ::-1].T)
        np.testing.assert_allclose(np.array(array)[own], found[order][..., 0], atol=1e-3)


def copy(path, folder):
    target = folder / "uploads" / path.name
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(path.read_bytes())
    return target


def test_files_are_explained_and_predicted_with_the_window_of_the_network(scans, network, tmp_path):
    path = scans / "dark" / "1.png"
    expected = network.explain(windowed(np.asarray(Image.open(path)), 1000, 1200)[None, ..., None].repeat(3, -1))
    explain_files(network, [path], tmp_path / "out")
    with np.load(tmp_path / "out" / "1.npz") as found:
        np.testing.assert_allclose(found["logits"], expected.logits, atol=1e-4)
    row = predict_files(network, [path], verbose=False).splitlines()[1].split(",")
    assert float(row[3]) == pytest.approx(expected.logits.max(), abs=1e-4)


def test_a_window_belongs_to_files(scans):
    with pytest.raises(ValueError, match="`window` belongs to image files, in folders or CSV files. Received: "):
        data.load("digits", window=WINDOW)
    with pytest.raises(ValueError, match="`window` must be"):
        data.load(scans, window=(9, 1))


def test_opened_images_of_pillow_give_the_pixels_of_their_files():
    for file in (png_of(deep(5, 6, 1), 16), tiff_of(deep(5, 6, 1)), tiff_of(deep(5, 6, 1), ">")):
        opened = Image.open(io.BytesIO(file))
        np.testing.assert_array_equal(images.pillow_pixels(opened, 1, WINDOW), read_image(file, 1, window=WINDOW))


def test_a_network_gets_the_window_of_its_data_and_says_so(scans, network, tmp_path):
    network.save_to_preset(tmp_path / "preset")
    for window, told in ((None, ["0 to 65535, as the data are; the preset has 1000 to 1200."]), ((1000, 1200), [])):
        loaded = data.load(scans, window=window, validation_split=0.5, verify=False)
        model, notes = training.network(tmp_path / "preset", loaded)
        assert model.window == window
        assert [note.partition("the window ")[2] for note in notes if "window" in note] == told
