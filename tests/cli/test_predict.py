import csv
import os
import sys

import keras
import numpy as np
import pytest

from keras_coda import CoDANet
from keras_coda.explanations import predict_files
from tests.helpers.commands import run, write_image


@pytest.fixture
def images(tmp_path):
    """A folder with three images of several sizes and modes."""
    write_image(tmp_path / "in" / "a.png", seed=1)
    write_image(tmp_path / "in" / "deeper" / 'b, "c".jpg', seed=2, size=(20, 30))
    write_image(tmp_path / "in" / "gray.png", seed=3, mode="L")
    return tmp_path / "in"


def rows_of(path):
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_predict_writes_what_the_network_predicts(model_folder, images, tmp_path, capsys):
    out = tmp_path / "predictions.csv"
    assert run("predict", "--model", model_folder, images, images / "a.png", "--out", out, "--all-classes") == 0
    rows = rows_of(out)
    of_classes = ["probability of bright", "probability of dark"]
    assert list(rows[0]) == ["file", "class", "probability", "logit", *of_classes]
    assert [os.path.basename(row["file"]) for row in rows] == ["a.png", "gray.png", 'b, "c".jpg']
    model = CoDANet.from_preset(model_folder)
    for row in rows:
        explanation = model.explain(row["file"])
        best = explanation.classes[0, 0]
        assert row["class"] == ("bright", "dark")[best]
        numbers = [float(row[name]) for name in ("logit", *of_classes)]
        np.testing.assert_allclose(numbers, [explanation.logits[0, best], *explanation.probabilities[0]], rtol=1e-4)
        assert row["probability"] == row[f"probability of {row['class']}"]
    assert run("predict", "--model", model_folder, images, "--out", out) == 1
    assert "Results must not replace files" in capsys.readouterr().err
    assert run("predict", "--model", model_folder, images, "--out", out, "--overwrite") == 0
    assert list(rows_of(out)[0]) == ["file", "class", "probability", "logit"]
    capsys.readouterr()
    assert run("predict", "--model", model_folder, images) == 0
    assert capsys.readouterr().out == out.read_text(encoding="utf-8")


def test_predict_takes_networks_of_any_size_without_names(images, tmp_path, capsys):
    model = CoDANet(3, filters=(3,), ranks=2)
    model.save(tmp_path / "any.keras")
    write_image(images / "large.png", size=(600, 40))
    out = tmp_path / "out.csv"
    assert run("predict", "--model", tmp_path / "any.keras", images, "--out", out) == 0
    assert "reduced to at most 512 pixels per side: 1 of 4" in capsys.readouterr().err
    rows = {os.path.basename(row["file"]): row for row in rows_of(out)}
    assert {row["class"] for row in rows.values()} <= {"class 0", "class 1", "class 2"}
    logits = model.explain(images / "a.png").logits
    assert float(rows["a.png"]["logit"]) == pytest.approx(logits.max(), rel=1e-4)


@pytest.mark.parametrize("damage", [b"no image", b"", None])
def test_an_unreadable_image_is_named_and_nothing_is_written(damage, model_folder, images, tmp_path, capsys):
    bad = images / "zz.png"
    bad.write_bytes((images / "a.png").read_bytes()[:100] if damage is None else damage)
    out = tmp_path / "out.csv"
    assert run("predict", "--model", model_folder, images, "--out", out) == 1
    assert "zz.png" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_logits_that_are_not_finite_are_refused(images):
    model = CoDANet(2, input_shape=(8, 8, 3), filters=(2,), ranks=2)
    model.set_weights([weights * np.float32(np.nan) for weights in model.get_weights()])
    with pytest.raises(ValueError, match=r"logits must be finite. Received: file=.*a\.png"):
        predict_files(model, [images])


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are not text are those of Linux")
def test_names_of_files_need_not_be_text(model_folder, tmp_path):
    name = os.fsdecode(b"\xff.png")
    write_image(tmp_path / "a.png").rename(tmp_path / name)
    out = tmp_path / "out.csv"
    assert run("predict", "--model", model_folder, tmp_path / name, "--out", out) == 0
    assert os.fsencode(name) in out.read_bytes()


def test_predict_says_that_it_returns_logits():
    model = CoDANet(2, input_shape=(4, 4, 1), filters=(2,), ranks=2)
    assert "logits, not probabilities" in type(model).predict.__doc__
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), "uint8")
    logits = model.predict(images, 2, 0)
    np.testing.assert_allclose(logits, model.explain(images).logits, atol=1e-5)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(keras.ops.sigmoid(logits)), model.explain(images).probabilities, atol=1e-6
    )
