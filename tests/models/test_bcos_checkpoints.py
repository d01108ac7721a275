"""Claims about B-cos networks from state dicts: the authors' outputs, the architecture, and files that do not fit."""

import json
import math
import pathlib

import numpy as np
import pytest

from keras_coda.models import UnreadableFileError, architectures, load_bcos_checkpoint
from keras_coda.models.bcos_checkpoints import architecture_of
from keras_coda.models.state_dicts import read_state_dict
from tests.helpers.state_dicts import safetensors, state_of

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
SETTINGS = {
    "bcos_resnet_basic": {},
    "bcos_resnet_bottleneck": {},
    "bcos_resnext_small_inputs": {"logit_temperature": 3, "groups": 2},
    "bcos_resnet_b125_maxout2": {"b": 1.25, "max_out": 2},
    "bcos_densenet": {},
}
SMALL = {"blocks": (1, 1), "filters": 4, "num_classes": 3, "bottleneck": False, "stem": "small"}


ON_ANY_BACKEND = pytest.param("bcos_resnext_small_inputs", marks=pytest.mark.any_backend)  # one is enough


@pytest.mark.parametrize("name", [name for name in SETTINGS if "resnext" not in name] + [ON_ANY_BACKEND])
def test_golden_outputs_of_the_authors_implementation_agree(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        fixture = dict(file)
    model = load_bcos_checkpoint(GOLDEN / f"{name}.npz", **SETTINGS[name])
    assert model.count_params() == sum(map(math.prod, model.weight_shapes(model.get_config())))
    classes = np.tile(np.arange(5), (2, 1))
    explanation = model.explain(fixture["image"] * 255, classes, linear_map=True, jit_compile=False)
    assert explanation.bias == pytest.approx(float(fixture["logit_bias"]))
    # With B = 1.25 the scale is steep where a cosine is near 0, which amplifies rounding, and logits reach 80: the
    # authors' own maps miss their logits by 1.3e-5.
    bound = 3e-5 if "b125" in name else 1e-5
    for actual, expected, atol in (
        (explanation.logits, fixture["logits"], 1e-5),
        (explanation.contributions, fixture["contributions"], bound),
        (explanation.linear_map[:, 0], fixture["linear_map_class0"], bound),
    ):
        np.testing.assert_allclose(actual, expected, atol=atol * np.abs(expected).max(), rtol=0)


def shapes_of(name):
    layers = architectures.densenet_layers if "dense" in name else architectures.resnet_layers
    return layers(architectures.architecture(name))


@pytest.mark.parametrize("name", [name for name in architectures.names() if name.startswith("bcos_")])
def test_the_architecture_follows_from_keys_and_shapes(name):
    state = state_of(shapes_of(name), make=lambda shape: np.broadcast_to(np.float32(1), shape))
    network_class, found = architecture_of(state, "net.pth")
    assert network_class.__name__ == ("BcosDenseNet" if "dense" in name else "BcosResNet")
    wanted = architectures.architecture(name)
    assert {key: found[key] for key in wanted if key != "input_shape"} | {
        "input_shape": wanted["input_shape"]
    } == wanted
    assert found["input_shape"] == (None, None, 3)
    layers = architectures.densenet_layers if "dense" in name else architectures.resnet_layers
    assert layers(found) == shapes_of(name)


@pytest.fixture
def state():
    return state_of(architectures.resnet_layers(SMALL))


def save(state, path):
    np.savez(path, **state)
    return path


@pytest.mark.any_backend
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "state/", "state/module."])
def test_prefixes_of_training_programs_are_dropped(tmp_path, state, prefix):
    path = save({prefix + key: value for key, value in state.items()}, tmp_path / "net.npz")
    model = load_bcos_checkpoint(path, image_size=(16, None), class_names="abc", logit_bias=-1)
    assert (model.input_shape, model.class_names, model.logit_bias) == ((None, 16, None, 3), ("a", "b", "c"), -1)
    kernel = model.get_layer("layer2_0_downsample_0").kernel
    np.testing.assert_array_equal(kernel, state["layer2.0.downsample.0.linear.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(model.get_layer("bn1").moving_variance, state["bn1.running_var"])


def test_pytorch_pickles_load(tmp_path, state):
    torch = pytest.importorskip("torch")
    torch.save({key: torch.tensor(value) for key, value in state.items()}, tmp_path / "net.pth")
    found = read_state_dict(tmp_path / "net.pth")
    assert list(found) == list(state)
    assert load_bcos_checkpoint(tmp_path / "net.pth").num_classes == 3


# === State dicts of other networks ===


def without(key):
    return lambda state: state.pop(key)


def with_entry(key, shape=(3,), value=1.0):
    return lambda state: state.update({key: np.full(shape, value, "float32")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layer1.0.conv2.linear.weight"), r"missing=\['layer1.0.conv2.linear.weight'\]"),
        (without("bn1.weight"), "missing='bn1.weight'"),
        (without("bn1.running_var"), r"missing=\['bn1.running_var'\]"),
        (without("fc.linear.weight"), "missing='fc.linear.weight'"),
        (without("conv1.linear.weight"), "Only ResNets and DenseNets can be loaded"),
        (with_entry("bn1.bias"), r"unknown=\['bn1.bias'\].* A norm with a bias adds constants"),
        (with_entry("layer1.7.conv1.linear.weight", (4, 4, 3, 3)), r"missing=\['layer1.1.conv1.linear.weight', "),
        (with_entry("conv1.linear.bias"), r"unknown=\['conv1.linear.bias'\]"),
        (with_entry("conv1.linear.weight", (4, 5, 3, 3)), r"'conv1.linear.weight' must be of shape .* \[x, 1 - x\]"),
        (with_entry("conv1.linear.weight", (4, 6, 5, 5)), "'conv1.linear.weight' must be of shape"),
        (with_entry("conv1.linear.weight", (5, 6, 3, 3)), "as many filters as 'bn1.weight' entries, or a multiple"),
        (with_entry("conv1.linear.weight", (4, 6)), "'conv1.linear.weight' must have 4 axes"),
        (with_entry("fc.linear.weight", (3, 5, 1, 1)), r"'fc.linear.weight' must be of shape \(3, 8, 1, 1\)"),
        (
            with_entry("layer2.0.bn1.weight", (4,)),
            r"'layer2.0.bn1.weight' must be of shape \(8,\). Received: shape=\(4,",
        ),
        (with_entry("bn1.running_var", (4,), -1.0), "'bn1.running_var' must be finite, and a variance not negative"),
        (with_entry("bn1.weight", (4,), np.nan), "'bn1.weight' must be finite"),
        (lambda state: state.update({"bn1.weight": np.zeros(4, complex)}), "'bn1.weight' must have real numbers"),
        (lambda state: state.update({f"layer{n}.0.x": np.zeros(1) for n in range(3, 99)}), "1 to 16 stages"),
        (lambda state: state.clear(), "has the key 'conv1.linear.weight'"),
    ],
)
def test_state_dicts_that_do_not_fit_are_refused_by_key(tmp_path, state, change, message):
    change(state)
    with pytest.raises(ValueError, match=message) as caught:
        load_bcos_checkpoint(save(state, tmp_path / "net.npz"))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("keys", [("conv1.weight", "bn1.bias", "fc.bias"), ("features.conv0.weight",)])
def test_state_dicts_of_conventional_networks_are_named_so(tmp_path, keys):
    path = save({key: np.zeros(3, "float32") for key in keys}, tmp_path / "net.npz")
    with pytest.raises(ValueError, match="This is a conventional network: train a B-cos network"):
        load_bcos_checkpoint(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_out": 2}, "`max_out` must be that of the file, 1. Received: max_out=2"),
        ({"groups": 2}, "`groups` must be that of the file, 1. Received: groups=2"),
        ({"b": 0.5}, "`b` must be at least 1"),
        ({"image_size": 5}, r"`image_size` must be \(height, width\)"),
        ({"logit_temperature": 0}, "temperature"),
        ({"class_names": ["a"]}, "class_names"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, state, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_bcos_checkpoint(save(state, tmp_path / "net.npz"), **arguments)


def test_nothing_is_built_for_files_that_do_not_fit(tmp_path, state, monkeypatch):
    monkeypatch.setattr("keras_coda.models.bcos_checkpoints.BcosResNet.__init__", None)
    state["bn1.weight"] = np.ones(10**6, "float32")
    state["conv1.linear.weight"] = np.ones((10**6, 2, 3, 3), "float32")
    with pytest.raises(ValueError, match="must be of shape"):
        load_bcos_checkpoint(save(state, tmp_path / "net.npz"))


# === Files of safetensors ===


def test_files_of_safetensors_hold_the_same_network(tmp_path, state):
    state["bn1.weight"] = state["bn1.weight"].astype("float16")
    halves = np.array([1.0, -2.5, 0.0, 2.0**100], "float32")  # bfloat16 has the upper 16 bits of them
    content = {**state, "bn1.running_var": (np.abs(halves).view("uint32") >> 16).astype("uint16")}
    (tmp_path / "net.safetensors").write_bytes(safetensors(content, {"bn1.running_var": "BF16"}))
    found = read_state_dict(tmp_path / "net.safetensors")
    assert list(found) == list(state)
    np.testing.assert_array_equal(found["bn1.running_var"], np.abs(halves))
    np.testing.assert_array_equal(found["conv1.linear.weight"], state["conv1.linear.weight"])
    model = load_bcos_checkpoint(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(model.get_layer("bn1").gamma, state["bn1.weight"].astype("float32"))


PAIR = {"a": np.ones((2, 3), "float32"), "b": np.ones(4, "float32")}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05\0\0\0\0\0\0\0",
        (10**9).to_bytes(8, "little") + b"{}",
        b"\x80\x80\x80\x80" * 10,
        (2).to_bytes(8, "little") + b"[]",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        safetensors(PAIR)[:-1],
        safetensors(PAIR) + b"\0",
        safetensors(PAIR, a={"shape": [3, 3]}),
        safetensors(PAIR, a={"shape": [-2, -3]}),
        safetensors(PAIR, a={"shape": [2.0, 3]}),
        safetensors(PAIR, a={"shape": [10**30, 6]}),
        safetensors(PAIR, a={"shape": 6}),
        safetensors(PAIR, a={"dtype": "F64"}),
        safetensors(PAIR, a={"dtype": "V24"}),
        safetensors(PAIR, b={"data_offsets": [0, 16]}),
        safetensors(PAIR, b={"data_offsets": [24, 40, 1]}),
        safetensors(PAIR, a={"data_offsets": [-24, 24]}),
        safetensors(PAIR, b={"data_offsets": ["24", "40"]}),
        json.dumps({}).encode(),
    ],
    ids=range(20),
)
def test_damaged_files_of_safetensors_are_refused(tmp_path, content):
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"Received: '.*net\.safetensors', which cannot be read"):
        load_bcos_checkpoint(tmp_path / "net.safetensors")


def test_truncated_and_missing_files_are_named(tmp_path):
    whole = (GOLDEN / "bcos_resnet_b125_maxout2.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ValueError, ImportError), match="half.npz|needs PyTorch"):
        load_bcos_checkpoint(tmp_path / "half.npz")
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        load_bcos_checkpoint(tmp_path / "nowhere.npz")
