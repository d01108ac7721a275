"""Claims about what the explorer computes, and about the networks it offers."""

import numpy as np
import pytest

from keras_coda import CoDANet
from keras_coda.explorer import networks as explorer_networks
from keras_coda.explorer.examples import examples
from keras_coda.explorer.networks import Networks, evidence, grid_shape, what_if
from keras_coda.layers.dynamic_linear import linearize_chain

pytestmark = pytest.mark.slow


def test_keras_files_are_offered_by_their_names(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        network = CoDANet(2, input_shape=(8, 8, 1), filters=(2,), ranks=1, class_names=("x", "y"))
        network.save(tmp_path / folder / "best.keras")
    networks = Networks(sorted(tmp_path.glob("*/best.keras")))
    assert networks.names[:2] == ("best", str(tmp_path / "b" / "best.keras"))
    assert networks["best"].class_names == ("x", "y")
    with pytest.raises(ValueError, match="must exist. Received: model='no.keras'"):
        Networks(["no.keras"])


def test_without_pixels_is_the_network_on_a_masked_encoding(digits_network):
    image = examples(1)[3].image((8, 8), 1)
    explanation = digits_network.explain(image)
    removed = np.random.default_rng(0).random((8, 8)) < 0.3
    without = digits_network.without(explanation, removed)

    encoded = np.concatenate([image / 255, 1 - image / 255], axis=-1)
    encoded[removed] = 0
    chain = [layer for layer in digits_network.model.layers if hasattr(layer, "pullback")]
    real = np.asarray(linearize_chain(chain, encoded[None].astype("float32"))[0])
    np.testing.assert_allclose(without.logits, real, atol=1e-4)
    assert without.classes.tolist() == explanation.classes.tolist() == [[3]]
    assert without.residual.max() < 1e-4
    assert not without.contributions[0, 0][removed].any()
    expected = (without.linear_map[0, 0] * encoded).sum(axis=-1)
    np.testing.assert_allclose(without.contributions[0, 0], expected, atol=1e-5)

    result = what_if(explanation, removed, without)
    assert result.real == pytest.approx(float(real[0, 3]), abs=1e-4)
    kept = explanation.contributions[0, 0][~removed].sum() + explanation.bias
    assert result.predicted == pytest.approx(float(kept), abs=1e-4)
    assert result.logit == pytest.approx(result.predicted + result.contribution, abs=1e-6)
    assert result.removed_share == removed.mean()


def test_without_no_pixel_nothing_changes_and_without_all_the_bias_is_left(digits_network):
    explanation = digits_network.explain(examples(1)[5].image((8, 8), 1), 2)
    none = digits_network.without(explanation, np.zeros((8, 8), bool))
    np.testing.assert_allclose(none.contributions, explanation.contributions, atol=1e-5)
    np.testing.assert_allclose(none.logits, explanation.logits, atol=1e-4)
    everything = digits_network.without(explanation, np.ones((8, 8), bool))
    np.testing.assert_allclose(everything.logits, explanation.bias, atol=1e-4)
    rule = r"number, height and width of the images. Received: removed=\(1, 3, 3\), images=\(1, 8, 8, 1\)"
    with pytest.raises(ValueError, match=rule):
        digits_network.without(explanation, np.zeros((3, 3), bool))


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (9, (3, 3))]
)
def test_grids_explain_all_images_as_one(digits_network, count, shape):
    images = [each.image((8, 8), 1) for each in examples(1)[:count]]
    grid = digits_network.grid(images, [str(index) for index in range(count)])
    assert (grid.rows, grid.columns) == shape == grid_shape(count)
    assert grid.explanation.contributions.shape == (1, 1, 8 * shape[0], 8 * shape[1])
    assert grid.explanation.residual.max() < 1e-3
    assert grid.shares.sum() == pytest.approx(1)
    assert grid.alone.tolist() == list(range(count))
    last, (row, column) = count - 1, divmod(count - 1, shape[1])
    shown = grid.explanation.images[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
    np.testing.assert_array_equal(shown, images[last])


def test_evidence_at_its_extremes():
    one = -np.ones((4, 6))
    one[2:, 2:4] = 5
    assert evidence(one, 2, 3).tolist() == [0, 0, 0, 0, 1, 0]
    np.testing.assert_allclose(evidence(np.ones((4, 6)), 2, 3), 1 / 6)
    assert not evidence(-np.ones((4, 6)), 2, 3).any()


def test_grids_have_one_to_nine_images(digits_network):
    image = examples(1)[0].image((8, 8), 1)
    for count in (0, 10):
        with pytest.raises(ValueError, match=f"1 to 9 images. Received: images={count}"):
            digits_network.grid([image] * count, [""] * count)


def test_photos_have_the_names_of_their_classes():
    network = Networks()["coda_xs_cifar10"]
    right = []
    for each, class_name in zip(examples(3), network.class_names, strict=False):
        explanation = network.explain(each.image(network.size, 3))
        assert each.name == f"{class_name} photo"
        assert explanation.residual.max() < 1e-4
        right.append(network.class_names[explanation.classes[0, 0]] == class_name)
    assert sum(right) >= 6


def test_a_grid_for_another_class_keeps_its_images(digits_network):
    images = [each.image((8, 8), 1) for each in examples(1)[:2]]
    first = digits_network.grid(images, ["a", "b"])
    grid = digits_network.grid_for_class(first, 7)
    assert (grid.rows, grid.columns, grid.names, grid.alone.tolist()) == (1, 2, ("a", "b"), [0, 1])
    assert grid.explanation.classes.tolist() == [[7]]
    np.testing.assert_array_equal(grid.explanation.images, first.explanation.images)
    np.testing.assert_array_equal(grid.shares, evidence(grid.explanation.contributions[0, 0], 1, 2))
    assert grid.explanation.residual.max() < 1e-3


# === Which networks there are ===


def test_networks_are_own_ones_then_those_with_weights_and_read_when_asked_for(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(explorer_networks, "Network", lambda source: made.append(source) or source)
    own = tmp_path / "photos" / "model"
    CoDANet(2, input_shape=(8, 8, 3), filters=(4, 2), ranks=2).save_to_preset(own)
    networks = Networks([own, "coda_digits"])
    shipped = ("coda_s_cifar10", "coda_xs_cifar10", "bcos_resnet20_cifar10")
    assert networks.names == ("photos/model", "coda_digits", *shipped)
    assert not made
    assert networks["photos/model"] == networks["photos/model"] == str(own)
    assert made == [str(own)]
    with pytest.raises(ValueError, match="The network must be one of"):
        networks["else"]


def test_networks_are_checked_before_anything_starts(tmp_path):
    with pytest.raises(ValueError, match="must have weights. Received: model='coda_l_imagenet100'"):
        Networks(["coda_l_imagenet100"])
    with pytest.raises(ValueError, match="nowhere"):
        Networks([tmp_path / "nowhere"])
    CoDANet(2, input_shape=(8, 8, 2), filters=(4, 2), ranks=2).save_to_preset(tmp_path / "two")
    with pytest.raises(ValueError, match=r"1 or 3 channels. Received: a network for 2"):
        Networks([tmp_path / "two"])["two"]
