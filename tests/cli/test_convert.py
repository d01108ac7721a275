"""Claims about state dicts that `keras-coda convert` turns into preset folders."""

import json
from pathlib import Path

import numpy as np
import pytest

import keras_coda
from keras_coda.models import architectures
from keras_coda.models.files import load_network
from tests.helpers.commands import run, write_image
from tests.helpers.state_dicts import state_of

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = {"blocks": (1, 1), "filters": 4, "num_classes": 3, "bottleneck": False}


def state_file(folder, **config):
    np.savez(folder / "net.npz", **state_of(architectures.resnet_layers({**SMALL, **config})))
    return folder / "net.npz"


def test_photos_of_a_converted_network_are_prepared_as_for_imagenet(tmp_path, capsys):
    file, names = state_file(tmp_path), tmp_path / "names.txt"
    names.write_text("\ufeffcrane\nkäfer\r\ncrane \n", encoding="utf-8")
    out = tmp_path / "models" / "net"
    assert run("convert", "--from", "bcos", file, "--class-names", names, "--out", out, "--temperature", 2) == 0
    printed = capsys.readouterr().out
    assert "224x224, cut out of photos whose shorter side is resized to 256" in printed
    model = load_network(out)
    assert (type(model), model.class_names) == (keras_coda.BcosResNet, ("crane", "käfer", "crane"))
    assert (model.input_shape, model.temperature, model.b) == ((None, 224, 224, 3), 2.0, 2.0)
    assert json.loads((out / "config.json").read_text())["preparation"] == {"resize": 256, "crop": 224}
    np.testing.assert_array_equal(model.get_layer("bn1").gamma, np.load(file)["bn1.weight"])
    photo = write_image(tmp_path / "photo.png", size=(60, 40))
    assert run("predict", "--model", out, photo) == 0
    assert f"{photo.name},crane," in capsys.readouterr().out.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("stem", "options", "size", "preparation"),
    [
        ("small", (), (None, None), None),
        ("small", ("--resize", 9, "--crop", 8), (8, 8), {"resize": 9, "crop": 8}),
        ("large", ("--image-size", "32x40"), (32, 40), None),
        ("large", ("--resize", 40, "--crop", 32, "--b", 1.5), (32, 32), {"resize": 40, "crop": 32}),
    ],
)
def test_images_are_read_as_the_options_say(tmp_path, stem, options, size, preparation):
    assert run("convert", "--from", "bcos", state_file(tmp_path, stem=stem), "--out", tmp_path / "net", *options) == 0
    model = load_network(tmp_path / "net")
    assert model.input_shape[1:3] == size
    assert model.conventions == keras_coda.models.Conventions(preparation=preparation)
    assert model.b == (1.5 if "--b" in options else 2.0)


@pytest.mark.any_backend
def test_checkpoints_of_coda_nets_are_converted(tmp_path):
    out, golden = tmp_path / "net", GOLDEN / "squash_3layer.npz"
    assert run("convert", "--from", "coda", golden, "--out", out, "--logit-bias", -1, "--strides", "1,2,1") == 0
    model, expected = load_network(out), keras_coda.models.load_coda_checkpoint(golden)
    assert (model.logit_bias, model.temperature, model.strides) == (-1, expected.temperature, expected.strides)
    for found, wanted in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("names", ["one\ntwo\n", "one\n\nthree\n", ""])
def test_nothing_is_written_if_the_names_do_not_fit(tmp_path, names, capsys):
    (tmp_path / "names.txt").write_text(names)
    arguments = ("--class-names", tmp_path / "names.txt", "--out", tmp_path / "net")
    assert run("convert", "--from", "bcos", state_file(tmp_path), *arguments) == 1
    assert "Received: " in capsys.readouterr().err
    assert not (tmp_path / "net").exists()
