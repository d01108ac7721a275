import importlib

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_coda import data
from tests.helpers.datasets import arrays, augmented

pytestmark = pytest.mark.any_backend

# === Digits ===


def test_digits_are_uint8_images_with_int32_labels():
    digits = data.load("digits", batch_size=100)
    images, labels = arrays(digits.train)
    assert images.shape == (1437, 8, 8, 1) == (digits.num_train, *digits.image_shape)
    assert (images.dtype, labels.dtype) == ("uint8", "int32")
    assert (images.min(), images.max()) == (0, 255)
    assert digits.num_validation == len(arrays(digits.validation)[0]) == 360
    assert digits.class_names == tuple("0123456789")
    assert digits.num_classes == 10
    assert digits.name == "digits"
    assert len(digits.train) == 15
    if keras.backend.backend() == "tensorflow":
        assert digits.train.element_spec[0].shape.as_list() == [None, 8, 8, 1]
    assert next(iter(digits.train))[0].shape == (100, 8, 8, 1)


def test_digits_parts_are_the_whole_set_without_overlap():
    digits = data.load("digits")
    images = np.concatenate([arrays(part)[0] for part in (digits.train, digits.validation)])
    rows = sorted(map(bytes, images))
    assert rows == sorted(map(bytes, np.rint(load_digits().images * 255 / 16).astype("uint8")))


def test_digits_split_is_stratified():
    digits = data.load("digits", validation_split=0.25)
    for part, share in ((digits.train, 0.75), (digits.validation, 0.25)):
        counts = np.bincount(arrays(part)[1])
        np.testing.assert_allclose(counts, share * np.bincount(load_digits().target), atol=1)


@pytest.mark.slow
def test_digits_are_the_same_for_a_seed_and_others_for_another():
    def batches(seed):
        keras.utils.set_random_seed(1)
        digits = data.load("digits", seed=seed, augment=True)
        return [arrays(digits.train)[0], arrays(digits.train)[0], arrays(digits.validation)[0]]

    first, again, other = batches(0), batches(0), batches(1)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


def test_training_order_changes_every_epoch_and_validation_order_never():
    digits = data.load("digits")
    assert (arrays(digits.train)[1] != arrays(digits.train)[1]).any()
    np.testing.assert_array_equal(arrays(digits.validation)[0], arrays(digits.validation)[0])


def test_digits_are_not_augmented_unless_asked_and_never_flipped():
    def rows(digits):
        return {bytes(image) for image in arrays(digits.train)[0].astype("uint8")}

    plain = rows(data.load("digits"))
    assert len(plain & rows(data.load("digits", augment=True))) < 0.3 * len(plain)
    originals = arrays(data.load("digits").train)[0]
    crops = [
        {bytes(image[i : i + 8, j : j + 8]) for image in np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
         for i in range(3) for j in range(3)}
        for images in (originals, originals[:, :, ::-1])
    ]  # fmt: skip
    found = rows(data.load("digits", augment=True))
    assert found <= crops[0]
    assert len(found & crops[1]) < 0.1 * len(found)  # that a mirror image could have been told from them


def test_digits_can_be_enlarged():
    digits = data.load("digits", image_size=(12, 16))
    images, _ = next(iter(digits.train))
    assert digits.image_shape == (12, 16, 1) == images.shape[1:]
    assert images.dtype == "float32"
    assert 0 <= np.asarray(images).min() < np.asarray(images).max() <= 255


# === Augmentation ===


def test_augmentation_keeps_shape_and_range_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        augment = data.augmentation((10, 12, 3), seed=0)
    finally:
        keras.config.set_dtype_policy("float32")
    image = np.random.default_rng(0).integers(1, 256, (1, 10, 12, 3)).astype("uint8")
    result = keras.ops.convert_to_numpy(augment(image, training=True))
    assert result.shape == image.shape
    assert result.dtype == "float32"
    assert set(np.unique(result)) <= {0, *np.unique(image)}


