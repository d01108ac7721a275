"""Which files of folders are images, and which folders are parts: names alone decide, so empty files do."""

import os

import pytest

from keras_coda.data import listing
from keras_coda.data.listing import Images, find_parts, is_left_out, part_of

pytestmark = pytest.mark.any_backend
CLASSES = ("cat", "dog")


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def classes_in(folder, *parts, classes=CLASSES):
    return touch(folder, *(f"{part}/{name}/0.png" for part in parts for name in classes))


# === Parts ===

TRAINING = ("train", "Train", "TRAIN", "training", "Training Set", "training_set", "train-images", "trainset")
VALIDATION = ("validation", "Valid", "val", "VAL", "dev", "Dev_Set", "test", "Test", "testing", "test_set", "holdout",
              "hold-out", "eval", "val_images")  # fmt: skip


@pytest.mark.parametrize(("training", "validation"), [
    *((name, "test") for name in TRAINING), *(("train", name) for name in VALIDATION),
])  # fmt: skip
def test_parts_are_found_in_every_usual_spelling(training, validation, tmp_path):
    classes_in(tmp_path, training, validation)
    assert find_parts(tmp_path) == [str(tmp_path / training), str(tmp_path / validation)]


def test_of_several_parts_the_one_for_validation_comes_first(tmp_path):
    for name in ("Test", "dev", "val", "VALIDATION"):
        classes_in(tmp_path, "train", name)
        assert find_parts(tmp_path)[1] == str(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["data", "set", "trainer", "training ship", "tests", "protest", "model", "images", "eva"]
)
def test_other_names_are_those_of_classes(name):
    assert part_of(name) is None


@pytest.mark.parametrize("names", [("fold1", "fold2"), ("2023", "2024"), ("valid", "test"), ("a", "b", "c")])
def test_folders_that_all_hold_the_same_folders_are_refused(names, tmp_path):
    classes_in(tmp_path, *names)
    with pytest.raises(ValueError, match=r"such as 'train' and 'validation'.*Received: .*all hold.*\['cat', 'dog'\]"):
        find_parts(tmp_path)


@pytest.mark.parametrize(
    ("paths", "message"),
    [(["unlabeled/0.png"], r"no others with images. Received: .*\['unlabeled'\]"),
     (["fold/cat/0.png", "fold/dog/0.png"], r"no others with images. Received: .*\['fold'\]"),
     (["training/cat/0.png", "training/dog/0.png"], r"must hold the training images. Received: .*'train', 'training'")],
)  # fmt: skip
def test_parts_beside_other_folders_of_images_are_refused(paths, message, tmp_path):
    touch(classes_in(tmp_path, "train", "val"), *paths)
    with pytest.raises(ValueError, match=message):
        find_parts(tmp_path)


def test_folders_without_images_may_lie_beside_parts(tmp_path):
    touch(classes_in(tmp_path, "train", "val"), "annotations/cat.xml", "__MACOSX/train/cat/._0.png", ".git/x")
    assert find_parts(tmp_path) == [str(tmp_path / "train"), str(tmp_path / "val")]


@pytest.mark.parametrize(
    "paths",
    [["train/0.png", "test/0.png"],  # a vehicle, an examination
     ["train/steam/0.png", "train/diesel/0.png", "bus/city/0.png", "test/0.png"],
     ["cat/images/0.png", "dog/images/0.png"],  # one folder inside each is no choice between two classes
     ["cat/left/0.png", "cat/right/0.png", "dog/left/0.png"],
     ["cat/left/0.png", "cat/right/0.png", "dog/left/0.png", "dog/right/0.png", "dog/0.png"]],
)  # fmt: skip
def test_folders_that_are_classes_stay_classes(paths, tmp_path):
    assert find_parts(touch(tmp_path, *paths)) == [str(tmp_path)]


# === Images ===

HIDDEN = (".ipynb_checkpoints/0.png", "@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "._0.png", ".0.png", "#recycle/0.jpg",
          "__MACOSX/cat/._0.png", ".@__thumb/s100.jpg", "deep/er/.thumbnails/0.webp", "deep/@EADIR/x/0.gif",
          "$RECYCLE.BIN/0.bmp", "__pycache__/0.png")  # fmt: skip


@pytest.mark.parametrize("path", HIDDEN)
@pytest.mark.parametrize("depth", ["", "cat/", "cat/more/"])
def test_hidden_and_sidecar_files_are_left_out_at_every_depth_and_told(path, depth, tmp_path):
    touch(tmp_path, "cat/0.png", "cat/more/@home/1.JPG", "cat/notes.txt", depth + path)
    images = Images.of(tmp_path)
    assert images.paths == [str(tmp_path / "cat/0.png"), str(tmp_path / "cat/more/@home/1.JPG")]
    assert images.hidden == [str(tmp_path / (depth + path))]
    (told,) = images.left_out()
    assert f"with 1 such images, the first is '{depth + path}'" in told


def test_what_holds_no_images_is_no_news(tmp_path):
    touch(tmp_path, "0.png", ".DS_Store", "cat/Thumbs.db", "cat/.nomedia", ".git/config", "@eaDir/0.png@SynoEAStream")
    assert Images.of(tmp_path).left_out() == []


def test_images_of_other_formats_are_counted(tmp_path):
    touch(tmp_path, "0.png", "a.jp2", "b/c.JFIF", "b/d.jfif", "e.heic", ".hidden.jfif/x.jfif", "f.TIF")
    (told,) = Images.of(tmp_path).left_out()
    assert "with 1 .heic, 2 .jfif, 1 .jp2 too, which are left out. Convert them" in told


def test_images_come_in_the_order_in_which_keras_finds_them(tmp_path):
    paths = ["a/1.png", "a/b/0.png", "a/b/00.png", "a-b/0.png", "A/z.png"]
    touch(tmp_path, *paths)
    expected = [os.path.join(root, name) for root, _, names in sorted(os.walk(tmp_path)) for name in sorted(names)]
    assert Images.of(tmp_path).paths == expected


def test_links_to_folders_are_followed_on_so_many_levels(tmp_path):
    touch(tmp_path, "elsewhere/cat/0.png", "photos/dog/0.png")
    (tmp_path / "photos" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (tmp_path / "photos" / "dog" / "again").symlink_to(tmp_path / "photos")
    found = {linked: sorted(Images.of(tmp_path / "photos", linked).by_folder) for linked in (0, 1)}
    assert found == {0: [("dog",)], 1: [("cat",), ("dog",)]}
    assert len(Images.of(tmp_path / "photos", 2).paths) == 3  # again/dog is not followed into a circle


@pytest.mark.parametrize(("path", "is_hidden"), [("cat/more", False), ("lost+found", True), ("cat/.git/x", True)])
def test_a_folder_that_cannot_be_read_is_an_error_unless_it_is_left_out(path, is_hidden, tmp_path, monkeypatch):
    touch(tmp_path, "cat/0.png", f"{path}/1.png")
    scandir = os.scandir

    def denied(folder):
        if str(folder) == str(tmp_path / path):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", denied)
    if is_hidden:
        assert len(Images.of(tmp_path).paths) == 1
    else:
        with pytest.raises(PermissionError, match=path):
            Images.of(tmp_path)


@pytest.mark.parametrize("name", ["cat", "@home", "#1", "_x", "a.b", "eaDir", "macosx"])
def test_ordinary_names_are_not_left_out(name):
    assert not is_left_out(name)
    assert not listing.is_left_out(name.upper())
