"""Claims about networks whose photos are resized and cut: all that reads files does it, and files keep it."""

import argparse
import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_coda
from keras_coda.data.preparation import Preparation
from keras_coda.explanations import explain_files
from keras_coda.explanations.predictions import predict_files
from keras_coda.models import Conventions
from keras_coda.models.files import load_network
from keras_coda_cli import common
from tests.helpers.image_files import file_of

PREPARATION = Preparation(resize=10, crop=8)


def network(size=(8, 8), preparation=PREPARATION):
    model = keras_coda.CoDANet(3, input_shape=(*size, 3), filters=(4, 3), ranks=2, temperature=1.0)
    model.preparation = preparation
    return model


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    pixels = np.random.default_rng(0).integers(0, 256, (31, 23, 3), "uint8")
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    path.write_bytes(file_of(Image.fromarray(pixels), "PNG"))
    return path, PREPARATION(pixels)


@pytest.mark.any_backend
@pytest.mark.parametrize("size", [(8, 8), (None, None)], ids=str)
def test_files_and_images_of_pillow_are_prepared_and_arrays_are_not(size, photo):
    path, expected = photo
    model = network(size)
    for image in (path, Image.open(path)):
        np.testing.assert_array_equal(model.explain(image, jit_compile=False).images[0], expected)
    array = np.zeros((1, 8, 8, 3), "uint8")
    np.testing.assert_array_equal(model.explain(array, jit_compile=False).images, array)


def test_results_for_folders_of_files_are_of_prepared_photos(model, photo, tmp_path):
    path, expected = photo
    explain_files(model, [path], tmp_path)
    np.testing.assert_array_equal(keras_coda.Explanation.load(tmp_path / "photo.npz").images[0], expected)
    logit = float(predict_files(model, [path], verbose=False).splitlines()[1].split(",")[-1])
    assert logit == pytest.approx(float(np.max(model.predict_on_batch(expected[None]))), rel=1e-4)


def test_files_and_copies_keep_the_preparation(model, tmp_path):
    model.save(tmp_path / "net.keras")
    model.save_to_preset(tmp_path / "net")
    assert json.loads((tmp_path / "net" / "config.json").read_text())["preparation"] == {"resize": 10, "crop": 8}
    for source in ("net", "net.keras"):
        assert load_network(tmp_path / source).preparation == PREPARATION
    assert model.with_input_shape((None, None, 3)).preparation == PREPARATION
    keras.Sequential([keras.Input(model.input_shape[1:]), model]).save(tmp_path / "outer.keras")
    for is_compiled in (False, True):
        loaded = keras.models.load_model(tmp_path / "outer.keras", compile=is_compiled)
        assert loaded.layers[-1].preparation == PREPARATION


def test_networks_for_images_of_another_size_have_none(model, tmp_path):
    model.save_to_preset(tmp_path / "net")
    assert model.with_input_shape((16, 16, 3)).preparation is None
    assert keras_coda.CoDANet.from_preset(tmp_path / "net", input_shape=(9, 8, 3)).preparation is None
    with pytest.raises(ValueError, match=r"must make images of the network's size. Received: .*\(9, 8, 3\)"):
        network((9, 8))


def test_it_may_be_given_as_fields_and_is_checked():
    model = network(preparation={"resize": 10, "crop": 8})
    assert model.conventions == Conventions(preparation=PREPARATION)
    with pytest.raises(ValueError, match="`preparation` must be .* Received: preparation="):
        model.preparation = (10, 8)
    model.preparation = None
    assert model.conventions == Conventions()


def test_exported_networks_prepare_files(model, photo):
    tf = pytest.importorskip("tensorflow")
    from keras_coda.exporters import Signatures
    from keras_coda.exporters.decoding import decode

    path, expected = photo
    decoded = decode(tf.constant(path.read_bytes()), (8, 8, 3), preparation=PREPARATION)
    np.testing.assert_allclose(decoded, expected, atol=1e-4)
    assert Signatures.of(model).preparation == PREPARATION
    with pytest.raises(ValueError, match="that of the images that the network's preparation makes. Received: image_si"):
        Signatures.of(network((None, None)), image_size=9)


@pytest.mark.any_backend
def test_folders_are_loaded_as_files_are_explained(photo, tmp_path):
    path, expected = photo
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(path.read_bytes())
    options = {"augment": False, "validation_split": 0.25}
    data = keras_coda.data.load(tmp_path, preparation={"resize": 10, "crop": 8}, **options)
    assert data.image_shape == (8, 8, 3)
    np.testing.assert_allclose(next(iter(data.validation))[0][0], expected, atol=1e-4)
    arguments = argparse.Namespace(data=str(tmp_path), image_size=None, batch_size=2, validation_split=0.25,
                                   validation_data=None, seed=0, data_dir=None)  # fmt: skip
    for size in ((8, 8), (None, None)):
        model = keras_coda.CoDANet(2, input_shape=(*size, 3), filters=(2,), ranks=2)
        model.preparation = PREPARATION
        loaded = common.load_data_for(model, argparse.Namespace(**vars(arguments)))
        np.testing.assert_allclose(next(iter(loaded.validation))[0][0], expected, atol=1e-4)
    for wrong in ({"image_size": 9}, {"resize_ratio": 1.5}):
        with pytest.raises(ValueError, match="`preparation` belongs to photos, and says their size. Received: "):
            keras_coda.data.load(tmp_path, preparation=PREPARATION, **options, **wrong)


def test_a_data_set_that_cannot_be_prepared_is_reported(tmp_path):
    model = keras_coda.CoDANet(10, input_shape=(8, 8, 1), filters=(10,), ranks=2)
    model.preparation = PREPARATION
    arguments = argparse.Namespace(data="digits", image_size=None, batch_size=2, validation_split=0.25,
                                   validation_data=None, seed=0, data_dir=None)  # fmt: skip
    with pytest.warns(UserWarning, match="Only photos are prepared"):
        common.load_data_for(model, arguments)


@pytest.mark.slow
def test_a_saved_model_explains_prepared_photos(model, photo, tmp_path):
    tf = pytest.importorskip("tensorflow")
    path, expected = photo
    model.export(tmp_path / "1", warmup=False)
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["contributions_bytes"]
    answer = served(image_bytes=tf.constant([path.read_bytes()]))
    np.testing.assert_allclose(answer["images"][0], expected, atol=1e-4)
    found = model.explain(path, jit_compile=False)
    np.testing.assert_allclose(answer["contributions"], found.contributions, atol=1e-5)


@pytest.mark.slow
def test_the_explorer_prepares_uploads(photo):
    pytest.importorskip("gradio")
    from keras_coda.explorer.sessions import Picture

    path, expected = photo
    found = Picture("a", path.read_bytes()).image((None, None), 3, preparation=PREPARATION)
    np.testing.assert_array_equal(found, expected)
