"""Image files to arrays: each mode against the pixels that were written, damaged and hostile files by name."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_coda.data import images, read_image
from keras_coda.utils.errors import UnreadableImageError
from tests.helpers.datasets import picture
from tests.helpers.image_files import file_of, orientation, png_of

pytestmark = pytest.mark.any_backend


def noise(*shape, seed=0, top=256):
    return np.random.default_rng(seed).integers(0, top, shape).astype("uint16" if top > 256 else "uint8")


PIXELS = noise(9, 13, 3)
COLORS = Image.fromarray(PIXELS)
GRAY = (PIXELS.astype(int) @ [19595, 38470, 7471] + 0x8000) >> 16


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_without_loss_give_the_pixels_that_were_written(kind, channels):
    data = file_of(COLORS, kind, **({"lossless": True} if kind == "WEBP" else {}))
    found = read_image(data, channels)
    assert found.dtype == "uint8"
    np.testing.assert_array_equal(found, PIXELS if channels == 3 else GRAY[..., None])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF"])
def test_palettes_are_read_as_their_colors(kind):
    indices = noise(9, 13, top=20)
    image = Image.fromarray(indices)
    palette = noise(256, 3, seed=1)
    image.putpalette(palette.tobytes())
    np.testing.assert_array_equal(read_image(file_of(image, kind), 3), palette[indices])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_png_keeps_all_bits_and_drops_alpha(channels, interlaced, bits):
    pixels = noise(11, 14, channels, top=2**bits)
    found = read_image(png_of(pixels, bits, interlaced), 3)
    colors = pixels[..., :1] if channels < 3 else pixels[..., :3]
    expected = colors if bits == 8 else colors.astype("float32") / 257
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))


def test_transparency_of_palettes_is_dropped_in_png_and_black_in_gif():
    indices = noise(9, 13, top=20)
    image = Image.fromarray(indices)
    palette = noise(256, 3, seed=1)
    image.putpalette(palette.tobytes())
    np.testing.assert_array_equal(read_image(file_of(image, "PNG", transparency=3), 3), palette[indices])
    expected = np.where(indices[..., None] == 3, 0, palette[indices])
    np.testing.assert_array_equal(read_image(file_of(image, "GIF", transparency=3), 3), expected)


def test_a_gif_whose_picture_is_smaller_than_the_whole_is_black_around_it():
    data = bytearray(file_of(COLORS.quantize(16), "GIF"))
    plain = read_image(bytes(data), 3)
    data[6], data[8] = 20, 15
    found = read_image(bytes(data), 3)
    assert found.shape == (15, 20, 3)
    np.testing.assert_array_equal(found[:9, :13], plain)
    assert not found[9:].any()
    assert not found[:, 13:].any()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_images_are_turned_as_exif_says(kind, number, order):
    data = file_of(COLORS, kind, exif=orientation(number, order).tobytes())
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(read_image(data, 3), upright)


@pytest.mark.parametrize(
    "exif",
    [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01\3\0\1\0\0\0", b"XX*\0" + bytes(40),
     b"II*\0\x08\0\0\0\1\0\x12\x01\4\0\1\0\0\0\6\0\0\0", b"II*\0\x08\0\0\0\1\0\x12\x01\3\0\2\0\0\0\6\0\0\0"],
)  # fmt: skip
def test_damaged_exif_turns_nothing(exif):
    np.testing.assert_array_equal(read_image(png_of(PIXELS, chunks=[(b"eXIf", exif)]), 3), PIXELS)


def test_cmyk_and_mpo_are_read_as_pillow_reads_them(tmp_path):
    data = file_of(COLORS.convert("CMYK"), "JPEG", quality=100)
    assert np.abs(read_image(data, 3).astype(int) - np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).max() <= 1
    assert np.abs(read_image(data, 3).astype(int) - PIXELS).mean() < 8
    picture(0).save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[picture(1)])
    first = np.asarray(Image.open(tmp_path / "phone.jpg"))
    np.testing.assert_array_equal(read_image(tmp_path / "phone.jpg", 3, animated=False), first)


def test_animations_are_read_by_their_first_picture_or_refused():
    frames = [picture(seed).quantize(16) for seed in range(3)]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(data, 3), np.asarray(frames[0].convert("RGB")))
    with pytest.raises(UnreadableImageError, match="must not be animated. Received: 'a.gif' with 3 frames"):
        read_image(data, 3, name="a.gif", animated=False)


def test_the_size_is_that_of_the_image_turned_upright(tmp_path):
    for number, size in ((1, (9, 13)), (6, (13, 9))):
        COLORS.save(tmp_path / "a.jpg", exif=orientation(number))
        assert images.image_size(tmp_path / "a.jpg") == size == read_image(tmp_path / "a.jpg", 3).shape[:2]


def test_what_is_larger_than_a_side_is_scaled_down():
    assert read_image(file_of(picture(0, (40, 80)), "PNG"), 1, max_side=20).shape == (10, 20, 1)
    assert read_image(file_of(picture(0, (8, 9)), "PNG"), 1, max_side=20).shape == (8, 9, 1)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no JPEG, PNG, BMP, GIF, WebP or TIFF file"),
        ("a.jpg", file_of(COLORS, "TIFF")[:-99], "truncated"),
        ("a.bmp", b"", "an empty file"),
        ("a.jpg", b"\xff\xd8\xff", "a JPEG file without a picture"),
        ("a.jpg", file_of(COLORS, "JPEG")[:-20], "truncated"),
        ("a.png", file_of(COLORS, "PNG")[:-2], "cut off"),
        ("a.png", png_of(PIXELS)[:70] + b"\0\0" + png_of(PIXELS)[72:], "checksum of a part, IDAT, is wrong"),
        ("a.gif", file_of(COLORS.quantize(16), "GIF")[:-30], "truncated"),
        ("a.gif", file_of(COLORS.quantize(16), "GIF")[:6] + b"\5\0\5\0" + file_of(COLORS.quantize(16), "GIF")[10:],
         "larger than the whole"),
        ("a.gif", file_of(COLORS.quantize(16), "GIF")[:10], "its header is damaged"),
        ("a.webp", file_of(COLORS, "WEBP")[:-30], ""),
    ],
)  # fmt: skip
def test_unreadable_files_are_named_with_the_reason(name, data, reason, tmp_path):
    (tmp_path / name).write_bytes(data)
    match = f"An image must be readable. Received: '.*{name}' .*{reason}.*Save it again as PNG or JPEG"
    with pytest.raises(UnreadableImageError, match=match):
        read_image(tmp_path / name, 3)
    with pytest.raises(UnreadableImageError, match=match):
        images.check_image(tmp_path / name)


OTHER_FORMATS = (
    "EPS",
    "PDF",
    "ICO",
    "PPM",
    "PCX",
    "TGA",
    "SGI",
    "IM",
    "DDS",
    "MSP",
    "SPIDER",
    "JPEG2000",
    "ICNS",
)


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_files_of_other_formats_are_not_decoded_whatever_their_name(kind, name, tmp_path, monkeypatch):
    modes = {"MSP": "1", "SPIDER": "F"}
    (tmp_path / name).write_bytes(file_of(COLORS.resize((16, 16)).convert(modes.get(kind, "RGB")), kind))
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", None)  # a call would be another error
    monkeypatch.setattr("PIL.Image.open", None)
    for read in (lambda path: read_image(path, 3), images.check_image, images.image_size):
        with pytest.raises(UnreadableImageError, match=f"'.*{name}' .no JPEG, PNG, BMP, GIF, WebP or TIFF file"):
            read(tmp_path / name)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_only_the_decoder_of_the_content_is_used(kind, monkeypatch):
    data, used, opened = file_of(COLORS, kind), [], Image.open

    def spied(file, formats):
        used.append(formats)
        return opened(file, formats=formats)

    monkeypatch.setattr("PIL.Image.open", spied)
    read_image(data, 3)
    assert used == [(kind,)]


def test_a_file_is_recognized_by_its_content_and_missing_ones_are_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(file_of(COLORS, "PNG"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", 3), PIXELS)
    with pytest.raises(UnreadableImageError, match=r"b.jpg' \(No such file or directory\)"):
        read_image(tmp_path / "b.jpg", 3)


def test_the_size_is_limited_before_pixels_are_decoded():
    with pytest.raises(UnreadableImageError, match="up to 0 million pixels. Received: 'bytes' with 13x9"):
        read_image(file_of(COLORS, "PNG"), 3, max_pixels=100)
    bomb = png_of(np.zeros((1, 1, 1), "uint8"), size=(20_000, 20_000))
    with pytest.raises(UnreadableImageError, match="bytes.*400000000 pixels"):
        read_image(bomb, 3)


def test_png_files_are_written_from_gray_color_and_floats():
    np.testing.assert_array_equal(read_image(images.png(PIXELS), 3), PIXELS)
    np.testing.assert_array_equal(read_image(images.png(PIXELS[..., :1]), 1), PIXELS[..., :1])
    np.testing.assert_array_equal(read_image(images.png(np.full((2, 2, 3), 300.7)), 3), 255)
