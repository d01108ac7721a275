"""Networks exported once for all tests of this folder, which copy a folder before they change it."""

import shutil
from pathlib import Path
from typing import NamedTuple

import keras
import pytest

from keras_coda import CoDANet
from tests.helpers.networks import small

RGB = (8, 7, 3)


class Export(NamedTuple):
    """A network and the folder that it was exported to."""

    model: keras.Model
    folder: Path


def export(tmp_path_factory, build, **options):
    keras.utils.set_random_seed(0)
    model, folder = build(), tmp_path_factory.mktemp("exported") / "1"
    model.export(folder, **options)
    return Export(model, folder)


@pytest.fixture(scope="session")
def color(tmp_path_factory):
    """Color images, two maps each, with warm-up."""
    return export(tmp_path_factory, lambda: small(input_shape=RGB), top_k=2, warmup=True)


@pytest.fixture(scope="session")
def color_with_linear_map(tmp_path_factory):
    return export(tmp_path_factory, lambda: small(input_shape=RGB), top_k=2, linear_map=True, warmup=False)


@pytest.fixture(scope="session")
def two_channels(tmp_path_factory):
    """Images that no file holds."""
    return export(tmp_path_factory, small, top_k=2)


@pytest.fixture(scope="session")
def any_size(tmp_path_factory):
    """Gray images of any size, down-sampled in two ways."""
    sampling = ("strided", "pooled", "strided", "blurred", "strided")
    return export(tmp_path_factory, lambda: CoDANet(3, input_shape=(None, None, 1), downsampling=sampling))


@pytest.fixture
def copied(color, tmp_path):
    """A copy of the folder of `color`, to be changed."""
    return shutil.copytree(color.folder, tmp_path / "base" / "1")
