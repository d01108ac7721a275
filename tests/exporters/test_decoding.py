"""The decoder of exported networks returns the pixels of `read_image`, of 8 bits exactly, or refuses by name."""

import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from PIL import Image

from keras_coda import data
from keras_coda.data.images import fitting, read_image
from keras_coda.exporters import lint_saved_model
from keras_coda.exporters.decoding import decode, decode_pixels
from keras_coda.utils.errors import UnreadableImageError
from tests.helpers.datasets import fill
from tests.helpers.image_files import file_of, orientation, png_of
from tests.helpers.networks import small

pytestmark = pytest.mark.slow

SIZE = (6, 11)
FUNCTIONS = {}


def decoded(file, channels):
    """The pixels that a graph decodes."""
    if channels not in FUNCTIONS:
        specs = [tf.TensorSpec((), tf.string)]
        FUNCTIONS[channels] = tf.function(lambda file: decode_pixels(file, channels), input_signature=specs)
    return FUNCTIONS[channels](tf.constant(file)).numpy()


def batch_decoded(files, channels):
    """The images that an exported network makes of a batch of files."""
    if (channels, "batch") not in FUNCTIONS:
        spec = tf.TensorSpec((*SIZE, channels), tf.float32)

        def decode_all(files):
            return tf.map_fn(lambda file: decode(file, spec.shape), files, fn_output_signature=spec)

        specs = [tf.TensorSpec((None,), tf.string)]
        FUNCTIONS[channels, "batch"] = tf.function(decode_all, input_signature=specs)
    return FUNCTIONS[channels, "batch"](tf.constant(files))


def check(file):
    for channels in (1, 3):
        expected = read_image(file, channels)
        # Of 16 bits, TensorFlow may fuse products and sums: gray of colors has another last bit.
        np.testing.assert_allclose(decoded(file, channels), expected, rtol=0, atol=1e-4 * (expected.dtype != "uint8"))


def check_deep(file, window):
    for channels in (1, 3):
        found = decode_pixels(tf.constant(file), channels, window).numpy()
        np.testing.assert_allclose(found, read_image(file, channels, window=window), rtol=0, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("window", [None, (1000, 40000.5)])
def test_a_graph_decodes_16_bits_with_the_window(channels, window):
    array = np.random.default_rng(channels).integers(0, 65536, (9, 7, channels)).astype("uint16")
    check_deep(png_of(array, 16, chunks=[(b"eXIf", orientation(6).tobytes()[6:])]), window)


def pixels(draw, channels, top=256):
    height, width, seed = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    if draw(st.booleans()) and top == 256:  # smooth
        small = Image.fromarray(rng.integers(0, 256, (3, 3, 3)).astype("uint8")).resize((width, height))
        return np.asarray(small)[..., : min(channels, 3)].repeat(1 if channels < 4 else 2, axis=-1)[..., :channels]
    return rng.integers(0, top, (height, width, channels)).astype("uint16" if top > 256 else "uint8")


@st.composite
def jpegs(draw):
    channels = draw(st.sampled_from([1, 3]))
    array = pixels(draw, channels)
    image = Image.fromarray(array[..., 0] if channels == 1 else array)
    options = {"quality": draw(st.integers(1, 100)), "progressive": draw(st.booleans())}
    if channels == 3:
        options["subsampling"] = draw(st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]))
        options["keep_rgb"] = options["subsampling"] == "4:4:4" and draw(st.booleans())
    if draw(st.booleans()):
        options["exif"] = orientation(draw(st.integers(0, 9)), draw(st.sampled_from("<>"))).tobytes()
    return file_of(image, "JPEG", **options)


@st.composite
def pngs(draw):
    bits = draw(st.sampled_from([8, 16]))
    array = pixels(draw, draw(st.integers(1, 4)), 2**bits)
    exif = orientation(draw(st.integers(0, 9)), draw(st.sampled_from("<>"))).tobytes()[6:]
    chunks = draw(st.sampled_from([(), [(b"eXIf", exif)], [(b"gAMA", b"\0\1\x86\xa0")]]))
    return png_of(array, bits, draw(st.booleans()), chunks)


