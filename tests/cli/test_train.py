import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_coda import BcosResNet, CoDANet, training
from keras_coda.models import ExplainableClassifier, hybrid, presets
from keras_coda.training.recipes import Recipe
from tests.helpers.commands import run
from tests.helpers.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def train(tiny_digits):
    """A function that trains a small network on the digits."""

    def train(out, *arguments):
        options = ["--preset", tiny_digits, "--data", "digits", "--batch-size", "240", "--out", out]
        return run("train", *options, *arguments)

    return train


@pytest.mark.slow
def test_the_papers_recipe_with_everything_that_can_be_watched(train, tmp_path, capsys):
    options = ["--recipe", "paper", "--epochs", "2", "--ema", "0.5", "--penalty", "linear_map=0.01"]
    watched = ["--maps", "3", "--localization", "2", "--tensorboard"]
    assert train(tmp_path, *options, *watched) == 0
    shown = capsys.readouterr().out
    assert "Estimate: " in shown
    assert "for 2 epochs of 6 steps" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "log.csv", "maps", "model", "tensorboard", "training.json"
    ]  # fmt: skip
    pictures = sorted((tmp_path / "maps").iterdir())
    assert [path.name for path in pictures] == ["epoch-000001.png", "epoch-000002.png"]
    with Image.open(pictures[1]) as picture:
        assert picture.width > 200
    assert {path.name for path in (tmp_path / "tensorboard").iterdir()} == {"maps", "train", "validation"}
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"linear_map", "localization", "largest_residual", "val_accuracy", "learning_rate"} < set(rows[0])
    assert float(rows[1]["largest_residual"]) < 1e-4
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([2.5e-4] * 2)

    figures = json.loads((tmp_path / "model" / presets.CONFIG_FILE).read_text())["training_figures"]
    recipe = Recipe(**figures["recipe"])
    chosen = (recipe.recipe, recipe.epochs, recipe.batch_size, recipe.ema, recipe.penalties)
    assert chosen == ("paper", 2, 240, 0.5, {"linear_map": 0.01})
    assert (recipe.schedule, recipe.decay, recipe.augmentation) == ("step", 1.5, "flip_crop")
    assert not {"maps", "localization", "tensorboard"} & set(figures["arguments"])

    assert train(tmp_path, *options) == 0  # what only watches does not make it another training
    assert "is finished" in capsys.readouterr().out
    assert train(tmp_path, *options, "--learning-rate", "1e-3") == 1
    assert "learning_rate=0.001 (it was 0.00025)" in capsys.readouterr().err
    assert train(tmp_path, "--epochs", "1", "--restart", "--penalty", "map_consistency=0.5") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "model", "training.json"]
    assert "inconsistency" in (tmp_path / "log.csv").read_text().splitlines()[0].split(",")
    contents = json.loads((tmp_path / training.ARGUMENTS).read_text())
    assert contents["penalties"] == {"map_consistency": 0.5}
    assert (contents["recipe"], contents["learning_rate"], contents["warmup"]) == ("default", 0.01, 0.1)
    assert "Estimate: " not in capsys.readouterr().out


def test_localization_of_two_classes_is_measured_on_strips(tiny_digits, photos, tmp_path, capsys):
    options = ["train", "--preset", tiny_digits, "--data", photos, "--epochs", "1"]
    options += ["--localization", "1", "--out", tmp_path / "run"]
    assert run(*options, "--grid", "2") == 1
    assert "A grid needs 4 different classes. Received: grid=2, num_classes=2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run(*options) == 0
    assert "grids of 1x2 images (chance 0.500)" in capsys.readouterr().out
    assert "localization" in (tmp_path / "run" / "log.csv").read_text()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("ema", "1.5"), ("penalty", "linear_map=-1"), ("penalty", "map_consistency=-1"), ("warmup", "1"),
        ("learning-rate", "0"), ("temperature", "0"), ("pixel-dropout", "1"), ("learning-rate", "nan"),
    ],
)  # fmt: skip
def test_options_out_of_range_leave_nothing_behind(option, value, train, tmp_path, capsys):
    assert train(tmp_path / "run", f"--{option}", value) == 1
    assert f"--{option} must" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_training_that_is_killed_goes_on(tiny_digits, photos, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["train", "--preset", tiny_digits, "--data", photos, "--epochs", "40", "--batch-size", "8"]
    arguments = [str(argument) for argument in (*arguments, "--out", out)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_coda", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: training.epochs_done(out), process)
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


def test_new_layers_are_trained_alone_and_a_finished_training_says_how_to_go_on(photos, tmp_path, capsys):
    model = CoDANet(3, input_shape=(8, 8, 3), filters=(4, 3), ranks=2)
    model.save_to_preset(tmp_path / "pretrained")
    options = ["train", "--preset", tmp_path / "pretrained", "--data", photos, "--freeze", "--out", tmp_path / "run"]
    assert run(*options, "--epochs", "1") == 0
    assert "New layers, with random weights: dau_2. The others are the preset's." in capsys.readouterr().out
    trained = CoDANet.from_preset(tmp_path / "run" / "model")
    np.testing.assert_array_equal(trained.get_weights()[1], model.get_weights()[1])
    assert run(*options, "--epochs", "1") == 0
    assert f"--preset {tmp_path / 'run' / 'model'} --out ANOTHER trains it further" in capsys.readouterr().out
    assert run(*options, "--epochs", "2") == 1
    assert "To train the finished network further, start from it in another folder" in capsys.readouterr().err
    assert (
        run("train", "--preset", tmp_path / "run" / "model", "--data", photos, "--freeze", "--out", tmp_path / "b") == 1
    )
    assert "Leave it out, to train all layers" in capsys.readouterr().err


def bcos():
    return BcosResNet(3, input_shape=(8, 8, 3), blocks=(1, 1), bottleneck=False, filters=4, stem="small")


def graph():
    images = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(4, 3, activation="relu", name="features")(images)
    return hybrid(keras.Model(images, features), 3, filters=(4, 3), ranks=2)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "new"), [(bcos, "fc"), (graph, "dau_2")])
def test_new_layers_of_other_networks_are_trained_alone(make, new, photos, tmp_path, capsys):
    model = make()
    model.save_to_preset(tmp_path / "pretrained")
    options = ["train", "--preset", tmp_path / "pretrained", "--data", photos, "--freeze", "--out", tmp_path / "run"]
    if make is graph:
        assert run(*options, "--temperature", "5") == 1
        assert "which a graph of layers has not. Received: --preset" in capsys.readouterr().err
    assert run(*options, "--epochs", "1", "--dtype", "mixed_bfloat16") == 0
    assert f"New layers, with random weights: {new}. The others are the preset's." in capsys.readouterr().out
    trained = ExplainableClassifier.from_preset(tmp_path / "run" / "model")
    assert trained.class_names == ("bright", "dark")
    for layer in model.layers:  # also the statistics of normalizations
        if layer.name != new:
            for before, after in zip(layer.get_weights(), trained.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(after, before)
    assert [layer.name for layer in trained.layers if layer.weights and layer.trainable] == [new]
    assert trained.explain(np.zeros((1, 8, 8, 3), "uint8")).residual.max() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--preset", "coda_digts"], "Did you mean 'coda_digits'"), (["--data", "./nowhere"], "nowhere"),
     (["--validation-split", "1.5"], "--validation-split must"), (["--seed", "-1"], "--seed must"),
     (["--penalty", "linear=0.1"], "linear_map"), (["--preset", "coda_l_imagenet100", "--pretrained"], "weights")],
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
