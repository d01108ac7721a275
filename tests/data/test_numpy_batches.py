"""The pipeline of NumPy arrays for backends without `tf.data`: the same images as there, on every backend."""

import importlib

import keras
import numpy as np
import pytest

from keras_coda import data
from keras_coda.data import load as load_images
from keras_coda.data.images import resizing
from keras_coda.data.numpy_batches import Batches, Whole, in_turn, layer_calls, random_crops
from keras_coda.data.resizing import resize
from keras_coda.utils.errors import UnreadableImageError
from tests.helpers.datasets import arrays, fill

pytestmark = pytest.mark.any_backend
on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares with tf.data")
load_module = importlib.import_module("keras_coda.data.load")  # `keras_coda.data.load` is the function


def load_both(monkeypatch, *args, **options):
    """The same data from both pipelines: of NumPy and of `tf.data`."""
    of_tensorflow = load_images(*args, **options)
    monkeypatch.setattr(load_module.tensorflow_batches, "batches", load_module.numpy_batches.batches)
    return load_images(*args, **options), of_tensorflow


def by_pixels(images, labels):
    order = np.lexsort(np.rint(images.reshape(len(images), -1)).T)
    return images[order], labels[order]


def check_equal(found, expected):
    """Both have the same parts: the same images with their labels, in the same order for validation."""
    assert isinstance(found.train, keras.utils.PyDataset)
    for name in ("name", "class_names", "image_shape", "num_train", "num_validation", "batch_size", "augmentation"):
        assert getattr(found, name) == getattr(expected, name)
    for part in ("train", "validation"):
        ours, theirs = (getattr(each, part) for each in (found, expected))
        assert len(ours) == len(theirs)
        (images, labels), (other_images, other_labels) = (by_pixels(*arrays(each)) for each in (ours, theirs))
        assert (images.dtype, labels.dtype) == (other_images.dtype, other_labels.dtype)
        np.testing.assert_allclose(images, other_images, atol=1e-3)
        np.testing.assert_array_equal(labels, other_labels)


@on_tensorflow
@pytest.mark.parametrize("options", [{}, {"image_size": (10, 7)}, {"validation_split": 0.4, "seed": 3}])
def test_digits_are_those_of_tf_data(options, monkeypatch):
    found, expected = load_both(monkeypatch, "digits", **options)
    check_equal(found, expected)
    np.testing.assert_allclose(arrays(found.validation)[0], arrays(expected.validation)[0], atol=1e-3)


@on_tensorflow
@pytest.mark.parametrize("comes_split", [False, True])
@pytest.mark.parametrize("options", [{}, {"image_size": 9, "resize_ratio": 1.3}, {"resize_ratio": 1.5}])
def test_folders_are_those_of_tf_data(comes_split, options, tmp_path, monkeypatch):
    for part in ("train", "val") if comes_split else ("",):
        fill(tmp_path / part, count=5, size=(12, 11))
        fill(tmp_path / part, classes=("ant",), count=3, size=(7, 20))
    check_equal(*load_both(monkeypatch, tmp_path, augment=False, batch_size=4, **options))


@on_tensorflow
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_images_are_resized_as_keras_does(kind):
    rng = np.random.default_rng(0)
    for old, new in ((5, 7), (8, 8)), ((30, 17), (9, 9)), ((3, 40), (6, 5)), ((1, 1), (4, 3)), ((64, 48), (33, 2)):
        image = rng.integers(0, 256, (*old, 3)).astype(kind)
        expected = np.asarray(resizing(new)(image.astype("float32")))
        np.testing.assert_allclose(resize(image, new), expected, atol=1e-3)
        assert resize(image, new).dtype == "float32"


def test_files_are_read_once_if_they_fit_in_memory(tmp_path):
    class Counted:
        shape, dtype = (5, 2, 2, 1), np.dtype("float32")
        read: list[int] = []  # noqa: RUF012

        def __len__(self):
            return 5

        def __getitem__(self, index):
            self.read.append(int(index))
            return np.full((2, 2, 1), index, "float32")

    for memory, reads in (1000, 1), (79, 3):
        Counted.read.clear()
        batches = Batches(Counted(), np.arange(5), 2, seed=0, memory=memory)
        epochs = [arrays(batches) for _ in range(3)]
        assert sorted(Counted.read) == sorted(list(range(5)) * reads)
        for images, labels in epochs:
            np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
            assert sorted(labels) == list(range(5))
        assert len({labels.tobytes() for _, labels in epochs}) > 1


def test_batches_are_the_same_whoever_reads_them_and_in_whatever_order():
    image = np.arange(24, dtype="uint8").reshape(4, 6, 1)
    change = in_turn(random_crops((4, 6), flip=True, padding=1), layer_calls(keras.layers.RandomFlip(), (4, 6, 1)))
    batches = Batches(np.stack([image] * 20), np.arange(20), 8, change=change, seed=1)
    backwards = [batches[index][0] for index in (2, 1, 0)][::-1]
    np.testing.assert_array_equal(np.concatenate(backwards), arrays(batches)[0])
    assert [len(part) for part in backwards] == [8, 8, 4]
    assert len({each.tobytes() for each in np.concatenate(backwards)}) > 10
    with pytest.raises(IndexError, match="There are 3 batches. Received: index=3"):
        batches[3]


def test_a_damaged_image_is_named_in_training_too(tmp_path):
    fill(tmp_path, count=3)
    loaded = data.load(tmp_path, verify=False, augment=False)
    for file in tmp_path.glob("*/*.png"):
        file.write_bytes(b"\x89PNG\r\n\x1a\n")
    if keras.backend.backend() != "tensorflow":
        with pytest.raises(UnreadableImageError, match="png"):
            arrays(loaded.train)


def test_a_layer_that_jax_cannot_compile_augments_too():
    images = np.stack([np.arange(36, dtype="float32").reshape(6, 6, 1)] * 6)
    change = layer_calls(keras.layers.RandomCrop(4, 4), (6, 6, 1))
    found = change(images, np.random.default_rng(0))
    assert found.shape == (6, 4, 4, 1)
    assert len({each.tobytes() for each in found}) > 2


def test_a_wrong_layer_raises_its_own_error():
    with pytest.raises(ValueError, match="axis"):
        layer_calls(keras.layers.Normalization(axis=7, mean=0.0, variance=1.0), (4, 4, 1))(
            np.zeros((2, 4, 4, 1)), np.random.default_rng(0)
        )


def test_processes_have_the_rows_of_the_whole_batches():
    images = np.arange(11 * 36, dtype="uint8").reshape(11, 6, 6, 1)
    options = {"change": random_crops((6, 6), flip=True, padding=1), "seed": 3}
    whole = Batches(images, np.arange(11), 4, **options)
    parts = [whole.part(index, 2, 2) for index in range(2)]
    for _ in range(2):  # epochs
        *first, last = zip(whole, *parts, strict=True)
        for joined, *own in first:
            for array, *halves in zip(joined, *own, strict=True):
                np.testing.assert_array_equal(np.concatenate(halves), array)
                assert not isinstance(halves[0], Whole)
        for array, *each in zip(*last, strict=True):  # of three images, which two devices cannot divide
            assert all(isinstance(part, Whole) for part in each)
            np.testing.assert_array_equal(each, [array, array])
    with pytest.raises(ValueError, match="must be a multiple of the number of devices"):
        whole.part(0, 3, 3)
