"""CSV files of labels: read in both pipelines, and every wrong line named before work begins."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_coda import data
from keras_coda.data.label_tables import is_table, read_tables
from tests.helpers.datasets import arrays, picture

pytestmark = pytest.mark.any_backend


def table(folder, lines, name="labels.csv", encoding="utf-8"):
    (folder / name).write_text("\n".join(lines), encoding=encoding)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten images; the pixels of the first are its labels: 200 where there is a label."""
    folder = tmp_path_factory.mktemp("several labels")
    (folder / "images").mkdir()
    for index in range(10):
        picture(index).save(folder / "images" / f"{index}.png")
    return folder


def labels_of(index):
    return index % 2, index // 2 % 2, int(index == 3)


def lines(indices, names="abc"):
    order = ["abc".index(name) for name in names]
    rows = (f"images/{i}.png," + ",".join(str(labels_of(i)[k]) for k in order) for i in indices)
    return [f"file,{','.join(names)}", *rows]


def test_images_have_their_labels_in_both_parts(folder):
    loaded = data.load(table(folder, lines(range(10))), batch_size=3, augment=False)
    assert (loaded.multi_label, loaded.class_names, loaded.name) == (True, ("a", "b", "c"), "labels.csv")
    assert (loaded.num_train, loaded.num_validation, loaded.image_shape) == (8, 2, (24, 20, 3))
    pixels = {np.asarray(picture(i), "float32").tobytes(): labels_of(i) for i in range(10)}
    for part in (loaded.train, loaded.validation):
        images, labels = arrays(part)
        assert labels.dtype == "int32"
        for image, row in zip(images, labels, strict=True):
            assert pixels.pop(image.astype("float32").tobytes()) == tuple(row)
    assert not pixels
    if keras.backend.backend() == "tensorflow":
        assert loaded.train.element_spec[1].shape.as_list() == [None, 3]


def test_a_second_file_has_the_images_for_validation_and_its_own_order_of_columns(folder):
    train = table(folder, lines(range(6)), encoding="utf-8-sig")
    other = table(folder, lines(range(6, 10), "cab"), "validation.csv")
    loaded = data.load(train, validation=other, image_size=8, augment=False, verify=False)
    assert (loaded.num_train, loaded.num_validation, loaded.image_shape) == (6, 4, (8, 8, 3))
    assert sorted(map(tuple, arrays(loaded.validation)[1])) == sorted(map(labels_of, range(6, 10)))


def test_all_wrong_lines_are_named_at_once(folder):
    wrong = ["file,a,b", "images/0.png,1,0", "images/1.png,1", "images/nowhere.png,1,0", "images/2.png,yes,0.5", ""]
    wrong += ["images/./0.png,1,0", "images/4.png,1,0,1", "images/5.png, 1 ,0", "images,1,0", "images/6.png,,1"]
    with pytest.raises(ValueError, match="Received: ") as caught:
        data.load(table(folder, wrong))
    message = str(caught.value)
    for part in (
        "line 3: 2 columns instead of 3",
        "line 4: no file '",
        "line 5: 'yes' for a, '0.5' for b instead of 0 or 1",
        "line 7: 'images/./0.png' again, it is in line 2",
        "line 8: 4 columns instead of 3",
        "line 10: no file '",
        "line 11: '' for a instead of 0 or 1",
    ):
        assert part in message
    assert message.count("line ") == 7 + 2  # "Every line", and where the repeated one was
    with pytest.raises(ValueError, match="; and 15 more. Correct these lines"):
        read_tables(table(folder, ["file,a,b", *(f"{i}.png,0,1" for i in range(25))]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "The first line of a CSV file .* Received: '.*' with ''"),
        ("file,a\n", "at least two different names"),
        ("file,a,a\n", "'file,a,a'"),
        ("file,a,\n", "'file,a,'"),
        ("image,a,b\n", "must be 'file'"),
        ("file;a;b\n", "separated by commas"),
        ("file,a,b\n", "no images. Correct"),
        ('file,a,b\n"images/0.png,1,0\n', "readable CSV file, UTF-8. Received: '.*' .unexpected end of data"),
        (b"file,\xff,b\n", "UTF-8. Received: .*'utf-8' codec"),
        (b"file,a,b\nimages/0.png,1,\0\n", "line 2|NUL"),
    ],
)
def test_files_that_are_no_tables_of_labels_are_refused(folder, content, message):
    (folder / "bad.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        data.load(folder / "bad.csv")


def test_two_files_must_have_the_same_classes_and_other_images(folder):
    first = table(folder, lines(range(5)))
    with pytest.raises(ValueError, match=r"with the unknown columns \['d'\], without \['b', 'c'\]"):
        read_tables(first, table(folder, ["file,a,d", "images/9.png,1,0"], "other.csv"))
    with pytest.raises(ValueError, match="Received: 2 that are in both files, for instance '.*3.png'"):
        read_tables(first, table(folder, lines(range(3, 8)), "other.csv"))
    with pytest.raises(ValueError, match="'.*nowhere.csv' .No such file or directory"):
        data.load(first, validation=folder / "nowhere.csv")
    with pytest.raises(ValueError, match="`validation` belongs to a CSV file of labels. Received: source='digits'"):
        data.load("digits", validation=first)


def test_damaged_images_are_named_and_folders_named_like_files_are_folders(folder, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"All the images must be readable. Received: damaged=1, files='.*1.png"):
        data.load(table(tmp_path, ["file,a,b", "0.png,1,0", "1.png,0,0"]))
    (tmp_path / "classes.csv").mkdir()
    assert is_table("~/a.CSV")
    assert not is_table(tmp_path / "classes.csv")
