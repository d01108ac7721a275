import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet, Explanation, training
from keras_coda.models import presets
from tests.helpers.commands import run, write_image

ROOT = Path(__file__).parents[2]
COMMANDS = ("demo", "train", "evaluate", "explain", "export", "presets")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of images, dark ones and bright ones."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for label, low in (("dark", 0), ("bright", 150)):
        for index in range(8):
            path = write_image(folder / label / f"{index}.png", seed=index)
            Image.fromarray(np.asarray(Image.open(path)) // 3 + np.uint8(low)).save(path)
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A network for 8x8 color images of two classes, not trained but saved as if it were."""
    folder = tmp_path_factory.mktemp("model") / "model"
    model = CoDANet(2, input_shape=(8, 8, 3), filters=(4, 2), ranks=2, class_names=("bright", "dark"))
    model.save_to_preset(folder)
    return folder


# === Usage ===


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command, capsys):
    assert run(command, "--help") == 0
    shown = capsys.readouterr().out
    assert f"example:\n  keras-coda {command}" in shown
    assert shown.split("\n\n")[1].endswith(".")


def test_help_names_every_command_and_version_works(capsys):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"    {command} " in shown for command in COMMANDS)
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("keras-coda ")


@pytest.mark.parametrize(
    "arguments",
    [[], ["trian"], ["train"], ["train", "--out", "x", "--epochs", "0"], ["train", "--out", "x", "--image-size", "8x"],
     ["explain", "--model", "m", "--out", "x"], ["export", "--mod", "m", "--out", "x"],
     ["explain", "--model", "m", "--out", "x", "a.png", "--classes", "a", "--top-k", "2"]],
)  # fmt: skip
def test_wrong_usage_is_2(arguments, capsys):
    assert run(*arguments) == 2
    assert "usage: keras-coda" in capsys.readouterr().err


def test_help_and_errors_do_not_import_tensorflow():
    script = (
        "import sys\n"
        "from keras_coda_cli import main\n"
        "codes = [main.main(['--help']), main.main(['train', '--help']), main.main(['nothing'])]\n"
        "assert codes == [0, 0, 2], codes\n"
        "assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_presets_shows_the_numbers_of_parameters_of_the_networks(capsys):
    assert run("presets") == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert set(presets.names()) < set(rows)
    assert rows["coda_s_cifar10"][1] == "7,782,816"
    for name in ("coda_digits", "coda_xs_cifar10"):
        assert rows[name][1] == f"{CoDANet.from_preset(name, load_weights=False).count_params():,}"


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (OSError("disk full"), 1)])
def test_exit_codes_of_failures(error, code, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(presets, "names", fail)
    assert run("presets") == code
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert ("interrupted" if code == 130 else "keras-coda: error: disk full") in shown


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        run("evaluate", "--debug", "--model", tmp_path / "nowhere")


# === train and evaluate ===


def test_training_that_is_killed_goes_on(photos, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["train", "--preset", "coda_digits", "--data", photos, "--epochs", "40", "--batch-size", "8"]
    arguments = [str(argument) for argument in (*arguments, "--out", out)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_coda", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 600  # for machines under load
    while not training.epochs_done(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = training.epochs_done(out)
    assert 0 < done < 40

    assert run(*arguments[:-4], "--batch-size", "4", "--out", out) == 1
    assert "batch_size=4 (it was 8)" in capsys.readouterr().err
    assert training.epochs_done(out) == done

    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    assert f"goes on after epoch {done} of 40" in shown
    assert f"Epoch {done + 1}/40" in shown
    assert f"Epoch {done}/40" not in shown
    assert "Epoch 40/40" in shown
    contents = json.loads((out / "model" / presets.CONFIG_FILE).read_text())
    assert contents["training_figures"]["epochs"] == 40
    assert contents["training_figures"]["arguments"]["batch_size"] == 8
    assert contents["config"]["class_names"] == ["bright", "dark"]
    assert contents["config"]["input_shape"] == [8, 8, 3]

    before = (out / "model" / presets.WEIGHTS_FILE).read_bytes()
    assert run(*arguments) == 0
    assert "is finished" in capsys.readouterr().out
    assert (out / "model" / presets.WEIGHTS_FILE).read_bytes() == before

    figures = tmp_path / "figures.json"
    assert run("evaluate", "--model", out / "model", "--data", photos, "--json", figures) == 0
    assert "largest residual" in capsys.readouterr().out
    figures = json.loads(figures.read_text())
    assert figures["num_images"] == 3
    assert figures["accuracy"] == pytest.approx(contents["training_figures"]["validation_accuracy"])
    assert figures["largest_residual"] < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--preset", "coda_digts"], "Did you mean 'coda_digits'"), (["--data", "./nowhere"], "nowhere"),
     (["--validation-split", "1.5"], "validation_split"), (["--seed", "-1"], "Seed")],
)  # fmt: skip
def test_train_refuses_and_leaves_nothing_behind(arguments, message, tmp_path, capsys):
    assert run("train", "--out", tmp_path / "run", *arguments) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("keras-coda: error: ")
    assert message in shown
    assert not list(tmp_path.iterdir())


def test_evaluate_refuses_data_that_do_not_fit(model_folder, capsys):
    assert run("evaluate", "--model", model_folder, "--data", "digits") == 1
    assert "2 classes, 3 channels. Received: data 'digits', 10 classes, 1 channels" in capsys.readouterr().err


# === explain and export ===


def test_explain_writes_a_picture_and_the_numbers_of_every_image(model_folder, tmp_path, capsys):
    first = write_image(tmp_path / "a" / "same.png", seed=1)
    write_image(tmp_path / "b" / "same.png", seed=2, mode="L")
    write_image(tmp_path / "b" / "deeper" / "other.jpg", seed=3, size=(20, 30))
    write_image(tmp_path / "b" / "with_alpha.gif", seed=4, mode="L")
    (tmp_path / "b" / "notes.txt").write_text("no image")
    out = tmp_path / "b" / "reasons"
    arguments = ["explain", "--model", model_folder, first, tmp_path / "b", first, "--out", out]
    assert run(*arguments, "--classes", "dark, 0", "--linear-map") == 0
    names = {"a-same", "b-same", "other", "with_alpha"}
    assert {path.name for path in out.iterdir()} == {
        name + ending for name in names for ending in (".png", ".npz", ".linear_map.png")
    }
    rows = capsys.readouterr().out.strip().splitlines()[-8:]
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


def test_explain_sees_the_pixels_that_training_saw(photos, model_folder, tmp_path):
    from keras_coda import data

    image = photos / "dark" / "0.png"
    assert run("explain", "--model", model_folder, image, "--out", tmp_path) == 0
    seen = Explanation.load(tmp_path / "0.npz").images[0]
    loaded = data.load(photos, image_size=8, batch_size=1, augment=False)
    distances = [np.abs(one[0] - seen).max() for part in (loaded.train, loaded.validation) for one, _ in part]
    assert min(distances) < 1e-3


def test_explain_takes_images_as_they_are_if_the_network_takes_any_size(tmp_path):
    CoDANet(2, input_shape=(None, None, 1), filters=(2, 2), ranks=2).save_to_preset(tmp_path / "model")
    paths = [write_image(tmp_path / f"{side}.png", size=(side, 8)) for side in (6, 11)]
    assert run("explain", "--model", tmp_path / "model", *paths, "--wrt", "dau_1", "--out", tmp_path / "out") == 0
    shapes = [Explanation.load(tmp_path / "out" / f"{side}.npz").images.shape for side in (6, 11)]
    assert shapes == [(1, 8, 6, 1), (1, 8, 11, 1)]


@pytest.mark.parametrize("damage", ["text", "truncated", "animated", "missing", "empty folder"])
def test_an_unreadable_image_is_named_and_nothing_is_written(damage, model_folder, tmp_path, capsys):
    good, bad = write_image(tmp_path / "good.png"), tmp_path / "bad.png"
    if damage == "text":
        bad.write_text("no image")
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
     (["--top-k", "3"], "top_k"), (["--wrt", "conv"], "dau_1"), (["--model", "coda_s_cifar10"], "weights")],
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


def test_export_agrees_in_bare_tensorflow_and_refuses_a_folder_that_exists(model_folder, tmp_path, capsys):
    arguments = ["export", "--model", model_folder, "--out", tmp_path / "served" / "1", "--top-k", "2"]
    assert run(*arguments) == 0
    difference = capsys.readouterr().out.split("SavedModel against Keras")[1].split()[0]
    assert float(difference) < 1e-5
    assert run(*arguments) == 1
    assert "must not exist yet" in capsys.readouterr().err


# === demo ===


def test_demo_runs_into_the_folder_of_an_earlier_one(tmp_path, capsys):
    out = tmp_path / "demo"
    (out / "saved_model" / "1").mkdir(parents=True)
    (out / "training" / training.MODEL).mkdir(parents=True)
    (out / "training" / training.ARGUMENTS).write_text("{}")
    assert run("demo", "--out", out, "--epochs", "2") == 0
    shown = capsys.readouterr().out
    for row in ("validation accuracy", "largest completeness residual", "time per epoch", "SavedModel against Keras"):
        assert row in shown
    pictures = {path.name for path in (out / "pictures").iterdir()}
    assert pictures == {f"{n}.png" for n in ("certain", "uncertain", "all_classes", "inner_layer", "linear_map")}
    assert sorted(path.name for path in (out / "saved_model").iterdir()) == ["1", "2"]
    assert not list((out / "saved_model" / "1").iterdir())
    assert CoDANet.from_preset(out / "training" / training.MODEL).training_figures["epochs"] == 2
