import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_coda import CoDANet
from keras_coda.explanations.decomposition import Decomposition
from keras_coda.models import LinearMapPenalty, MapConsistency
from keras_coda.models.losses import soft_labels
from keras_coda.models.penalties import map_consistency
from keras_coda.models.penalties.map_consistency import masks, mix, whole_and_masked
from tests.helpers import reference
from tests.helpers.penalized import (
    check_gradients,
    check_same_logs,
    compile_seeded,
    make_images,
    make_model,
    seed_generator,
    step,
)

MU = 0.7


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def expected(layers, model, images, labels, classes, keep):
    """Loss without the penalty, and the penalty, of mixtures whose draws are known, in plain loops."""
    losses, divergences = [], []
    for image, label, target, left in zip(images, labels, classes, keep, strict=True):
        args = (image, layers, model.rescaling, model.temperature, model.logit_bias)
        logits, linear_map = reference.network(*args)
        masked, _ = reference.network(*args, left[..., None])
        encoded = np.concatenate([image / 255, 1 - image / 255], axis=-1)
        contributions = (linear_map[target] * encoded).sum(-1)
        foretold = model.logit_bias + (contributions * left).sum()
        p, q = sigmoid(masked[target]), sigmoid(foretold)
        divergences.append((p - q) * (np.log(p / (1 - p)) - np.log(q / (1 - q))))
        for some, weight in ((logits, 1), (masked, 0.25)):
            p = sigmoid(some)
            losses.append(weight * -np.mean(label * np.log(p) + (1 - label) * np.log(1 - p)))
    return np.sum(losses) / len(images), np.mean(divergences)


def draws(model, images, labels):
    """Return the mixtures, classes and masks of the first step after `compile_seeded`."""
    seed = seed_generator()
    mixtures, soft, classes = mix(ops.cast(images, "float32"), soft_labels(labels, model.num_classes), seed)
    contributions = Decomposition.of(model).explain(mixtures, classes[:, None])["contributions"][:, 0]
    found = (mixtures, soft, classes, masks(contributions, seed))
    return tuple(ops.convert_to_numpy(each).astype("float64" if n != 2 else int) for n, each in enumerate(found))


@pytest.mark.parametrize("rescaling", ["squash", "l2"])
def test_loss_and_gradient_are_those_of_plain_loops(rescaling):
    import tensorflow as tf

    model = make_model(rescaling, temperature=0.3, pixel_dropout=0.5)  # dropout is left out
    compile_seeded(model, MapConsistency(MU))
    images, labels = make_images()
    x, y = tf.constant(images), tf.constant(labels)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x), training=True)
    gradients = tape.gradient(loss, model.trainable_variables)
    known = draws(model, images, labels)
    layers = reference.model_layers(model)
    entropy, divergence = expected(layers, model, *known)
    assert divergence > 1e-3
    assert float(loss) == pytest.approx(entropy + MU * divergence, rel=1e-5)
    _, _, _, found = whole_and_masked(Decomposition.of(model), x, y, None, seed_generator())
    assert float(found) == pytest.approx(divergence, rel=1e-4)

    def total(layers):
        entropy, divergence = expected(layers, model, *known)
        return entropy + MU * divergence

    check_gradients(gradients, layers, total)


def test_about_half_of_the_images_are_mixed_with_another_and_their_labels_alike():
    values = np.arange(400, dtype="float32")
    images, labels = np.tile(values[:, None, None, None], (1, 2, 2, 3)), np.eye(400, dtype="float32")
    mixed, soft, classes = map(ops.convert_to_numpy, mix(images, labels, keras.random.SeedGenerator(0)))
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(mixed, np.tile((soft @ values)[:, None, None, None], (1, 2, 2, 3)), rtol=1e-4)
    own = np.diag(soft)
    is_mixed = own < 1
    assert 150 < is_mixed.sum() < 250
    assert own.min() >= 0.5
    assert own[is_mixed].max() <= 0.9
    assert (soft[np.arange(400), classes] > 0).all()
    is_other = classes != np.arange(400)
    assert not is_other[~is_mixed].any()
    assert 0.25 < is_other[is_mixed].mean() < 0.55


@given(
    st.integers(0, 2**31 - 1), st.integers(4, 40), st.integers(4, 40),
)  # fmt: skip
def test_what_goes_is_least_by_the_map_or_lies_in_windows(seed, height, width):
    contributions = np.random.default_rng(seed).standard_normal((16, height, width)).astype("float32")
    keep = ops.convert_to_numpy(masks(contributions, keras.random.SeedGenerator(seed)))
    assert keep.shape == contributions.shape
    assert set(np.unique(keep)) <= {0, 1}
    is_by_map = [
        left.all() or left.min() == 1 or values[left == 0].max() < values[left == 1].min()
        for values, left in zip(contributions, keep, strict=True)
    ]
    removed = 1 - keep.mean((1, 2))
    assert (removed[is_by_map] <= 0.28 + 1 / (height * width)).all()
    for left in keep[~np.array(is_by_map)]:  # every pixel that goes has a neighbor that does, or windows are that small
        gone = np.pad(left == 0, 1)
        neighbors = gone[:-2, 1:-1] | gone[2:, 1:-1] | gone[1:-1, :-2] | gone[1:-1, 2:]
        assert height < 16 or neighbors[left == 0].mean() > 0.5


