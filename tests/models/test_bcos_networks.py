"""Arguments, files and training of B-cos networks. Golden outputs are in test_bcos_checkpoints.py."""

import keras
import numpy as np
import pytest

from keras_coda import BcosDenseNet, BcosResNet
from keras_coda.models import presets
from tests.helpers.networks import assert_complete, pixels

SHAPE = (9, 8, 3)


def resnet(**arguments):
    options = {"input_shape": SHAPE, "blocks": (1, 1), "bottleneck": False, "filters": 4, "stem": "small"}
    return BcosResNet(3, **{**options, **arguments})


def densenet(**arguments):
    options = {"input_shape": SHAPE, "blocks": (1, 2), "growth": 3, "filters": 4, "stem": "small"}
    return BcosDenseNet(3, **{**options, **arguments})


@pytest.mark.parametrize(
    "model",
    [
        resnet(b=1.5, max_out=2, temperature=0.5, class_names="abc", pixel_dropout=0.1, frozen=("conv1",)),
        resnet(bottleneck=True, groups=2, group_width=32, stem="large", input_shape=(17, 16, 1), logit_bias=-2.0),
        densenet(bottleneck_factor=2, dtype="mixed_bfloat16"),
        densenet(stem="large", input_shape=(None, None, 3)),
    ],
)
def test_networks_are_explained_and_rebuilt_from_their_config(model, tmp_path):
    images = (
        pixels(2, (34, 33, model.input_shape[-1]))
        if None in model.input_shape[1:]
        else pixels(2, model.input_shape[1:])
    )
    explanation = model.explain(images, top_k=2)
    assert_complete(explanation)
    shapes = sorted(tuple(each.shape) for each in model.weights if "seed" not in each.path)
    assert sorted(type(model).weight_shapes(model.get_config())) == shapes
    model.save_to_preset(tmp_path / "preset")
    loaded = type(model).from_preset(tmp_path / "preset", dtype=model.dtype_policy.name)
    assert loaded.get_config() | {"name": None} == model.get_config() | {"name": None}
    np.testing.assert_allclose(loaded.explain(images, top_k=2).contributions, explanation.contributions, atol=1e-6)


def test_a_network_learns_and_its_statistics_are_kept_in_files(tmp_path):
    model, images, labels = resnet(), pixels(12, SHAPE), np.arange(12) % 3
    model.fit(images, labels, epochs=2, verbose=0)
    assert np.abs(np.asarray(model.get_layer("bn1").moving_variance) - 1).min() > 0.01
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6)


def test_another_number_of_classes_changes_head_and_bias_only(tmp_path):
    resnet(class_names="abc", frozen=("conv1", "fc")).save_to_preset(tmp_path / "preset")
    with pytest.warns(UserWarning, match="The weights of fc do not fit and are new"):
        model = BcosResNet.from_preset(tmp_path / "preset", num_classes=5)
    assert model.new_layers == ("fc",)
    assert model.logit_bias == pytest.approx(-np.log(4))
    assert (model.class_names, model.get_config()["frozen"]) == (None, ["conv1"])


def test_published_architectures_are_presets():
    model = BcosResNet.from_preset("bcos_resnet18", load_weights=False, input_shape=(32, 32, 3))
    assert model.count_params() == presets.preset_parameters("bcos_resnet18") == 11_697_920
    other = BcosResNet.from_preset("bcos_resnet20_cifar10", load_weights=False, num_classes=3)
    assert (other.num_classes, other.new_layers) == (3, ())
    assert other.logit_bias == pytest.approx(-np.log(2))
    with pytest.raises(ValueError, match="The preset must hold a BcosDenseNet"):
        BcosDenseNet.from_preset("bcos_resnet18")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resnet(blocks=()), "`blocks` must have one entry for each stage"),
        (lambda: resnet(stem="tiny"), "`stem` must be one of"),
        (lambda: resnet(groups=2), "Only bottlenecks have `groups`"),
        (lambda: resnet(bottleneck=True, group_width=4), "which must be 1 or more"),
        (lambda: resnet(b=0.5), "`b` must be at least 1"),
        (lambda: resnet(frozen=("conv9",)), "`frozen` must name layers with weights"),
        (lambda: resnet(class_names=["a"]), "`class_names` must have one name per class"),
        (lambda: BcosResNet(1), "`num_classes` must be at least 2"),
        (lambda: densenet(growth=0), "`growth` must be a positive integer"),
        (lambda: densenet(dtype="bfloat16"), "bfloat16"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