@st.composite
def palettes(draw):
    kind, colors = draw(st.sampled_from(["PNG", "GIF", "BMP"])), draw(st.sampled_from([2, 3, 4, 9, 16, 40, 256]))
    image = Image.fromarray(pixels(draw, 3)).quantize(colors)
    if draw(st.booleans()):  # gray, or black and white
        image = image.convert(draw(st.sampled_from(["L", "1"]))) if kind != "BMP" else image.convert("L")
    options = {}
    if kind != "BMP" and draw(st.booleans()):
        options["transparency"] = draw(st.integers(0, 1))
    if kind == "BMP" and image.mode == "P":
        palette = np.zeros((256, 3), "uint8")
        palette[: len(image.getpalette()) // 3] = np.reshape(image.getpalette(), (-1, 3))
        image.putpalette(palette.tobytes())  # 8 bits for each pixel
    return file_of(image, kind, **options)


@st.composite
def bitmaps(draw):
    array = pixels(draw, draw(st.sampled_from([3, 4])))
    data = bytearray(file_of(Image.fromarray(array), "BMP"))
    if draw(st.booleans()):  # rows from the top
        data[22:26] = (-array.shape[0]).to_bytes(4, "little", signed=True)
    return bytes(data)


@pytest.mark.parametrize("files", [jpegs(), pngs(), palettes(), bitmaps()], ids=["JPEG", "PNG", "palette", "BMP"])
def test_a_graph_decodes_the_same_pixels(files):
    @settings(max_examples=40)
    @given(files)
    def check_one(file):
        check(file)

    check_one()


@settings(max_examples=5)
@given(st.lists(st.one_of(jpegs(), pngs(), palettes(), bitmaps()), min_size=1, max_size=5))
def test_a_batch_is_fitted_as_explain_does(files):
    for channels in (1, 3):
        found = batch_decoded(files, channels)
        assert found.shape == (len(files), *SIZE, channels)
        fit = fitting(SIZE)
        np.testing.assert_allclose(found, [fit(read_image(file, channels)) for file in files], atol=1e-3)


def test_training_sees_the_pixels_that_are_served(tmp_path):
    fill(tmp_path, count=3, suffix="jpg", size=(17, 40))
    fill(tmp_path, count=3, suffix="gif", size=(40, 17))
    loaded = data.load(tmp_path, image_size=SIZE, augment=False, validation_split=0.5)
    served = batch_decoded([path.read_bytes() for path in sorted(tmp_path.rglob("*.*"))], 3).numpy()
    for part in (loaded.train, loaded.validation):
        for images, labels in part.as_numpy_iterator():
            for image, label in zip(images, labels, strict=True):
                assert np.abs(served[6 * label : 6 * label + 6] - image).max((1, 2, 3)).min() < 1e-3


def test_extreme_values_stay_in_range():
    file = file_of(Image.fromarray(np.full((300, 300, 3), 255, "uint8")), "PNG")
    assert batch_decoded([file], 3).numpy().max() == 255


IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3)).astype("uint8"))


def gif(width=13, height=9, left=0, top=0, count=1, extensions=0):
    """A GIF whose first picture is 13x9 at (left, top) of a whole of width x height."""
    frames = [IMAGE.quantize(16), *(IMAGE.transpose(turn).quantize(16) for turn in (0, 1))][:count]
    data = bytearray(file_of(frames[0], "GIF", save_all=count > 1, append_images=frames[1:], comment="c" * extensions))
    data[6], data[8] = width, height
    place = data.index(b",\0\0\0\0\r\0\t\0")
    data[place + 1], data[place + 3] = left, top
    return bytes(data)


def without_adobe_marker(file):
    place = file.index(b"Adobe")
    return file[: place - 4] + file[place + 12 :]


@pytest.mark.parametrize("extensions", [0, 5, 700])
@pytest.mark.parametrize("options", [{}, {"count": 3}])
def test_gif_files_with_extensions_and_several_pictures_are_decoded(options, extensions):
    check(gif(extensions=extensions, **options))


