import json
import random
import re

import keras
import numpy as np
import pytest

from keras_coda import CoDANet, data
from keras_coda.models import ExplainableClassifier, NewLayersWarning, files, presets
from tests.helpers.networks import pixels, small


@pytest.mark.parametrize(
    ("name", "parameters", "input_shape"),
    [
        ("coda_s_cifar10", 7_782_816, (32, 32, 3)),  # as published
        ("coda_l_imagenet100", 47_517_408, (240, 240, 3)),
        ("coda_xs_cifar10", 3_368_000, (32, 32, 3)),
        ("coda_digits", 80_064, (8, 8, 1)),
    ],
)
def test_architectures_have_the_parameters_of_their_table(name, parameters, input_shape):
    model = CoDANet.from_preset(name, load_weights=False)
    assert model.count_params() == parameters
    assert model.input_shape[1:] == input_shape
    assert presets.preset_parameters(name) == parameters
    assert name in presets.preset_names()
    assert presets.preset_description(name)


BCOS = {
    "bcos_resnet18": 11_697_920,
    "bcos_resnet34": 21_806_080,
    "bcos_resnet50": 25_565_440,
    "bcos_resnet101": 44_557_568,
    "bcos_resnet152": 60_201_216,
    "bcos_resnext50_32x4d": 25_037_312,
    "bcos_densenet121": 7_987_264,
    "bcos_densenet169": 14_157_888,
    "bcos_densenet201": 20_022_336,
    "bcos_densenet161": 28_694_112,
    "bcos_resnet20_cifar10": 272_896,
}  # moving variances included


def test_bcos_architectures_have_the_parameters_of_the_published_networks():
    assert {name: presets.preset_parameters(name) for name in presets.preset_names() if name in BCOS} == BCOS


@pytest.mark.parametrize("name", ["bcos_resnet18", "bcos_resnet20_cifar10"])
def test_bcos_networks_are_built_as_they_are_counted(name):
    model = ExplainableClassifier.from_preset(name, load_weights=False)
    assert model.count_params() == BCOS[name]
    shapes = [tuple(variable.shape) for variable in model.weights]
    assert sorted(shapes) == sorted(type(model).weight_shapes(model.get_config()))


def test_presets_take_overrides():
    model = CoDANet.from_preset("coda_digits", load_weights=False, num_classes=4, temperature=7, input_shape=(9, 9, 3))
    assert (model.filters[-1], model.temperature, model.input_shape) == (4, 7.0, (None, 9, 9, 3))


def test_preset_folder_keeps_the_network_and_what_is_known_of_it(tmp_path):
    model = small(class_names=["cat", "dog", "käfer"], dtype="mixed_bfloat16")
    model.fit(pixels(), np.array([0, 1]), verbose=0)
    model.training_figures = {"accuracy": 0.5, "epochs": 1}
    model.save_to_preset(tmp_path / "net")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["config.json", "model.weights.h5"]
    contents = json.loads((tmp_path / "net" / "config.json").read_text())
    assert contents["pixels"].startswith("[0, 255]")
    loaded = CoDANet.from_preset(tmp_path / "net")
    assert loaded.class_names == ("cat", "dog", "käfer")
    assert loaded.training_figures == {"accuracy": 0.5, "epochs": 1}
    assert loaded.dtype_policy.name == "float32"  # a policy is a choice of whoever runs the network
    np.testing.assert_allclose(loaded.explain(pixels()).contributions, model.explain(pixels()).contributions)
    fresh = CoDANet.from_preset(str(tmp_path / "net"), load_weights=False)
    assert np.abs(np.subtract(fresh.get_weights()[0], model.get_weights()[0])).max() > 0
    hotter = CoDANet.from_preset(tmp_path / "net", temperature=20)
    np.testing.assert_allclose(hotter.explain(pixels()).contributions * 10, model.explain(pixels()).contributions, 1e-4)


def test_unknown_presets_name_near_matches():
    with pytest.raises(ValueError, match="Received: 'coda_digit'. Did you mean 'coda_digits'"):
        CoDANet.from_preset("coda_digit")
    with pytest.raises(ValueError, match=re.escape("Presets: ['coda_s_cifar10'")):
        CoDANet.from_preset("vit")
    with pytest.raises(ValueError, match="Received: 'resnet50'. Did you mean 'bcos_resnet50'"):
        CoDANet.from_preset("resnet50")


def test_an_architecture_without_weights_says_so():
    with pytest.raises(
        ValueError, match="must come with weights. Received: preset='coda_l_imagenet100', load_weights=True"
    ):
        CoDANet.from_preset("coda_l_imagenet100", load_weights=True)


def test_damaged_preset_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"A preset folder holds .* Received: '.*' with \[\]"):
        CoDANet.from_preset(tmp_path)
    small().save_to_preset(tmp_path / "net")
    weights = tmp_path / "net" / "model.weights.h5"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="model.weights.h5' .* truncated or changed. Copy the folder again"):
        CoDANet.from_preset(tmp_path / "net")
    weights.unlink()
    with pytest.raises(ValueError, match="no such file"):
        CoDANet.from_preset(tmp_path / "net")
    weights.write_bytes(whole)
    with pytest.raises(ValueError, match="must fit the architecture. Received: .* overrides={'ranks': 9}"):
        CoDANet.from_preset(tmp_path / "net", ranks=9)
    (tmp_path / "net" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"'config.json' of a preset must be as `save_to_preset` wrote it"):
        CoDANet.from_preset(tmp_path / "net")


