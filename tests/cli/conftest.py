"""Small networks and images that the tests of the commands share."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet
from tests.helpers.commands import run, write_image


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of two classes of images, dark ones and bright ones."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for label, low in (("dark", 0), ("bright", 150)):
        for index in range(8):
            path = write_image(folder / label / f"{index}.png", seed=index)
            Image.fromarray(np.asarray(Image.open(path)) // 3 + np.uint8(low)).save(path)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A network for 8x8 color images of two classes, not trained but saved as if it were."""
    folder = tmp_path_factory.mktemp("model") / "model"
    model = CoDANet(2, input_shape=(8, 8, 3), filters=(4, 2), ranks=2, class_names=("bright", "dark"))
    model.save_to_preset(folder)
    return folder


@pytest.fixture(scope="session")
def exported(model_folder, tmp_path_factory):
    """The folder to which `keras-coda export` wrote that network, and what the command printed."""
    folder, printed = tmp_path_factory.mktemp("served") / "1", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert run("export", "--model", model_folder, "--out", folder, "--no-warmup") == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="session")
def tiny_digits(tmp_path_factory):
    """A network of one layer for digits, which compiles and trains quickly; not trained."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny_digits"
    CoDANet(10, input_shape=(8, 8, 1), filters=(10,), ranks=2).save_to_preset(folder)
    return folder
