import pathlib

import numpy as np
import pytest

from keras_coda.models.torch_checkpoints import load_coda_checkpoint

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def states(name):
    """The state dict alone, and the arguments it does not determine."""
    fixture = golden(name)
    state = {key.removeprefix("state/"): value for key, value in fixture.items() if key.startswith("state/")}
    names = ("strides", "rescaling", "temperature", "logit_bias")
    return state, {key: fixture[f"config/{key}"].tolist() for key in names}


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", ["squash_3layer", "l2_stride3"])
def test_golden_outputs_of_the_authors_implementation_agree(name, jit_compile):
    fixture = golden(name)
    model = load_coda_checkpoint(GOLDEN / f"{name}.npz")
    classes = np.tile(np.arange(model.num_classes), (len(fixture["image"]), 1))
    explanation = model.explain(fixture["image"] * 255, classes, linear_map=True, jit_compile=jit_compile)
    for field in ("logits", "linear_map", "contributions"):
        expected = fixture[field]
        np.testing.assert_allclose(getattr(explanation, field), expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("prefix", ["", "module.", "state/", "state/module."])
def test_npz_of_a_bare_state_dict_loads_with_arguments(tmp_path, prefix):
    state, arguments = states("squash_3layer")
    np.savez(tmp_path / "net.npz", **{prefix + key: value for key, value in state.items()})
    model = load_coda_checkpoint(tmp_path / "net.npz", class_names="0123456789", **arguments)
    fixture = golden("squash_3layer")
    np.testing.assert_allclose(model.explain(fixture["image"] * 255).logits, fixture["logits"], atol=1e-5)
    assert model.class_names[3] == "3"


def test_pytorch_pickle_loads_and_is_read_safely(tmp_path):
    torch = pytest.importorskip("torch")
    state, arguments = states("l2_stride3")
    torch.save({f"module.{key}": torch.tensor(value) for key, value in state.items()}, tmp_path / "net.pt")
    model = load_coda_checkpoint(tmp_path / "net.pt", **arguments)
    fixture = golden("l2_stride3")
    np.testing.assert_allclose(model.explain(fixture["image"] * 255).logits, fixture["logits"], atol=1e-5)

    class Evil:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "was_here",)

    torch.save({"0.weight_mod.weighting_f.0.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        load_coda_checkpoint(tmp_path / "evil.pt", strides=1)
    assert not (tmp_path / "was_here").exists()


def changed(state, **changes):
    """A state dict with entries of layer 1 replaced, or dropped where None."""
    keys = {"B": "1.weight_mod.weighting_f.0.weight", "A": "1.weight_mod.weighting_f.1.weight"}
    state = {**state, **{keys.get(key, key): value for key, value in changes.items()}}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": None}, r"Received: layer 1 with \['0.weight', '1.bias'\]"),
        ({"A": np.zeros((5, 9, 1, 1))}, r"Shapes must be .* Received: layer 1 with B \(9, 8, 3, 3\), A \(5, 9, 1, 1\)"),
        ({"B": np.zeros((9, 4, 3, 3))}, "Every layer must take the channels of the one before. Received: layer 0 with"),
        ({"fc.weight": np.zeros(3)}, r"Keys must look like .* Received: \['fc.weight'\]"),
    ],
)
def test_wrong_state_dicts_are_named(tmp_path, changes, message):
    state, arguments = states("squash_3layer")
    np.savez(tmp_path / "net.npz", **changed(state, **changes))
    with pytest.raises(ValueError, match=message):
        load_coda_checkpoint(tmp_path / "net.npz", **arguments)


@pytest.mark.parametrize(
    "config",
    [{"image_size": 5}, {"image_size": "abc"}, {"image_size": (8, "x")}, {"strides": "abc"}, {"strides": [1, 2]},
     {"rescaling": [1]}, {"temperature": [1.0, 2.0]}, {"temperature": np.nan}, {"logit_bias": "x"}],
    ids=str,
)  # fmt: skip
def test_settings_in_a_file_that_make_no_sense_are_refused(tmp_path, config):
    state, arguments = states("squash_3layer")
    config = {f"config/{name}": np.array(value) for name, value in {**arguments, **config}.items()}
    np.savez(tmp_path / "net.npz", **state, **config)
    with pytest.raises(ValueError, match="Received: "):
        load_coda_checkpoint(tmp_path / "net.npz")


@pytest.mark.parametrize("dtype", ["complex64", "S4", "bool", "datetime64[s]"])
def test_weights_that_are_no_real_numbers_are_refused(tmp_path, dtype):
    state, arguments = states("squash_3layer")
    np.savez(tmp_path / "net.npz", **{key: value.astype(dtype) for key, value in state.items()})
    with pytest.raises(ValueError, match="must be real numbers. Received: layer=0"):
        load_coda_checkpoint(tmp_path / "net.npz", **arguments)


def test_strides_must_be_known(tmp_path):
    state, _ = states("squash_3layer")
    np.savez(tmp_path / "net.npz", **state)
    with pytest.raises(ValueError, match=r"do not tell the strides .* Give an int or one per layer \(3\)"):
        load_coda_checkpoint(tmp_path / "net.npz")


def test_truncated_and_missing_files_are_named(tmp_path):
    whole = (GOLDEN / "squash_3layer.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ValueError, ImportError), match="half.npz|needs PyTorch"):
        load_coda_checkpoint(tmp_path / "half.npz")
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        load_coda_checkpoint(tmp_path / "nowhere.npz")
