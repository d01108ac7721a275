import keras
import numpy as np
import pytest
from PIL import Image

from keras_coda import data
from tests.helpers.datasets import augmented

pytestmark = pytest.mark.any_backend


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """Images whose pixels tell where they were: red is the column, green the row."""
    folder = tmp_path_factory.mktemp("data") / "ramps"
    rows, columns = np.mgrid[:32, :32].astype("uint8")
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for index in range(10):
            Image.fromarray(np.stack([8 * columns, 8 * rows, 0 * rows], axis=-1)).save(folder / label / f"{index}.png")
    return folder


def images_of(dataset):
    return np.concatenate([images for images, _ in dataset.as_numpy_iterator()])


def corners(images):
    """Column and row of the upper left pixels, and whether the columns go to the right."""
    positions = images[:, 0, 0, :2] / 8
    return positions, images[:, 0, 1, 0] > images[:, 0, 0, 0]


def test_images_are_scaled_beyond_their_size_and_cropped_at_random_for_training(ramps):
    options = {"image_size": 24, "resize_ratio": 32 / 24, "batch_size": 4, "validation_split": 0.5}
    loaded = data.load(ramps, augment="flip_crop", **options)
    assert loaded.image_shape == (24, 24, 3)
    assert (loaded.batch_size, loaded.augmentation) == (4, "flip_crop")
    (positions, right), (centers, unflipped) = (corners(images_of(d)) for d in (loaded.train, loaded.validation))
    np.testing.assert_array_equal(centers, 4)
    assert unflipped.all()
    assert set(right) == {True, False}
    left = np.where(right, positions[:, 0], positions[:, 0] - 23)  # of a flipped crop, that is its right side
    assert left.min() >= 0 <= positions[:, 1].min()
    assert left.max() <= 8 >= positions[:, 1].max()
    assert len(set(left)) > 2 < len(set(positions[:, 1]))
    plain = data.load(ramps, augment="none", **options)
    assert plain.augmentation == "none"
    np.testing.assert_array_equal(corners(images_of(plain.train))[0], 4)


@pytest.mark.parametrize(
    "options",
    [{"resize_ratio": 0.9}, {"resize_ratio": 1.1, "augment": keras.layers.Identity()}, {"augment": "mixup"},
     {"augment": 1}],
)  # fmt: skip
def test_load_refuses(options, ramps):
    with pytest.raises(ValueError, match=next(iter(options))):
        data.load(ramps, **options)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX compiles RandAugment for a minute")
@pytest.mark.skipif(tuple(map(int, keras.__version__.split(".")[:2])) < (3, 11), reason="needs Keras 3.11")
def test_rand_augment_differs_between_images_and_epochs_stays_in_range_and_repeats_for_a_seed():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (16, 16, 3), "uint8")
    results = []
    for _ in range(2):
        layer = data.augmentation((12, 12, 3), crop_from=(16, 16), rand_augment=True, seed=3)
        epochs = augmented(layer, np.stack([image] * 16))
        results.append([images_of(epochs) for _ in range(2)])
    first, second = results[0]
    assert first.shape == (16, 12, 12, 3)
    assert first.dtype == "float32"
    assert 0 <= first.min() < first.max() <= 255
    assert len({one.tobytes() for one in first}) > 12
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, results[1][0])
    means = first.mean(axis=(1, 2, 3))
    assert means.std() > 5  # colors change, not places alone


def test_rand_augment_needs_colors_and_a_keras_that_chooses_for_every_image(monkeypatch):
    with pytest.raises(ValueError, match="3 channels"):
        data.augmentation((8, 8, 1), rand_augment=True)
    monkeypatch.setattr(keras, "__version__", "3.10.0")
    with pytest.raises(ImportError, match=r"Keras 3\.11.*3\.10\.0"):
        data.augmentation((8, 8, 3), rand_augment=True)