def test_augmentation_gives_crops_of_the_padded_image_and_its_mirror():
    image = np.random.default_rng(0).integers(1, 256, (6, 7, 3)).astype("uint8")
    padded = [np.pad(side, ((2, 2), (2, 2), (0, 0))) for side in (image, image[:, ::-1])]
    crops = {bytes(side[i : i + 6, j : j + 7]) for side in padded for i in range(5) for j in range(5)}
    images, _ = arrays(augmented(data.augmentation(image.shape, padding=2, seed=0), np.stack([image] * 300)))
    found = {bytes(result) for result in images.astype("uint8")}
    assert found <= crops
    assert len(found) > 45  # of 50: offsets and flips do not depend on each other


def test_augmentation_differs_between_images_and_epochs_and_repeats_for_a_seed():
    image = np.random.default_rng(0).integers(1, 256, (8, 8, 1)).astype("uint8")
    images = np.stack([image] * 64)
    first, second = (augmented(data.augmentation(image.shape, seed=5), images) for _ in range(2))
    epochs = [arrays(first)[0] for _ in range(2)]
    assert len({bytes(result) for result in epochs[0]}) > 30
    assert (epochs[0] != epochs[1]).any()
    next(iter(second))
    np.testing.assert_array_equal(arrays(second)[0], epochs[1])  # an epoch counts as one, read to its end or not


def test_augmentation_without_flip_and_padding_changes_nothing():
    image = np.arange(27, dtype="uint8").reshape(1, 3, 3, 3)
    np.testing.assert_array_equal(data.augmentation((3, 3, 3), flip=False, padding=0)(image, training=True), image)


def test_a_layer_of_the_user_augments_the_training_images_only():
    digits = data.load("digits", augment=keras.layers.Rescaling(-1.0, offset=255.0))
    assert arrays(digits.train)[0].mean() > 150 > arrays(digits.validation)[0].mean()


# === TensorFlow Datasets ===


@pytest.fixture(scope="module")
def tfds(tmp_path_factory):
    tfds = pytest.importorskip("tensorflow_datasets")

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        SPLITS = {"train": 30, "test": 10}  # noqa: RUF012
        SHAPE = (8, 10, 3)
        LABEL = tfds.features.ClassLabel(names=["red", "green"])

        def _info(self):
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=self.SHAPE), "label": self.LABEL})
            return self.dataset_info_from_configs(features=features, supervised_keys=("image", "label"))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(count) for split, count in self.SPLITS.items()}

        def _generate_examples(self, count):
            for i in range(count):
                image = np.zeros((self.SHAPE[0] or 8 + i, self.SHAPE[1] or 10, 3), "uint8")
                image[..., i % 2] = 100 + i
                yield i, {"image": image, "label": i % 2}

    class CodaColors(Builder):
        pass

    class CodaTrainOnly(Builder):
        SPLITS = {"train": 30}  # noqa: RUF012

    class CodaSizes(Builder):
        SHAPE = (None, None, 3)

    class CodaScores(Builder):
        LABEL = tfds.features.Scalar(np.int64)

    class CodaOffline(Builder):
        def _split_generators(self, dl_manager):
            raise ConnectionError("no network")  # what a download comes to, without its minutes of retries

    return str(tmp_path_factory.mktemp("tfds"))


def test_tfds_name_is_loaded_with_its_own_test_split(tfds):
    loaded = data.load("coda_colors", data_dir=tfds, batch_size=8, augment=False)
    assert (loaded.name, loaded.class_names, loaded.image_shape) == ("coda_colors", ("red", "green"), (8, 10, 3))
    assert (loaded.num_train, loaded.num_validation) == (30, 10)
    images, labels = arrays(loaded.train)
    assert (images.dtype, labels.dtype) == ("uint8", "int32")
    np.testing.assert_array_equal(images[:, 0, 0].argmax(-1), labels)
    assert sorted(images.max((1, 2, 3))) == list(range(100, 130))
    assert len(arrays(loaded.validation)[0]) == 10


