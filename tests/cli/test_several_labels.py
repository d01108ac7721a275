"""A CSV file of labels through the commands: train, evaluate, predict, and train on what was predicted."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet
from keras_coda.models.files import load_network
from tests.helpers.commands import run

pytestmark = [pytest.mark.any_backend, pytest.mark.slow]


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    """Images whose left half is red where they have the label red, and right half blue where they have blue."""
    folder = tmp_path_factory.mktemp("labeled")
    (folder / "images").mkdir()
    rows = ["file,red,blue"]
    for index in range(24):
        pixels = np.random.default_rng(index).integers(0, 60, (8, 8, 3), dtype="uint8")
        red, blue = index % 2, index // 2 % 2
        pixels[:, :4, 0] += np.uint8(180 * red)
        pixels[:, 4:, 2] += np.uint8(180 * blue)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
        rows.append(f"images/{index}.png,{red},{blue}")
    (folder / "labels.csv").write_text("\n".join(rows))
    CoDANet(2, input_shape=(8, 8, 3), filters=(8, 2), ranks=4, temperature=4).save_to_preset(folder / "preset")
    return folder


def test_the_commands_keep_several_labels_from_training_to_prediction(labeled, capsys, monkeypatch):
    arguments = ["--data", labeled / "labels.csv", "--batch-size", 4]
    out = labeled / "run"
    options = ["--preset", labeled / "preset", "--epochs", 8, "--learning-rate", 0.05]
    options += ["--maps", 1, "--augmentation", "none"]
    assert run("train", *arguments, *options, "--out", out) == 0
    shown = capsys.readouterr().out
    assert "Images may have any number of labels" in shown
    assert "validation mean average precision" in shown
    assert run("train", *arguments, *options, "--out", out) == 0
    assert "The training is finished" in capsys.readouterr().out
    model = load_network(out / "model")
    facts = json.loads((out / "model" / "config.json").read_text())
    assert model.multi_label
    assert model.class_names == ("red", "blue")
    assert list(model.thresholds) == facts["thresholds"]
    assert facts["training_figures"]["validation_auroc"] > 0.9
    assert "validation_data" not in facts["training_figures"]["arguments"]

    assert run("evaluate", "--model", out / "model", *arguments, "--json", labeled / "figures.json") == 0
    assert "f1" in capsys.readouterr().out
    assert json.loads((labeled / "figures.json").read_text())["f1"] > 0.9
    monkeypatch.chdir(labeled)
    assert run("predict", "--model", out / "model", "images", "--out", "predicted.csv") == 0
    with open("predicted.csv", newline="") as file, open("labels.csv", newline="") as true:
        predicted, true = (sorted(csv.reader(each)) for each in (file, true))
    assert sum(a == b for a, b in zip(predicted, true, strict=True)) > 20
    assert run("evaluate", "--model", out / "model", "--data", "predicted.csv") == 0


def test_networks_and_data_must_agree_on_the_kind_of_labels(labeled, model_folder, photos, capsys):
    assert run("evaluate", "--model", model_folder, "--data", labeled / "labels.csv") == 1
    assert "multi_label=True, and a network with multi_label=False" in capsys.readouterr().err
    assert run("train", "--data", photos, "--validation-data", labeled / "labels.csv", "--out", labeled / "x") == 2
