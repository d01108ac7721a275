"""What `explain` takes: one image, files, images of Pillow, lists of these, names of classes."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_coda
from keras_coda import CoDANet, data
from keras_coda.data.images import fitting, read_image
from keras_coda.explanations import Explanation
from keras_coda.explanations.inputs import as_batch
from keras_coda.utils.errors import UnreadableImageError
from tests.helpers.image_files import file_of, orientation
from tests.helpers.networks import assert_complete

NAMES = ("cat", "dog", "Frog")
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 13, 3)).astype("uint8")
PICTURE = Image.fromarray(PIXELS)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return CoDANet(3, input_shape=(6, 8, 3), filters=(4, 3), ranks=2, temperature=1.0, class_names=NAMES)


def images_of(count=2, shape=(6, 8, 3)):
    return np.random.default_rng(1).integers(0, 256, (count, *shape)).astype("uint8")


def assert_same(found, expected):
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_allclose(found.contributions, expected.contributions, atol=1e-6)
    assert_complete(found)


# === Images ===


def test_one_image_needs_no_batch_axis(model):
    image = images_of()[0]
    expected = model.explain(image[None])
    for one in (image, tf.constant(image), image.astype("float64")):
        assert_same(model.explain(one), expected)


def test_files_are_read_as_training_reads_them(model, tmp_path):
    for number, kind in ((1, "PNG"), (6, "JPEG")):
        path = tmp_path / f"{number}.{kind.lower()}"
        PICTURE.save(path, kind, exif=orientation(number))
        expected = model.explain(fitting((6, 8))(read_image(path, 3))[None])
        for given in (path, str(path), [path], (str(path),), Image.open(path)):
            assert_same(model.explain(given), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_pillow_are_read_in_every_mode_of_8_bits(mode, channels):
    picture = PICTURE.convert(mode)
    colors = picture.convert("RGB")
    expected = np.asarray(colors if channels == 3 else colors.convert("L")).reshape(1, 9, 13, channels)
    found, is_one_image = as_batch(picture, (9, 13, channels))
    np.testing.assert_allclose(found, expected, atol=mode == "CMYK")  # Pillow rounds in another way
    assert is_one_image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "CMYK", "WEBP", "BMP", "GIF", "16 bits"])
def test_an_opened_file_gives_the_pixels_of_its_path(kind):
    picture, options = PICTURE, {}
    if kind in ("PNG", "JPEG", "WEBP"):
        options["exif"] = orientation(5).tobytes()
    elif kind in ("BMP", "GIF"):
        picture = PICTURE.quantize(16)
    elif kind == "CMYK":
        kind, picture = "JPEG", PICTURE.convert("CMYK")
    else:
        kind, picture = "PNG", Image.fromarray(PIXELS[..., 0].astype("uint16") * 200)
    file = file_of(picture, kind, **options)
    for loads in (False, True):
        opened = Image.open(io.BytesIO(file))
        if loads:
            opened.load()
        np.testing.assert_array_equal(as_batch(opened, (None, None, 3))[0][0], read_image(file, 3))


def test_lists_may_mix_files_arrays_and_images_of_pillow(model, tmp_path):
    PICTURE.save(tmp_path / "a.png")
    fitted = fitting((6, 8))(PIXELS)
    array = images_of()[0]
    found = model.explain([tmp_path / "a.png", PICTURE, array, tf.constant(array)], top_k=2)
    assert found.names == ("a.png", "image 1", "image 2", "image 3")
    assert (found[0].names, model.explain(array[None]).names) == (("a.png",), None)
    found.save(tmp_path / "all.npz")
    assert Explanation.load(tmp_path / "all.npz").names == found.names
    assert found.plot().axes[0].texts[0].get_text() == "a.png"
    assert_same(found, model.explain(np.stack([fitted, fitted, array, array]), top_k=2))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([images_of()[0], images_of(shape=(5, 8, 3))[0]], ValueError, r"of one size.*\[\(6, 8, 3\), \(5, 8, 3\)\]"),
        ((images_of(), np.array([0, 1])), ValueError, "Pass the images without the labels"),
        ([], ValueError, "Images must have shape"),
        ("no.png", UnreadableImageError, "'no.png' .No such file"),
        (["no.png", images_of()[0]], UnreadableImageError, "no.png"),
        (Image.fromarray(np.zeros((9, 9), "float32")), ValueError, "one of the modes 1, L, .*Received: mode 'F'"),
        (Image.fromarray(np.zeros((9, 9), "int32")), ValueError, "mode 'I'"),
        (tf.data.Dataset.from_tensors(images_of()), TypeError, "Dataset. For a data set: `explain_batches`"),
        (iter([images_of()]), TypeError, "`explain_batches`"),
        ({"a": 1}, TypeError, "Received: dict"),
        (None, TypeError, r"Received: NoneType. Pass an array \(batch, H, W, channels\)"),
        (b"GIF89a", TypeError, "Received: bytes"),
    ],
)  # fmt: skip
def test_what_holds_no_images_is_refused(images, error, message, model):
    with pytest.raises(error, match=message):
        model.explain(images)
    with pytest.raises(error, match=message):
        keras_coda.explain(model, images)


def test_data_points_to_explain_batches(model):
    loaded = data.load("digits")
    with pytest.raises(TypeError, match="Received: Data. For a data set: `explain_batches`"):
        model.explain(loaded)
    with pytest.raises(TypeError, match="Received: Data. Pass `data.validation`"):
        next(model.explain_batches(loaded))
    with pytest.raises(TypeError, match="Received: str. For files"):
        next(model.explain_batches("photos"))


def test_files_are_for_networks_of_one_or_three_channels():
    with pytest.raises(ValueError, match="1 or 3 channels. Received: a network for 2"):
        CoDANet(2, input_shape=(9, 13, 2), filters=(2,), ranks=1).explain(PICTURE)


# === Classes ===


@pytest.mark.parametrize(
    ("classes", "indices"),
    [
        ("dog", [[1], [1]]),
        ("frog", [[2], [2]]),
        (["dog", "cat"], [[1], [0]]),
        (("dog", 2), [[1], [2]]),
        (np.array(["Frog", "cat"]), [[2], [0]]),
        ([["dog", "cat"], ["Frog", "dog"]], [[1, 0], [2, 1]]),
        ("1", [[1], [1]]),
    ],
)
def test_classes_may_be_names(classes, indices, model):
    found = model.explain(images_of(), classes)
    assert found.classes.tolist() == indices
    assert_same(found, model.explain(images_of(), np.array(indices)))
    assert found.class_names == NAMES


def test_a_list_of_classes_belongs_to_one_image_without_a_batch_axis(model):
    assert model.explain(images_of()[0], ["dog", "cat", "Frog"]).classes.tolist() == [[1, 0, 2]]
    assert model.explain(images_of()[0], np.array([2, 0])).classes.tolist() == [[2, 0]]
    assert model.explain(images_of()[0], "dog").classes.tolist() == [[1]]
    with pytest.raises(ValueError, match=r"shape \(3,\) for 2 images"):
        model.explain(images_of(), ["dog", "cat", "Frog"])


def test_unknown_and_ambiguous_names_are_refused(model):
    with pytest.raises(ValueError, match="Received: 'forg'. Did you mean 'Frog'"):
        model.explain(images_of(), ["dog", "forg"])
    with pytest.raises(ValueError, match="Names: none"):
        CoDANet(2, input_shape=(6, 8, 3), filters=(2,), ranks=1).explain(images_of(), "dog")
    with pytest.raises(ValueError, match="which fits 'a' .0., 'b' .1.|must fit one class"):
        model.explain(images_of(), "x", class_names=("x", "X", "x"))
    with pytest.raises(ValueError, match="one name per class. Received: 2 names"):
        model.explain(images_of(), "x", class_names=("x", "y"))
    assert model.explain(images_of(), "X", class_names=("x", "X", "x")).classes.tolist() == [[1], [1]]


def test_labels_of_a_plot_may_be_names(model):
    explanation = model.explain(images_of(), top_k=2)

    def titles(labels):
        return [axes.texts[0].get_text() for axes in explanation.plot(labels=labels).axes[:5:4]]

    assert titles(["dog", "frog"]) == titles([1, 2]) == titles(np.array(["dog", "Frog"])) == ["dog", "Frog"]
    with pytest.raises(ValueError, match="Received: 'zebra'"):
        explanation.plot(labels=["dog", "zebra"])
    with pytest.raises(ValueError, match=r"Labels must be integers, one for each image.*shape=\(1,\), images=2"):
        explanation.plot(labels=["dog"])
    with pytest.raises(ValueError, match=r"Labels must be integers, one for each image.*shape=\(1,\), images=2"):
        explanation.plot(labels="dog")
    one = model.explain(PICTURE, class_names=NAMES)
    assert one.plot(labels="dog").axes[0].texts[0].get_text() == "dog"


# === Batches ===


def test_an_array_is_divided_into_batches(model):
    images = images_of(7)
    parts = list(model.explain_batches(images, "dog", batch_size=3, verbose=False))
    assert [len(part) for part in parts] == [3, 3, 1]
    whole = model.explain(images, "dog")
    np.testing.assert_allclose(np.concatenate([part.contributions for part in parts]), whole.contributions, atol=1e-6)
    assert [len(part) for part in model.explain_batches(tf.constant(images_of(40)), verbose=False)] == [32, 8]
    assert [len(part) for part in model.explain_batches(images[0], verbose=False)] == [1]


def test_single_images_of_a_data_set_are_explained_one_by_one(model, tmp_path):
    dataset = tf.data.Dataset.from_tensor_slices((images_of(3), [2, 0, 1]))
    labels = [explanation.labels.tolist() for explanation in model.explain_batches(dataset, verbose=False)]
    assert labels == [[2], [0], [1]]
    PICTURE.save(tmp_path / "a.png")
    assert len(list(model.explain_batches([tmp_path / "a.png"] * 2, verbose=False))) == 2


# === A network as the last layer ===


def around(model, *layers):
    return keras.Sequential([keras.Input(model.input_shape[1:]), *layers, model])


def test_augmentation_before_the_network_does_not_change_maps(model):
    layers = [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.2), keras.layers.RandomContrast(0.5)]
    whole = around(model, *layers, keras.layers.RandomTranslation(0.2, 0.2), keras.layers.RandomCrop(6, 8))
    expected = model.explain(images_of(), [["dog", "cat"]] * 2, linear_map=True)
    found = keras_coda.explain(whole, images_of(), [["dog", "cat"]] * 2, linear_map=True)
    assert_same(found, expected)
    np.testing.assert_allclose(found.linear_map, expected.linear_map, atol=1e-6)
    assert found.class_names == NAMES


def test_models_around_models_and_functional_ones_are_explained(model):
    inputs = keras.Input((6, 8, 3))
    functional = keras.Model(inputs, around(model, keras.layers.RandomFlip())(keras.layers.GaussianNoise(1)(inputs)))
    assert_same(keras_coda.explain(functional, images_of()), model.explain(images_of()))
    assert keras_coda.explain(functional, images_of(), wrt="dau_1").wrt == "dau_1"


def test_a_model_around_a_network_explains_its_own_logits_after_training_too():
    network = CoDANet(3, input_shape=(6, 8, 3), filters=(4, 3), ranks=2, temperature=1.0)
    whole = around(network, keras.layers.RandomFlip(), keras.layers.Rescaling(0.5, offset=9.0))
    before = keras_coda.explain(whole, images_of())
    network.set_weights([2 * weights for weights in network.get_weights()])
    after = keras_coda.explain(whole, images_of())
    assert_complete(after)
    np.testing.assert_allclose(after.logits, whole(images_of(), training=False), atol=1e-5)
    assert np.abs(after.logits - before.logits).max() > 1e-3


def test_a_model_that_has_not_been_built_is_named(model):
    whole = keras.Sequential([keras.layers.RandomFlip(), model])
    with pytest.raises(ValueError, match="must be built. Received: model='sequential.*keras.Input"):
        keras_coda.explain(whole, images_of())
    whole(images_of())
    assert_same(keras_coda.explain(whole, images_of()), model.explain(images_of()))


def test_layers_that_change_the_size_are_refused(model):
    for layer in (keras.layers.CenterCrop(6, 8), keras.layers.Resizing(6, 8)):
        whole = keras.Sequential([keras.Input((10, 10, 3)), layer, model])
        with pytest.raises(ValueError, match=r"must keep the size of images.*Received: .*10, 10.*Explain the network"):
            keras_coda.explain(whole, images_of(shape=(10, 10, 3)))
