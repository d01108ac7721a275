"""The commands, from data to maps, on every backend: the table of docs/performance.md."""

import csv
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_coda
from keras_coda.data import all_digits
from keras_coda.data.images import png
from keras_coda.training import checkpointing
from tests.helpers.commands import run

pytestmark = [pytest.mark.any_backend, pytest.mark.slow]
BACKEND = keras.backend.backend()


@pytest.fixture(scope="module")
def trained(tiny_digits, tmp_path_factory):
    """The folder of a training that was interrupted after the first of its epochs, and resumed; the exit codes."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    arguments = ["train", "--preset", tiny_digits, "--batch-size", "128", "--epochs", "2", "--out", out]
    arguments += ["--ema", "0.9", "--augmentation", "flip_crop", "--maps", "2", "--localization", "1", "--tensorboard"]
    with pytest.MonkeyPatch.context() as patch:
        original = checkpointing.Backup.on_epoch_end

        def on_epoch_end(self, epoch, logs=None):
            original(self, epoch, logs)
            raise KeyboardInterrupt

        patch.setattr(checkpointing.Backup, "on_epoch_end", on_epoch_end)
        interrupted = run(*arguments)
    backups = [path.name for path in (out / checkpointing.BACKUPS).iterdir()]
    return out, interrupted, backups, run(*arguments)


def test_train(trained):
    out, *_, code = trained
    assert code == 0
    with (out / checkpointing.LOG).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(np.isfinite(float(row["val_loss"])) for row in rows)
    assert float(rows[-1]["largest_residual"]) < 1e-5
    assert len(list((out / "maps").glob("*.png"))) == 2
    for part in ("maps", "train", "validation"):
        assert list((out / "tensorboard" / part).glob("events*")), part


def test_resume(trained):
    out, interrupted, backups, code = trained
    assert (interrupted, backups, code) == (130, ["epoch-000001"], 0)
    with (out / checkpointing.LOG).open(encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_evaluate(trained, tmp_path):
    model = trained[0] / "model"
    assert run("evaluate", "--model", model, "--json", tmp_path / "figures.json") == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    facts = json.loads((model / "config.json").read_text())["training_figures"]
    assert figures["accuracy"] == pytest.approx(facts["validation_accuracy"], abs=1e-6)
    assert figures["loss"] == pytest.approx(facts["validation_loss"], abs=1e-5)
    assert figures["largest_residual"] < 1e-5


def test_explain(trained, tmp_path, capsys):
    (tmp_path / "three.png").write_bytes(png(np.repeat(np.repeat(all_digits()[0][3], 2, 0), 3, 1)))  # is resized
    model, out = trained[0] / "model", tmp_path / "maps"
    assert run("explain", "--model", model, "--out", out, "--top-k", 2, tmp_path / "three.png") == 0
    residuals = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if "three.png" in line]
    assert len(residuals) == 2 > 1e6 * max(residuals)
    assert len(list(out.glob("*.png"))) > 0


def test_compare(trained, tmp_path, capsys):
    arguments = ["compare", "--model", trained[0] / "model", "--grids", 1, "--images", 16, "--out", tmp_path / "study"]
    assert run(*arguments, "--methods", "none") == 0
    assert "contribution maps" in capsys.readouterr().out
    assert (tmp_path / "study" / "comparison.png").is_file()
    assert run(*arguments, "--methods", "GradCAM") == 0
    assert "GradCAM" in capsys.readouterr().out


def test_save(trained, tmp_path):
    model = keras_coda.CoDANet.from_preset(trained[0] / "model")
    images = all_digits()[0][:4]
    expected = model.explain(images)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected.logits, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.explain(images).contributions, expected.contributions, atol=1e-6)


def test_export(trained, tmp_path, capsys):
    if BACKEND == "tensorflow":
        pytest.skip("tests/cli/test_export.py")
    assert run("export", "--model", trained[0] / "model", "--out", tmp_path / "served" / "1") == 1
    assert "KERAS_BACKEND=tensorflow" in capsys.readouterr().err
    assert not (tmp_path / "served").exists()


def test_averages_outlive_what_follows_a_training(tmp_path):
    images, labels = (part[:64] for part in all_digits())
    model = keras_coda.CoDANet(10, input_shape=(8, 8, 1), filters=(10,), ranks=2)
    model.compile(optimizer=keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5))
    for _ in range(2):
        model.fit(images, labels, verbose=0, callbacks=[keras_coda.training.ValidateAverages()])
        assert np.isfinite(model.evaluate(images, labels, verbose=0)).all()
    model.save(tmp_path / "averaged.keras")
    loaded = keras.saving.load_model(tmp_path / "averaged.keras")
    for ours, theirs in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (ours, theirs)))


@pytest.mark.skipif(BACKEND == "tensorflow", reason="tests/models/test_labels.py")
def test_labels_of_another_form_and_type_are_taken_by_the_same_network(recwarn):
    images, labels = (part[:64] for part in all_digits())
    assert labels.dtype == "int64"
    model = keras_coda.CoDANet(10, input_shape=(8, 8, 1), filters=(10,), ranks=2)
    for kind in (labels, keras.utils.to_categorical(labels, 10), labels[:, None]):
        model.fit(images, kind, verbose=0)
        assert np.isfinite(model.evaluate(images, kind, verbose=0)).all()
    assert not [str(one.message) for one in recwarn if "int64" in str(one.message) or "float64" in str(one.message)]


def test_the_table_of_the_documentation_is_what_is_tested_here():
    text = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    header, *rows = re.findall(r"^\| (backend|TensorFlow|JAX)(.*)\|$", text, flags=re.MULTILINE)
    columns = [cell.strip() for cell in header[1].split("|")[1:]]
    assert {f"test_{column}" for column in columns} <= globals().keys()
    table = {name: dict(zip(columns, map(str.strip, cells.split("|")[1:]), strict=True)) for name, cells in rows}
    assert table.keys() == {"TensorFlow", "JAX"}
    assert all(cell == "yes" for column in columns for cell in [table["TensorFlow"][column]])
    assert all((cell == "no") == (column == "export") for column, cell in table["JAX"].items())