@pytest.mark.parametrize("extensions", [0, 700])
@pytest.mark.parametrize(
    "options",
    [{"width": 5}, {"height": 8}, {"width": 5, "height": 5}, {"left": 1}, {"top": 3}, {"left": 2, "width": 14},
     {"left": 1, "count": 3}, {"width": 5, "count": 2}],
)  # fmt: skip
def test_a_gif_whose_picture_is_larger_than_the_whole_is_refused_in_training_and_serving(options, extensions):
    file = gif(extensions=extensions, **options)
    with pytest.raises(UnreadableImageError, match="larger than the whole"):
        read_image(file, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"a GIF (with a picture larger|whose pictures are all)"):
        decoded(file, 3)


@pytest.mark.parametrize("ycck", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("number", [1, 6])
def test_cmyk_is_decoded(ycck, subsampling, number):
    exif = orientation(number).tobytes()
    for quality in (30, 95):
        file = bytearray(file_of(IMAGE.convert("CMYK"), "JPEG", quality=quality, subsampling=subsampling, exif=exif))
        file[file.index(b"Adobe") + 11] = 2 * ycck
        check(bytes(file))


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (without_adobe_marker(file_of(IMAGE.convert("CMYK"), "JPEG")), "CMYK JPEG without the marker of Adobe"),
        (file_of(IMAGE, "WEBP"), "a WebP"),
        (file_of(IMAGE, "TIFF"), "a TIFF"),
        (b"", "no JPEG, PNG, BMP or GIF"),
        (b"\xff\xd8\xff\xe0", "JPEG without a picture"),
        (file_of(IMAGE.convert("1"), "BMP"), "other bits per pixel"),
        (file_of(IMAGE, "BMP")[:30] + b"\3\0\0\0" + file_of(IMAGE, "BMP")[34:], "compressed BMP"),
        (file_of(IMAGE, "BMP")[:14] + b"\x0c\0\0\0" + file_of(IMAGE, "BMP")[18:], "BMP of OS/2"),
        (gif(20, 15), "GIF whose pictures are all smaller"),
        (b"GIF87-" + gif(13, 9)[6:], "GIF of another version"),
        (png_of(np.zeros((1, 1, 3), "uint8"), size=(20_000, 20_000)), "more than 178956970 pixels"),
    ],
    ids=[
        "CMYK",
        "WebP",
        "TIFF",
        "empty",
        "start of a JPEG",
        "bits",
        "compressed",
        "OS/2",
        "small GIF",
        "GIF87-",
        "bomb",
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_other_kinds_are_refused_by_name(file, problem, channels):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"cannot be served: .*{problem}.*Save it as JPEG"):
        decoded(file, channels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_damaged_files_are_errors(kind):
    file = file_of(IMAGE.quantize(16) if kind == "GIF" else IMAGE, kind)
    for cut in (2, 5, 20, len(file) // 2):
        with pytest.raises(tf.errors.OpError):
            decoded(file[:cut], 3)


def test_an_export_reads_16_bits_with_the_window_of_its_network_and_decides(tmp_path):
    model = small(input_shape=(8, 7, 3))
    model.compile(multi_label=True)
    model.window = (1000, 5000)
    files = [png_of(np.random.default_rng(i).integers(0, 8000, (8, 7, 1 + 2 * i)).astype("uint16"), 16) for i in (0, 1)]
    (tmp_path / "0.png").write_bytes(files[0])
    (tmp_path / "1.png").write_bytes(files[1])
    expected = model.explain([tmp_path / "0.png", tmp_path / "1.png"])
    model.thresholds = expected.probabilities.mean(axis=0)
    model.export(tmp_path / "export" / "1", warmup=False)
    served = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures
    found = served["serving_default_bytes"](image_bytes=tf.constant(files))
    np.testing.assert_array_equal(found["decisions"], model.decide(expected.probabilities))
    assert found["decisions"].numpy().any(axis=0).all()
    explained = served["contributions_bytes"](image_bytes=tf.constant(files))
    np.testing.assert_allclose(explained["images"], expected.images, atol=1e-4)
    np.testing.assert_allclose(explained["contributions"], expected.contributions, atol=1e-4)
    assert lint_saved_model(tmp_path / "export" / "1") == []
