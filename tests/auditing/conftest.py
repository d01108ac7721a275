import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet
from keras_coda.auditing import audit
from tests.helpers.commands import write_image


@pytest.fixture(scope="module")
def model():
    """A network for 8x8 color images of two classes, not trained."""
    return CoDANet(2, input_shape=(8, 8, 3), filters=(4, 2), ranks=2, class_names=("bright", "dark"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with images of the two classes, one of unknown class, one of one color, and one that is cut off."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(120):
        write_image(folder / ("bright", "dark")[index % 2] / f"{index:03}.png", seed=index)
    write_image(folder / "other.png", seed=200)
    Image.fromarray(np.full((9, 7, 3), 128, "uint8")).save(folder / "bright" / "plain.png")
    (folder / "dark" / "cut.png").write_bytes((folder / "dark" / "001.png").read_bytes()[:90])
    return folder


@pytest.fixture(scope="module")
def audited(model, photos, tmp_path_factory):
    """An audit of them with maps, in five files; and its manifest."""
    out = tmp_path_factory.mktemp("audits") / "audit"
    return out, audit(model, photos, out, shard_size=25, batch_size=8, keep_maps=True, verbose=False)