def test_tfds_images_are_augmented_by_default_and_repeat_for_a_seed(tfds):
    first, second = (arrays(data.load("coda_colors", data_dir=tfds).train) for _ in range(2))
    assert first[0].dtype == "float32"
    assert (first[0] == 0).all(-1).any()  # the padding is seen
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_tfds_without_validation_is_split(tfds):
    loaded = data.load("coda_train_only", data_dir=tfds, augment=False)
    assert (loaded.num_train, loaded.num_validation) == (24, 6)
    values = [arrays(part)[0].max((1, 2, 3)) for part in (loaded.train, loaded.validation)]
    assert sorted(np.concatenate(values)) == list(range(100, 130))


def test_tfds_images_of_different_sizes_need_image_size(tfds):
    with pytest.raises(ValueError, match=r"differ in size.*image_size=None.*image_size=224"):
        data.load("coda_sizes", data_dir=tfds)
    loaded = data.load("coda_sizes:1.0.0", data_dir=tfds, image_size=6)
    assert arrays(loaded.train)[0].shape == (30, 6, 6, 3)
    assert loaded.image_shape == (6, 6, 3)


def test_tfds_photos_are_prepared_as_files_are(tfds):
    preparation = data.Preparation(resize=7, crop=5)
    loaded = data.load("coda_sizes", data_dir=tfds, preparation=preparation, augment=False)
    assert loaded.image_shape == (5, 5, 3)
    images, labels = arrays(loaded.validation)
    assert (images.shape, images.dtype) == ((10, 5, 5, 3), "float32")
    photos = np.zeros((10, 8, 10, 3), "uint8")
    for photo, image, label in zip(photos, images, labels, strict=True):
        photo[..., label] = image.max()
        np.testing.assert_allclose(image, preparation(photo), atol=1e-4)
    with pytest.raises(ValueError, match="`preparation` belongs to photos.* Received: source='digits'"):
        data.load("digits", preparation=preparation)


def test_tfds_without_class_labels_is_refused(tfds):
    with pytest.raises(ValueError, match=r"8-bit images with one class label.*coda_scores"):
        data.load("coda_scores", data_dir=tfds)


def test_tfds_that_cannot_be_downloaded_is_explained_with_its_cause(tfds):
    with pytest.raises(RuntimeError, match=r"could not download.*coda_offline.*Check the network") as error:
        data.load("coda_offline", data_dir=tfds)
    assert isinstance(error.value.__cause__, ConnectionError)


def test_tfds_wrong_version_is_named(tfds):
    with pytest.raises(ValueError, match=r"Received: source='coda_colors:9\.9\.9'.*TFDS says: .*9\.9\.9"):
        data.load("coda_colors:9.9.9", data_dir=tfds)


@pytest.mark.parametrize(("name", "match"), [("coda_colours", "coda_colors"), ("mnits", "mnist"), ("digts", "digits")])
def test_unknown_name_suggests_near_matches(tfds, name, match):
    with pytest.raises(ValueError, match=f"Received: source='{name}'. Did you mean .*'{match}'"):
        data.load(name, data_dir=tfds)


# === Arguments ===


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("batch_size", True),
        ("seed", -1),
        ("image_size", 0),
        ("image_size", (8, 8, 1)),
        ("image_size", (8, -8)),
        ("validation_split", 0.0),
        ("validation_split", 1.0),
        ("validation_split", "0.2"),
        ("augment", "flip"),
    ],
)
def test_wrong_arguments_are_named(argument, value):
    with pytest.raises(ValueError, match=f"Received: {argument}="):
        data.load("digits", **{argument: value})


@pytest.mark.parametrize(("shape", "padding", "name"), [((8, 8), 4, "image_shape"), ((8, 8, 1), -1, "padding")])
def test_wrong_arguments_of_augmentation_are_named(shape, padding, name):
    with pytest.raises(ValueError, match=f"Received: {name}="):
        data.augmentation(shape, padding=padding)


def test_heavy_packages_are_imported_where_they_are_used():
    heavy = {"tensorflow", "tf", "tensorflow_datasets", "tfds", "sklearn", "PIL"}
    for name in ("load", "digits", "folders", "tfds", "augmenting", "numpy_batches", "tensorflow_batches"):
        assert not heavy & vars(importlib.import_module(f"keras_coda.data.{name}")).keys()
