import io
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet, Explanation
from keras_coda.explanations import compiled
from tests.helpers.commands import run, write_image


def test_explain_writes_a_picture_and_the_numbers_of_every_image(model_folder, tmp_path, capsys):
    first = write_image(tmp_path / "a" / "same.png", seed=1)
    write_image(tmp_path / "b" / "same.png", seed=2, mode="L")
    write_image(tmp_path / "b" / "deeper" / "other.jpg", seed=3, size=(20, 30))
    write_image(tmp_path / "b" / "with_alpha.gif", seed=4, mode="L")
    (tmp_path / "b" / "notes.txt").write_text("no image")
    for name in (".ipynb_checkpoints/same.png", "deeper/@eaDir/other.jpg", "._same.png"):
        write_image(tmp_path / "b" / name, seed=5)
    out = tmp_path / "b" / "reasons"
    arguments = ["explain", "--model", model_folder, first, tmp_path / "b", first, "--out", out]
    assert run(*arguments, "--classes", "dark, 0", "--linear-map") == 0
    names = {"a-same", "b-same", "other", "with_alpha"}
    assert {path.name for path in out.iterdir()} == {
        name + ending for name in names for ending in (".png", ".npz", ".linear_map.png")
    }
    printed = capsys.readouterr()
    assert "keras-coda: warning: Hidden files and folders" in printed.err
    assert "with 3 such images" in printed.err
    rows = printed.out.strip().splitlines()[-8:]
    assert [row.split()[-3] for row in rows] == ["dark", "bright"] * 4
    explanation = Explanation.load(out / "a-same.npz")
    assert explanation.classes.tolist() == [[1, 0]]
    assert explanation.images.shape == (1, 8, 8, 3)
    assert explanation.linear_map.shape == (1, 2, 8, 8, 6)
    assert explanation.residual.max() < 1e-5
    assert not np.array_equal(explanation.images, Explanation.load(out / "b-same.npz").images)
    assert Image.open(out / "other.png").size[0] > 100

    before = (out / "other.npz").stat().st_mtime_ns
    assert run(*arguments) == 1  # and the results have not become images to explain
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "other.npz").stat().st_mtime_ns == before
    assert run(*arguments, "--overwrite") == 0
    assert Explanation.load(out / "other.npz").classes.shape == (1, 1)


def test_a_network_is_traced_once_to_explain_files_and_never_for_predictions(
    model_folder, tmp_path, monkeypatch, capsys
):
    explainers, original = [], compiled.CompiledExplainer.__init__

    def noted(self, model):
        original(self, model)
        explainers.append(self)

    monkeypatch.setattr(compiled.CompiledExplainer, "__init__", noted)
    photos = [write_image(tmp_path / f"{seed}.png", seed) for seed in range(3)]
    assert run("explain", "--model", model_folder, *photos, "--out", tmp_path / "out", "--top-k", 2) == 0
    assert run("predict", "--model", model_folder, *photos) == 0
    assert [explainer.traces for explainer in explainers] == [1, 0]


def test_explain_sees_the_pixels_that_training_saw(photos, model_folder, tmp_path):
    from keras_coda import data

    image = photos / "dark" / "0.png"
    assert run("explain", "--model", model_folder, image, "--out", tmp_path) == 0
    seen = Explanation.load(tmp_path / "0.npz").images[0]
    loaded = data.load(photos, image_size=8, batch_size=1, augment=False)
    distances = [np.abs(one[0] - seen).max() for part in (loaded.train, loaded.validation) for one, _ in part]
    assert min(distances) < 1e-3


def test_explain_takes_a_keras_file_webp_and_the_exact_class_name(tmp_path):
    model = CoDANet(2, input_shape=(8, 8, 3), filters=(4, 2), ranks=2, class_names=("A", "a"))
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.RandomFlip(), model]).save(tmp_path / "wrapped.keras")
    model.save(tmp_path / "best.keras")
    write_image(tmp_path / "in" / "0.webp")
    for name in ("best", "wrapped"):
        options = ["--model", tmp_path / f"{name}.keras", "--out", tmp_path / name, "--classes", "a"]
        assert run("explain", *options, tmp_path / "in") == 0
        explanation = Explanation.load(tmp_path / name / "0.npz")
        assert (explanation.classes.tolist(), explanation.class_names) == ([[1]], ("A", "a"))
        np.testing.assert_allclose(explanation.logits, model.explain(tmp_path / "in" / "0.webp").logits, atol=1e-5)


def test_a_keras_file_of_another_model_is_refused(tmp_path, capsys):
    image = write_image(tmp_path / "a.png")
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    assert run("explain", "--model", tmp_path / "m.keras", "--out", tmp_path / "out", image) == 1
    assert "An explainable model encodes the image" in capsys.readouterr().err
    assert run("evaluate", "--model", tmp_path / "m.keras") == 1
    assert "must hold a network of this package. Received: " in capsys.readouterr().err
    content = (tmp_path / "m.keras").read_bytes().replace(b"config.json", b"gonfig.json")
    (tmp_path / "m.keras").write_bytes(content)
    assert run("evaluate", "--model", tmp_path / "m.keras") == 1
    assert "must hold a model that Keras can load. Received: " in capsys.readouterr().err


