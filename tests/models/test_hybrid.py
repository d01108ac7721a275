"""Claims about hybrids: a frozen or trained trunk, exact maps from the features on, and features kept on the disk."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import keras_coda
from experiments import depth
from keras_coda import DAUConv2D, Explanation
from keras_coda.evaluation import localization, pixel_removal
from keras_coda.explanations.decomposition import Decomposition
from keras_coda.explanations.explain import explain_without
from keras_coda.explanations.explainers import attributions
from keras_coda.explanations.files import explain_files
from keras_coda.explanations.masking import MaskedModel
from keras_coda.explanations.video import _captions as captions
from keras_coda.models import ExplainableClassifier
from keras_coda.training.features import cached_features, feature_data, split_at_features
from tests.helpers import quarters
from tests.helpers.hybrids import make, trunk
from tests.helpers.networks import assert_complete, pixels


def test_maps_are_exact_from_the_features_on_and_say_so():
    explanation = make().explain(pixels(3, (8, 8, 1)), top_k=2)
    assert_complete(explanation)
    assert explanation.wrt == "pool"
    assert explanation.contributions.shape == (3, 2, 4, 4)
    assert "by the output of 'pool'" in repr(explanation)
    texts = [text.get_text() for axes in explanation.plot().axes for text in axes.texts]
    assert "from layer pool on" in texts
    assert make().explain(pixels(1, (8, 8, 1)), wrt="dau_1").wrt == "dau_1"


def test_images_without_any_feature_have_maps_of_zeros_and_can_be_trained_on():
    model, black = make(trainable_trunk=True), np.zeros((2, 8, 8, 1), "uint8")
    explanation = model.explain(black)
    assert not explanation.contributions.any()
    np.testing.assert_allclose(explanation.logits, explanation.bias, rtol=1e-6)
    model.fit(black, np.array([0, 1]), epochs=2, verbose=0)
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


def test_results_for_files_are_whole_and_frames_of_videos_name_the_layer(tmp_path):
    keras.utils.save_img(tmp_path / "a.png", pixels(1, (8, 8, 1))[0], scale=False)
    model = make()
    explain_files(model, [tmp_path / "a.png"], tmp_path / "out", linear_map=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.npz", "a.png"]
    found = Explanation.load(tmp_path / "out" / "a.npz")
    assert (found.wrt, found.linear_map.shape) == ("pool", (1, 1, 4, 4, 6))
    with pytest.raises(ValueError, match="linear map on the encoded image. Received: wrt='pool'"):
        found.to_rgba()
    frame = SimpleNamespace(time=0.0)
    assert "reasons for a from layer pool on: logit" in captions(found, 0, frame, "a", 1.0)[1]


@pytest.mark.any_backend
def test_a_hybrid_is_trained_and_explained_on_any_backend():
    model, images = make(), pixels(8, (8, 8, 1))
    before = model.get_weights()
    model.fit(images, np.arange(8) % 4, epochs=1, batch_size=4, verbose=0)
    assert any((new != old).any() for new, old in zip(model.get_weights(), before, strict=True))
    explanation = model.explain(images, top_k=2)
    assert_complete(explanation)
    np.testing.assert_allclose(explanation.logits, model.predict(images, verbose=0), atol=1e-5)
    assert (explanation.wrt, explanation.contributions.shape) == ("pool", (8, 2, 4, 4))


@pytest.mark.slow
def test_a_hybrid_of_digits_is_trained_and_measured():
    data = keras_coda.data.load("digits")
    scaling = keras.layers.Rescaling(1 / 255)
    model = keras_coda.models.hybrid(trunk(), 10, layer="pool", ranks=4, preprocessing=scaling, trainable_trunk=True)
    model.compile(keras.optimizers.Adam(0.02))
    model.fit(data.train, epochs=3, verbose=0)
    found = localization(model, data.validation, n_grids=4, confidence=0, verbose=False)
    assert found.values.mean() > 0.3  # by chance 1/9
    least, most = (
        pixel_removal(model, data.validation, n_images=64, points=4, order=order, verbose=False).curve
        for order in ("least", "most")
    )
    assert least[-1] > most[-1]  # what the maps call important is


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (4, 4)])
def test_enlarged_maps_are_as_large_as_the_images_and_have_the_same_sums(size):
    explanation = make().explain(pixels(2, (8, 8, 1)))
    images = np.zeros((2, *size, 1), "float32")
    enlarged = type(explanation)(**{**vars(explanation), "images": images}).enlarged()
    assert enlarged.contributions.shape == (2, 1, *size)
    total = explanation.contributions.sum((2, 3))
    np.testing.assert_allclose(enlarged.contributions.sum((2, 3)), total, rtol=1e-4, atol=1e-5)
    if size == (8, 8):  # each location is four pixels
        blocks = enlarged.contributions.reshape(2, 1, 4, 2, 4, 2).sum((3, 5))
        np.testing.assert_allclose(blocks, explanation.contributions, rtol=1e-5)


@pytest.mark.parametrize("is_trained", [False, True])
def test_a_frozen_trunk_stays_as_it_is_and_another_is_trained(is_trained):
    model = make(trainable_trunk=is_trained)
    (part,) = [layer for layer in model.layers if layer.name == "trunk_part"]
    before = part.get_weights()
    images, labels = pixels(8, (8, 8, 1)), np.arange(8) % 4
    model.fit(images, labels, epochs=1, batch_size=4, verbose=0)
    unchanged = [np.array_equal(old, new) for old, new in zip(before, part.get_weights(), strict=True)]
    assert not all(unchanged) if is_trained else all(unchanged)
    assert model.trainable_weights


def test_files_keep_everything(tmp_path):
    model, images = make(), pixels(2, (8, 8, 1))
    model.save_to_preset(tmp_path / "net")
    loaded = ExplainableClassifier.from_preset(tmp_path / "net")
    np.testing.assert_array_equal(loaded.explain(images).contributions, model.explain(images).contributions)
    assert len(loaded.trainable_weights) == len(model.trainable_weights)
    assert loaded.class_names == tuple("abcd")
    assert model.with_input_shape((None, None, 1)).explain(pixels(1, (12, 10, 1))).contributions.shape == (1, 1, 6, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "poll"}, r"`layer` must be a layer of the trunk. Received: layer='poll'. Similar: pool"),
        ({"layer": None}, r"must be one feature map .*Received: layer='mean', shapes=\[\(None, 5\)\]"),
        ({"trunk": keras.Sequential()}, r"one input of images. Received: inputs=\[\], type='Sequential'"),
        ({"filters": (6, 3)}, "The last entry of `filters` must equal `num_classes`"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.usefixtures("eagerly")
def test_metrics_take_maps_as_large_as_images_and_remove_features_by_their_share_of_pixels():
    model, images, classes = make(), pixels(4, (8, 8, 1)).astype("float32"), np.array([[0], [1], [2], [3]], "int32")
    maps = attributions(None, model, images, classes)
    np.testing.assert_allclose(maps, model.explain(images, classes).enlarged().contributions)
    masked = MaskedModel(Decomposition.of(model))
    keep = np.ones((4, 8, 8, 1), "float32")
    logits = model(images)
    np.testing.assert_allclose(masked([images, keep]), logits, atol=1e-5)
    upper = keep * (np.arange(8) < 4)[:, None, None]
    assert np.abs(masked([images, upper]) - logits).max() > 1e-4
    explanation = model.explain(images, classes)
    without = explain_without(model, explanation, upper[..., 0] == 0)
    np.testing.assert_allclose(without.logits, masked([images, upper]), atol=1e-5)
    assert (without.wrt, without.classes.tolist()) == (explanation.wrt, classes.tolist())
    assert without.residual.max() < 1e-4
    assert np.isfinite(pixel_removal(model, [(images, classes[:, 0])], n_images=4, points=3, verbose=False).curve).all()


def test_heads_of_the_study_of_depth_replace_the_layers_behind_a_cut():
    layers = [[3, 1], [4, 2]]
    network = depth.conventional((8, 8, 1), layers, 3)
    for cut, (name, side) in enumerate((("pixels", 8), ("layer_1", 8), ("layer_2", 4))):
        explanation = depth.cut_after(network, cut, layers, 3).explain(pixels(2, (8, 8, 1)), jit_compile=False)
        assert_complete(explanation)
        assert (explanation.wrt if cut else "pixels") == name
        assert explanation.contributions.shape == (2, 1, side, side)
        model = depth.cut_after(network, cut, layers, 3)
        units = [layer.filters for layer in model.layers if isinstance(layer, DAUConv2D)]
        assert units == [[3, 4, 3], [4, 3], [3]][cut]
        assert len(model.trainable_weights) == 2 * len(units)


# === Features on the disk ===


def test_training_on_cached_features_gives_the_same_weights(tmp_path):
    images, labels = pixels(24, (8, 8, 1)), np.arange(24) % 4
    trained = []
    for is_cached in (False, True):
        model = make()
        part, head = split_at_features(model)
        head.compile(keras.optimizers.SGD(0.1))
        model.compile(keras.optimizers.SGD(0.1))
        fitted, inputs = (head, cached_features(part, images, tmp_path)) if is_cached else (model, images)
        fitted.fit(inputs, labels, epochs=3, batch_size=8, shuffle=False, verbose=0)
        trained.append(model.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_features_are_computed_once_and_again_for_other_weights_images_or_a_damaged_file(tmp_path, monkeypatch):
    part, _ = split_at_features(make())
    images = pixels(300, (8, 8, 1))
    first = cached_features(part, images, tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    with monkeypatch.context() as patch:
        patch.setattr(type(part), "predict", None)  # nothing is computed
        np.testing.assert_array_equal(cached_features(part, images, tmp_path), first)
    files[0].write_bytes(files[0].read_bytes()[:200])
    np.testing.assert_allclose(cached_features(part, images, tmp_path), first, atol=1e-6)
    part.set_weights([weight * 1.1 for weight in part.get_weights()])
    assert np.abs(cached_features(part, images, tmp_path) - first).max() > 1e-3
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(ValueError, match=r"as the trunk takes them. Received: images=\(2, 9, 8, 1\)"):
        cached_features(part, pixels(2, (9, 8, 1)), tmp_path)


def test_only_features_of_frozen_trunks_and_unchanged_images_are_kept(tmp_path):
    with pytest.raises(ValueError, match="the trunk must be frozen"):
        split_at_features(make(trainable_trunk=True))
    with pytest.raises(ValueError, match="must not be augmented. Received: augmentation='flip_crop'"):
        feature_data(make(), dataclasses.replace(quarters.make_data(), augmentation="flip_crop"), tmp_path)
