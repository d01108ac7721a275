import csv
import json

import pytest
from PIL import Image

from keras_coda import training
from keras_coda.models import presets
from keras_coda.training.recipes import Recipe
from keras_coda_cli import main


def train(out, *arguments):
    options = ["--data", "digits", "--batch-size", "240", "--out", out, *arguments]
    return main.main(["train", *map(str, options)])


def test_the_papers_recipe_with_everything_that_can_be_watched(tmp_path, capsys):
    options = ["--recipe", "paper", "--epochs", "2", "--ema", "0.5", "--linear-map-regularization", "0.01"]
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
    chosen = (recipe.recipe, recipe.epochs, recipe.batch_size, recipe.ema, recipe.linear_map_regularization)
    assert chosen == ("paper", 2, 240, 0.5, 0.01)
    assert (recipe.schedule, recipe.decay, recipe.augmentation) == ("step", 1.5, "flip_crop")
    assert not {"maps", "localization", "tensorboard"} & set(figures["arguments"])

    assert train(tmp_path, *options) == 0  # what only watches does not make it another training
    assert "is finished" in capsys.readouterr().out
    assert train(tmp_path, *options, "--learning-rate", "1e-3") == 1
    assert "learning_rate=0.001 (it was 0.00025)" in capsys.readouterr().err
    assert train(tmp_path, "--epochs", "1", "--restart", "--map-consistency", "0.5") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "model", "training.json"]
    assert "inconsistency" in (tmp_path / "log.csv").read_text().splitlines()[0].split(",")
    contents = json.loads((tmp_path / training.ARGUMENTS).read_text())
    assert contents["map_consistency"] == 0.5
    assert (contents["recipe"], contents["learning_rate"], contents["warmup"]) == ("default", 0.01, 0.1)
    assert "Estimate: " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("ema", "1.5"), ("linear-map-regularization", "-1"), ("map-consistency", "-1"), ("warmup", "1"),
        ("learning-rate", "0"),
    ],
)  # fmt: skip
def test_options_out_of_range_leave_nothing_behind(option, value, tmp_path, capsys):
    assert train(tmp_path / "run", f"--{option}", value) == 1
    assert f"`{option.replace('-', '_')}` must" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