def test_explain_reduces_large_images_for_networks_of_any_size_and_says_so(tmp_path, capsys):
    CoDANet(2, filters=(2,), strides=8, ranks=2).save_to_preset(tmp_path / "model")
    for name, size in {"wide": (700, 300), "tall": (9, 520), "small": (20, 30)}.items():
        write_image(tmp_path / "in" / f"{name}.png", size=size)

    def shapes(*options):
        arguments = ["explain", "--model", tmp_path / "model", tmp_path / "in", "--out", tmp_path / "out"]
        assert run(*arguments, "--overwrite", *options) == 0
        files = (tmp_path / "out" / f"{name}.npz" for name in ("wide", "tall", "small"))
        return [Explanation.load(file).contributions.shape[2:] for file in files], capsys.readouterr().err

    found, said = shapes()
    assert found == [(219, 512), (512, 9), (30, 20)]
    assert "reduced to at most 512 pixels per side: 2 of 3, for instance" in said
    found, said = shapes("--max-side", "0")
    assert (found, said) == ([(300, 700), (520, 9), (30, 20)], "")
    found, said = shapes("--max-side", "25")
    assert found[2] == (25, 17)
    assert "3 of 3" in said


def test_explain_takes_images_as_they_are_if_the_network_takes_any_size(tmp_path):
    CoDANet(2, input_shape=(None, None, 1), filters=(2, 2), ranks=2).save_to_preset(tmp_path / "model")
    paths = [write_image(tmp_path / f"{side}.png", size=(side, 8)) for side in (6, 11)]
    assert run("explain", "--model", tmp_path / "model", *paths, "--wrt", "dau_1", "--out", tmp_path / "out") == 0
    shapes = [Explanation.load(tmp_path / "out" / f"{side}.npz").images.shape for side in (6, 11)]
    assert shapes == [(1, 8, 6, 1), (1, 8, 11, 1)]


@pytest.mark.parametrize("damage", ["text", "PostScript", "truncated", "animated", "missing", "empty folder"])
def test_an_unreadable_image_is_named_and_nothing_is_written(damage, model_folder, tmp_path, capsys):
    good, bad = write_image(tmp_path / "good.png"), tmp_path / "bad.png"
    if damage == "text":
        bad.write_text("no image")
    elif damage == "PostScript":
        Image.new("RGB", (8, 8)).save(bad, "EPS")
    elif damage == "truncated":
        bad.write_bytes(good.read_bytes()[:120])
    elif damage == "animated":
        bad = tmp_path / "bad.gif"
        frames = [Image.new("L", (8, 8), value) for value in (0, 255)]
        frames[0].save(bad, save_all=True, append_images=frames[1:])
    elif damage == "empty folder":
        bad.mkdir()
    assert run("explain", "--model", model_folder, good, bad, "--out", tmp_path / "out") == 1
    assert str(bad) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--classes", "drak"], "'drak'. Did you mean 'dark'?"), (["--classes", "2"], r"in [0, 1]"),
     (["--top-k", "3"], "top_k"), (["--wrt", "conv"], "dau_1"), (["--model", "coda_l_imagenet100"], "weights")],
)  # fmt: skip
def test_explain_refuses(options, message, model_folder, tmp_path, capsys):
    image = write_image(tmp_path / "image.png")
    assert run("explain", "--model", model_folder, image, "--out", tmp_path / "out", *options) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_explain_never_replaces_the_images_themselves(model_folder, tmp_path, capsys):
    image = write_image(tmp_path / "image.png")
    before = image.read_bytes()
    assert run("explain", "--model", model_folder, image, "--out", tmp_path, "--overwrite") == 1
    assert "must not replace images" in capsys.readouterr().err
    assert image.read_bytes() == before


def test_names_that_are_no_text_are_shown_escaped(model_folder, tmp_path, monkeypatch):
    image = write_image(tmp_path / "in" / "x.png", seed=1).rename(tmp_path / "in" / "caf\udce9\n\x1b[2J.png")
    strict = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", strict)
    assert run("explain", "--model", model_folder, tmp_path / "in", "--out", tmp_path / "out") == 0
    strict.flush()
    assert b"caf\\udce9\\n\\x1b[2J.png  " in strict.buffer.getvalue()
    assert (tmp_path / "out" / f"{image.stem}.npz").exists()


@pytest.mark.parametrize(("length", "options"), [(251, ["--linear-map"]), (250, ["--linear-map"])])
def test_results_that_cannot_be_written_are_noticed_before_work(
    model_folder, tmp_path, capsys, monkeypatch, length, options
):
    image = write_image(tmp_path / ("b" * (length - 4) + ".png"), seed=1)
    monkeypatch.setattr(CoDANet, "explain", None)
    arguments = ["explain", "--model", model_folder, "--out", tmp_path / "new" / "out", image, *options]
    assert run(*arguments) == 1
    assert "A name may have 255 bytes" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_results_that_exist_are_noticed_before_images_are_read(model_folder, tmp_path, capsys, monkeypatch):
    image = write_image(tmp_path / "x.png", seed=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.npz").touch()
    monkeypatch.setattr("keras_coda.explanations.files.read_image", None)
    assert run("explain", "--model", model_folder, "--out", tmp_path / "out", image) == 1
    assert "--overwrite" in capsys.readouterr().err