def test_both_ways_of_removal_occur():
    contributions = np.random.default_rng(0).standard_normal((300, 32, 32)).astype("float32")
    keep = ops.convert_to_numpy(masks(contributions, keras.random.SeedGenerator(0)))
    kept = np.array([values[left == 1].min() for values, left in zip(contributions, keep, strict=True)])
    gone = np.array([values[left == 0].max(initial=-9) for values, left in zip(contributions, keep, strict=True)])
    assert 0.35 < (gone < kept).mean() < 0.65
    in_windows = 1 - keep[gone >= kept].mean((1, 2))
    assert 0.08 < in_windows.mean() < 0.25


@pytest.mark.parametrize("form", ["column", "one-hot", "soft"])
def test_labels_of_every_form(form):
    labels = np.array([0, 2, 1, 1])
    one_hot = np.eye(3)[labels]
    others = {"column": labels[:, None], "one-hot": one_hot, "soft": 0.9 * one_hot + 0.1 / 3}[form]
    wanted = others if form == "soft" else one_hot
    np.testing.assert_allclose(soft_labels(others, 3), wanted, rtol=1e-6)
    assert np.isnan(ops.convert_to_numpy(soft_labels(np.array([3, -1]), 3))).all()


@pytest.mark.usefixtures("eagerly")
def test_a_label_that_does_not_exist_makes_the_loss_nan():
    model = make_model()
    model.compile(penalties=[MapConsistency(MU)])
    images, labels = make_images()
    assert np.isnan(step(model, images, labels + 1)["loss"])


def test_sample_weights_count():
    images, labels = make_images()
    losses = []
    for weights in (None, np.ones(6), np.full((6, 1), 3.0), np.zeros(6)):
        model = make_model()
        compile_seeded(model, MapConsistency(1e-9))
        losses.append(float(model.compute_loss(images, labels, model(images), weights)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[2] == pytest.approx(3 * losses[0], rel=1e-5)
    assert losses[3] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"jit_compile": True}, {"dtype": "mixed_bfloat16"}])
def test_xla_and_mixed_precision_give_the_same(options, monkeypatch):
    # XLA draws other random numbers, so here nothing is drawn.
    classes = np.array([0, 2, 1, 1, 0, 2, 2, 0])
    monkeypatch.setattr(map_consistency, "mix", lambda images, labels, _: (0.8 * images, labels, ops.array(classes)))
    monkeypatch.setattr(map_consistency, "masks", lambda maps, _: ops.cast(maps > ops.mean(maps), "float32"))
    images, labels = make_images(8)
    check_same_logs("inconsistency", images, labels, penalty=MapConsistency(MU), **options)


@pytest.mark.slow
def test_fit_on_images_of_any_size_logs_it_and_makes_maps_foretell_better():
    images, labels = make_images(48)
    after = []
    for weight in (0.0, 5.0):
        keras.utils.set_random_seed(0)
        model = CoDANet(3, filters=(4, 3), ranks=2, strides=1, input_shape=(None, None, 1), temperature=3)
        model.compile(keras.optimizers.Adam(0.02), penalties=[MapConsistency(weight)])
        data = {"validation_data": (images, labels), "epochs": 12, "batch_size": 16, "verbose": 0}
        history = model.fit(images, labels, **data).history
        assert not [name for name in history if name.startswith("val_incons")]
        assert ("inconsistency" in history) == (weight > 0)
        assert len(model.evaluate(images, labels, verbose=0)) == 2
        seed = keras.random.SeedGenerator(1)
        values = [whole_and_masked(Decomposition.of(model), images, labels, None, seed)[-1] for _ in range(4)]
        after.append(np.mean(values))
    assert after[1] < 0.5 * after[0]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_a_saved_model_goes_on_with_it_and_another_compilation_ends_it(tmp_path):
    images, labels = make_images()
    model = make_model()
    model.compile(penalties=[MapConsistency(MU)])
    model.train_on_batch(images, labels)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.penalties == (MapConsistency(MU),)
    assert step(loaded, images, labels).keys() == {"accuracy", "inconsistency", "loss"}
    model.compile(penalties=[LinearMapPenalty(0.1)])
    assert step(model, images, labels).keys() == {"accuracy", "linear_map", "loss"}
    model.compile()
    assert step(model, images, labels).keys() == {"accuracy", "loss"}


@pytest.mark.parametrize("weight", [-0.1, float("nan"), "much"])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(ValueError, match="`MapConsistency.weight` must .*Received: MapConsistency.weight="):
        make_model().compile(penalties=[MapConsistency(weight)])
