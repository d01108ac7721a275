import os
import pathlib
import re

import keras
import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet, data
from keras_coda.data import folders
from keras_coda.data.tensorflow_batches import dataset
from keras_coda.utils.errors import ImagesLeftOutWarning
from tests.helpers.datasets import arrays, fill, picture
from tests.helpers.image_files import orientation

pytestmark = pytest.mark.any_backend


def test_folder_of_class_folders_is_split(tmp_path):
    loaded = data.load(fill(tmp_path / "pets", suffix="jpg"), batch_size=3, validation_split=0.3)
    assert (loaded.name, loaded.class_names) == ("pets", ("cat", "dog"))
    assert (loaded.num_train, loaded.num_validation) == (7, 3)
    images, labels = arrays(loaded.train)
    assert loaded.image_shape == (24, 20, 3) == images.shape[1:]  # the size of the first image
    assert (images.dtype, labels.dtype) == ("float32", "int32")
    assert 0 <= images.min() < images.max() <= 255
    counts = np.bincount(labels) + np.bincount(arrays(loaded.validation)[1], minlength=2)
    assert counts.tolist() == [5, 5]


def test_a_path_called_digits_is_a_folder(tmp_path, monkeypatch):
    fill(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert data.load(pathlib.Path("digits")).num_classes == 2


def test_folder_images_keep_their_pixels_and_labels(tmp_path):
    fill(tmp_path)
    loaded = data.load(tmp_path, augment=False)
    for image, label in zip(*arrays(loaded.train), strict=True):
        files = sorted((tmp_path / loaded.class_names[label]).iterdir())
        assert any((image == np.asarray(Image.open(file))).all() for file in files)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares with tf.data")
@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("comes_split", [False, True])
def test_files_are_split_and_ordered_as_keras_does(comes_split, seed, tmp_path):
    for part in ("train", "test") if comes_split else ("",):
        fill(tmp_path / part, classes=("cat", "dog", "Eel"), count=7, size=(3, 4))
        fill(tmp_path / part / "cat" / "more", classes=("b", "a"), count=3, size=(3, 4), suffix="bmp")
        fill(tmp_path / part, classes=("dog",), count=2, size=(4, 3), suffix="GIF")
    options = {"batch_size": None, "image_size": (3, 4), "seed": seed, "crop_to_aspect_ratio": True}
    if comes_split:
        keras.utils.set_random_seed(1)
        expected = [keras.utils.image_dataset_from_directory(tmp_path / "train", **options)]
        keras.utils.set_random_seed(1)
        expected.append(keras.utils.image_dataset_from_directory(tmp_path / "test", shuffle=False, **options))
    else:
        keras.utils.set_random_seed(1)
        expected = keras.utils.image_dataset_from_directory(tmp_path, validation_split=0.3, subset="both", **options)
    keras.utils.set_random_seed(1)
    found = folders.load_folder(str(tmp_path), (3, 4), 0.3, True, seed)
    for is_training, part, keras_part, count in zip((True, False), found[0], expected, found[3], strict=True):
        part = dataset(*part, is_training=is_training, seed=seed, memory=1)
        pairs = list(zip(part.as_numpy_iterator(), keras_part.as_numpy_iterator(), strict=True))
        assert len(pairs) == count
        for (image, label), (keras_image, keras_label) in pairs:
            np.testing.assert_allclose(image, keras_image, atol=1e-3)
            assert label == keras_label
    assert found[1] == ("Eel", "cat", "dog")


def test_files_may_have_names_that_are_not_utf_8(tmp_path):
    fill(tmp_path)
    os.rename(tmp_path / "cat" / "0.png", os.path.join(os.fsencode(tmp_path), b"cat", b"\xff\xe9.png"))
    os.rename(tmp_path / "cat", os.path.join(os.fsencode(tmp_path), b"caf\xe9"))
    loaded = data.load(tmp_path)
    assert len(arrays(loaded.train)[0]) == 8
    network = CoDANet(2, input_shape=(8, 8, 3), filters=(2,), ranks=2, class_names=("caf\udce9", "dog"))
    assert loaded.class_names == network.class_names == ("caf\\udce9", "dog")  # text that pictures and exports can hold


def test_webp_and_tiff_are_read_and_images_of_other_formats_are_counted(tmp_path, recwarn):
    fill(tmp_path, count=3)
    fill(tmp_path, count=2, suffix="webp", size=(9, 9))
    fill(tmp_path, count=1, suffix="TIF", size=(9, 9))
    loaded = data.load(tmp_path)
    assert loaded.num_train + loaded.num_validation == 12
    assert not [warning for warning in recwarn if "left out" in str(warning.message)]
    fill(tmp_path, classes=("cat",), count=2, suffix="tga")
    fill(tmp_path, classes=("dog",), count=1, suffix="PPM")
    with pytest.warns(UserWarning, match="with 1 .ppm, 2 .tga too, which are left out. Convert them") as caught:
        assert data.load(tmp_path).num_train + loaded.num_validation == 12
    assert caught[0].filename == __file__


def test_photos_are_turned_upright_and_palettes_are_colors(tmp_path):
    fill(tmp_path)
    upright = np.zeros((40, 24, 3), "uint8")
    upright[:20] = 255
    for label in ("cat", "dog"):
        Image.fromarray(np.rot90(upright)).save(tmp_path / label / "0.jpg", exif=orientation(6))
        Image.new("RGB", (16, 16), (220, 30, 30)).quantize(4).save(tmp_path / label / "0.bmp")
    loaded = data.load(tmp_path, augment=False, batch_size=100)  # 0.bmp comes first and gives the size
    assert loaded.image_shape == (16, 16, 3)
    images = np.concatenate([arrays(part)[0] for part in (loaded.train, loaded.validation)])
    assert sum(np.abs(image - [220, 30, 30]).max() < 2 for image in images) == 2
    assert sum(image[:6].min() > 250 and image[-6:].max() < 5 for image in images) == 2


def test_folder_images_change_size_without_distortion(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        wide = np.zeros((20, 60, 3), "uint8")
        wide[:, 20:40] = 200  # the central square
        for i in range(3):
            Image.fromarray(wide).save(tmp_path / name / f"{i}.png")
    loaded = data.load(tmp_path, image_size=10, validation_split=0.4)
    images, _ = arrays(loaded.validation)
    np.testing.assert_allclose(images, np.full((2, 10, 10, 3), 200.0), atol=1e-3)


@pytest.mark.parametrize("name", ["validation", "val", "test"])
def test_folder_with_train_and_validation_folders_comes_split(tmp_path, name):
    fill(tmp_path / "train", count=4)
    fill(tmp_path / name, count=2)
    loaded = data.load(str(tmp_path), augment=False)
    assert (loaded.num_train, loaded.num_validation) == (8, 4)
    assert loaded.class_names == ("cat", "dog")
    assert sorted(arrays(loaded.train)[1]) == [0] * 4 + [1] * 4


@pytest.mark.parametrize(("training", "validation"), [("Train", "Valid"), ("training_set", "test_set")])
def test_parts_in_other_spellings_are_no_classes(training, validation, tmp_path):
    fill(tmp_path / training, count=4)
    fill(tmp_path / validation, count=2)
    loaded = data.load(tmp_path, augment=False)
    assert (loaded.class_names, loaded.num_train, loaded.num_validation) == (("cat", "dog"), 8, 4)


@pytest.mark.parametrize("part", ["", "train", "VAL"])
def test_hidden_and_sidecar_files_are_not_loaded_and_told(part, tmp_path):
    for name in ("train", "VAL") if part else ("",):
        fill(tmp_path / name)
    folder = tmp_path / part
    fill(folder, classes=("__MACOSX", "@eaDir", ".cache"), count=1)
    fill(folder / "cat", classes=(".ipynb_checkpoints", "@eaDir"), count=1)
    (folder / "dog" / "._0.png").write_bytes(b"\0\5\26\7" + bytes(60))  # AppleDouble
    picture(0).save(folder / "beside.png")
    with pytest.warns(ImagesLeftOutWarning) as caught:
        loaded = data.load(tmp_path)
    assert loaded.class_names == ("cat", "dog")
    assert loaded.num_train + loaded.num_validation == (20 if part else 10)
    caught = [warning for warning in caught if warning.category is ImagesLeftOutWarning]
    told = [str(warning.message) for warning in caught]
    assert len(told) == 2
    assert "with 6 such images, the first is" in told[0]
    assert "with 1 images beside these folders, which are left out; the first is 'beside.png'" in told[1]
    assert {warning.filename for warning in caught} == {__file__}


def test_class_folders_may_be_links(tmp_path):
    fill(tmp_path / "elsewhere")
    for part in ("train", "test"):
        (tmp_path / "photos" / part).mkdir(parents=True)
        for name in ("cat", "dog"):
            (tmp_path / "photos" / part / name).symlink_to(tmp_path / "elsewhere" / name)
    assert data.load(tmp_path / "photos").num_train == 10


def test_folder_prefers_validation_to_test(tmp_path):
    for name, count in (("train", 4), ("val", 3), ("test", 2)):
        fill(tmp_path / name, count=count)
    assert data.load(tmp_path).num_validation == 6


def test_folders_called_train_and_test_may_be_classes(tmp_path):
    assert data.load(fill(tmp_path, classes=("test", "train"))).class_names == ("test", "train")


def test_damaged_images_are_named_before_training(tmp_path):
    fill(tmp_path, suffix="jpg")
    for name, change in (
        ("truncated.jpg", lambda content: content[:-20]),
        ("text.jpg", lambda content: b"not an image"),
        ("empty.jpg", lambda content: b""),
    ):
        (tmp_path / "dog" / name).write_bytes(change((tmp_path / "cat" / "0.jpg").read_bytes()))
    picture(0).save(tmp_path / "cat" / "end.png")
    content = (tmp_path / "cat" / "end.png").read_bytes()
    (tmp_path / "cat" / "end.png").write_bytes(content[:-2])  # Pillow would read it, TensorFlow does not
    with pytest.raises(ValueError, match="damaged=4") as error:
        data.load(tmp_path)
    for name in ("truncated.jpg", "text.jpg", "empty.jpg", "end.png"):
        assert name in str(error.value)
    assert "0.jpg" not in str(error.value)
    assert data.load(tmp_path, verify=False).num_train == 12


@pytest.mark.parametrize("kind", ["EPS", "PPM"])
def test_a_file_of_another_format_named_as_an_image_is_named(kind, tmp_path):
    fill(tmp_path)
    picture(0).save(tmp_path / "cat" / "x.png", kind)
    with pytest.raises(ValueError, match=r"damaged=1, files='.*x.png \(no JPEG, PNG, BMP, GIF, WebP or TIFF file\)"):
        data.load(tmp_path)


def test_files_that_are_no_images_by_name_are_ignored(tmp_path):
    fill(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("hello")
    (tmp_path / ".cache").mkdir()
    loaded = data.load(tmp_path)
    assert loaded.num_train + loaded.num_validation == 10
    assert loaded.num_classes == 2


def test_folder_without_images_or_with_one_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"at least two class folders.*Received.*{}"):
        data.load(tmp_path)
    fill(tmp_path, classes=("cat",))
    with pytest.raises(ValueError, match=r"at least two class folders.*\{'cat': 5\}.*folder/class_name/image.jpg"):
        data.load(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match=r"\{'cat': 5, 'dog': 0\}"):
        data.load(tmp_path)


def test_parts_with_different_classes_are_refused(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", classes=("cat", "bird"))
    with pytest.raises(ValueError, match="same class folders"):
        data.load(tmp_path)


def test_training_classes_beside_unlabelled_test_images_are_refused(tmp_path):
    fill(tmp_path / "train")
    (tmp_path / "test").mkdir()
    picture(0).save(tmp_path / "test" / "0.png")
    with pytest.raises(ValueError, match="same class folders"):
        data.load(tmp_path)


def test_split_that_leaves_no_validation_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="images left for training and for validation"):
        data.load(fill(tmp_path, count=1))


def test_progress_is_shown_on_stderr_when_checking_takes_long(tmp_path, monkeypatch, capsys):
    clock = iter(range(100))
    monkeypatch.setattr(folders.time, "monotonic", lambda: next(clock))
    data.load(fill(tmp_path))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Checked 10 of 10 images\n" in captured.err


def test_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"existing folder.*Received: source='{re.escape(str(tmp_path))}/flowers'"):
        data.load(tmp_path / "flowers")


def test_validation_folder_comes_with_classes_mixed_and_in_a_fixed_order(tmp_path):
    for name in ("train", "validation"):
        fill(tmp_path / name, count=20)
    validation = data.load(tmp_path, augment=False).validation
    labels = arrays(validation)[1]
    assert sorted(labels) == [0] * 20 + [1] * 20
    assert 0 < labels[:20].sum() < 20
    np.testing.assert_array_equal(labels, arrays(validation)[1])
