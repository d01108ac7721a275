"""Claims about the pictures: colors, opacity, scales, captions, and files that are whole."""

import os
import pathlib

import numpy as np
import pytest
from matplotlib.image import imread

from keras_coda.visualization.figure import save_picture
from keras_coda.visualization.maps import plot_contributions
from tests.helpers.map_arguments import arguments


def test_figure_is_saved_at_the_resolution_asked_for(tmp_path):
    figure = plot_contributions(**arguments(1, 1))
    save_picture(figure, tmp_path / "a.png", dpi=50)
    save_picture(figure, str(tmp_path / "b.png"), dpi=50, upscale=2)
    height, width = imread(tmp_path / "a.png").shape[:2]
    assert abs(width - 50 * figure.get_figwidth()) <= 1
    assert abs(imread(tmp_path / "b.png").shape[0] - 2 * height) <= 1
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_array_is_saved_pixel_by_pixel(tmp_path, dtype, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    picture = pixels if dtype == np.uint8 else (pixels / 255).astype(dtype)
    save_picture(picture, tmp_path / "a.PNG", upscale=3)
    saved = np.rint(255 * imread(tmp_path / "a.PNG")).astype(np.uint8)
    np.testing.assert_array_equal(saved[..., :channels], pixels.repeat(3, 0).repeat(3, 1))


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4)),
        np.zeros((2, 4, 4, 3)),
        np.zeros((4, 4, 2)),
        np.zeros((0, 4, 3)),
        np.full((4, 4, 3), 1.5),
        np.full((4, 4, 3), np.nan),
        np.full((4, 4, 3), 7),
    ],
)
def test_a_wrong_picture_leaves_the_old_file_alone(tmp_path, picture):
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(ValueError, match=r"`picture` must be.*Received: picture of shape"):
        save_picture(picture, tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


@pytest.mark.parametrize("failing", ["savefig", "replace"])
def test_a_failure_halfway_leaves_no_file(tmp_path, monkeypatch, failing):
    figure = plot_contributions(**arguments(1, 1))

    def fail(path, *_, **__):
        pathlib.Path(path).write_bytes(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(figure if failing == "savefig" else os, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        save_picture(figure, tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_save_picture_refuses_wrong_paths_and_scales(tmp_path):
    picture = np.zeros((4, 4, 3))
    with pytest.raises(ValueError, match=r"`path` must end in '.png'. Received: path="):
        save_picture(picture, tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError):
        save_picture(picture, tmp_path / "none" / "a.png")
    for upscale in (0, 1.5):
        with pytest.raises(ValueError, match="`upscale` must be a positive integer"):
            save_picture(picture, tmp_path / "a.png", upscale=upscale)
    assert os.listdir(tmp_path) == []