@pytest.mark.parametrize(
    ("overrides", "new"),
    [
        ({"num_classes": 4}, ("dau_3",)),
        ({"num_classes": 4, "input_shape": (8, 7, 3)}, ("dau_1", "dau_3")),
        ({"ranks": (3, 7, 3)}, ("dau_2",)),
        ({"filters": (4, 5, 6, 3), "ranks": 3, "kernel_sizes": 3, "strides": 1}, ("dau_3", "dau_4")),
        ({"kernel_sizes": (3, 3, 1)}, ("dau_3",)),
    ],
)
def test_weights_that_fit_are_loaded_and_new_layers_are_named(overrides, new, tmp_path):
    model = small(frozen=("dau_1", "dau_3"))
    model.training_figures = {"accuracy": 1.0}
    model.save_to_preset(tmp_path / "net")
    with pytest.warns(NewLayersWarning, match=f"The weights of {', '.join(new)} do not fit and are new") as found:
        loaded = CoDANet.from_preset(tmp_path / "net", **overrides)
    assert found[0].filename == __file__
    assert loaded.new_layers == new
    assert loaded.training_figures == {}  # they are another network's
    for layer in loaded.layers:
        if layer.weights and layer.name not in new:
            for a, b in zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)
        assert layer.trainable or layer.name in {"dau_1", "dau_3"} - set(new)


@pytest.mark.filterwarnings("error::keras_coda.models.NewLayersWarning")
def test_overrides_that_change_no_weights_make_no_new_layers(tmp_path):
    small().save_to_preset(tmp_path / "net")
    for overrides in (
        {},
        {"temperature": 3},
        {"input_shape": (None, None, 2)},
        {"strides": 1},
        {"dtype": "mixed_bfloat16"},
    ):
        assert CoDANet.from_preset(tmp_path / "net", **overrides).new_layers == ()


def test_a_message_about_weights_shows_none_of_them(tmp_path):
    small().save_to_preset(tmp_path / "net")
    with pytest.raises(ValueError, match="must fit the architecture.* which change every layer") as found:
        CoDANet.from_preset(tmp_path / "net", num_classes=2, ranks=9)
    assert len(str(found.value)) < 300 + len(str(tmp_path))


def test_facts_that_json_cannot_keep_leave_nothing_behind(tmp_path):
    model = small()
    model.training_figures = {"loss": object()}
    with pytest.raises(TypeError, match="not JSON serializable"):
        model.save_to_preset(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_float16_weights_halve_the_file_and_hardly_change_the_logits(tmp_path):
    model = small(filters=(16, 32, 3), ranks=16)
    sizes = {}
    for dtype in ("float32", "float16"):
        model.save_to_preset(tmp_path / dtype, weights_dtype=dtype)
        sizes[dtype] = (tmp_path / dtype / "model.weights.h5").stat().st_size
    assert sizes["float16"] < 0.7 * sizes["float32"]
    loaded = CoDANet.from_preset(tmp_path / "float16")
    assert {weights.dtype for weights in loaded.weights} == {"float32"}
    contributions = model.explain(pixels()).contributions
    error = np.abs(loaded.explain(pixels()).contributions - contributions).max()
    assert 0 < error < 0.01 * np.abs(contributions).max()


def test_weights_too_large_for_float16_are_refused_and_nothing_is_written(tmp_path):
    model = small()
    model.set_weights([weights * 1e6 for weights in model.get_weights()])
    with pytest.raises(ValueError, match="below 65504 for float16"):
        model.save_to_preset(tmp_path / "net", weights_dtype="float16")
    with pytest.raises(ValueError, match="must be float32 or float16"):
        model.save_to_preset(tmp_path / "net", weights_dtype="int8")
    assert not any(tmp_path.iterdir())


def test_the_shipped_digits_network_works_offline():
    model, digits = CoDANet.from_preset("coda_digits"), data.load("digits")
    assert model.class_names == digits.class_names
    assert model.evaluate(digits.validation, verbose=0)[1] > 0.99  # not among the images it was trained on
    assert model.training_figures["validation_accuracy"] > 0.99
    images, _ = next(iter(digits.validation))
    assert model.explain(images).residual.max() < 1e-4


# === Initial weights ===


@pytest.fixture
def saved(tmp_path):
    model = small()
    model.save(tmp_path / "net.keras")
    model.save_to_preset(tmp_path / "net")
    return model, tmp_path / "net"


def test_networks_whose_weights_are_loaded_or_copied_draw_no_random_ones(saved, tmp_path, monkeypatch):
    def draw(*_, **__):
        raise AssertionError("random weights")

    monkeypatch.setattr(keras.initializers.RandomUniform, "__call__", draw)
    model, folder = saved
    copies = (
        CoDANet.from_preset(folder),
        files.load_network(f"{folder}.keras"),
        model.with_input_shape((None, None, 2)),
    )
    for copy in copies:
        for weights, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(weights, expected)
    model.save_to_preset(tmp_path / "half", weights_dtype="float16")
    with pytest.raises(ValueError, match="random weights"):
        CoDANet.from_preset(folder, load_weights=False)


def test_all_other_networks_have_random_weights(saved, monkeypatch):
    _, folder = saved
    with pytest.warns(NewLayersWarning):
        changed = CoDANet.from_preset(folder, num_classes=4)
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_: 1 / 0)
    with pytest.raises(ValueError, match="must fit the architecture"):
        CoDANet.from_preset(folder)
    for model in (changed, small(), CoDANet.from_preset(folder, load_weights=False)):
        assert all(np.ptp(weights) > 0 for weights in model.get_weights())


def test_loading_leaves_the_random_numbers_of_a_program_as_building_does(saved):
    state, numbers = random.getstate(), []
    for load_weights in (True, False):
        random.setstate(state)
        CoDANet.from_preset(saved[1], load_weights=load_weights)
        numbers.append(random.random())
    assert numbers[0] == numbers[1]
