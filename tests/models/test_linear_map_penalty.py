import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_coda.explanations.decomposition import Decomposition
from keras_coda.models import LinearMapPenalty
from keras_coda.models.penalties.linear_map import logits_and_linear_map, true_and_other_classes
from tests.helpers import penalized, reference
from tests.helpers.penalized import check_gradients, check_same_logs, step

LAMBDA = 0.3
make_model = functools.partial(penalized.make_model, num_classes=2)


def expected(layers, model, images, labels):
    """Loss and ``mean |W|`` of both classes of a network with two, in plain loops."""
    losses, magnitudes = [], []
    for image, label in zip(images, labels, strict=True):
        args = (image, layers, model.rescaling, model.temperature, model.logit_bias)
        logits, linear_map = reference.network(*args)
        signs = np.where(np.arange(2) == label, 1, -1)
        losses.append(np.mean(np.log1p(np.exp(-signs * logits))))
        magnitudes.append(np.abs(linear_map).mean() * model.temperature)  # W has no temperature in it
    return np.mean(losses), np.mean(magnitudes)


@pytest.mark.parametrize("rescaling", ["squash", "l2"])
def test_loss_and_gradient_are_those_of_the_paper_in_plain_loops(rescaling):
    import tensorflow as tf

    model = make_model(rescaling)
    model.compile(penalties=[LinearMapPenalty(LAMBDA)])
    images, labels = penalized.make_images(4, 2)
    x, y = tf.constant(images), tf.constant(labels)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), training=True)
    gradients = tape.gradient(loss, model.trainable_variables)
    layers = reference.model_layers(model)
    entropy, magnitude = expected(layers, model, images, labels)
    assert float(loss) == pytest.approx(entropy + LAMBDA * magnitude, rel=1e-5)
    logits, linear_map = logits_and_linear_map(Decomposition.of(model), x, y, keras.random.SeedGenerator(0))
    np.testing.assert_allclose(logits, model(x), rtol=1e-5)
    assert float(linear_map) == pytest.approx(magnitude, rel=1e-5)
    assert float(model.compute_loss(x, y, model(x), training=False)) == pytest.approx(entropy, rel=1e-5)

    def total(layers):
        entropy, magnitude = expected(layers, model, images, labels)
        return entropy + LAMBDA * magnitude

    check_gradients(gradients, layers, total)


def test_the_other_class_is_any_but_the_true_one():
    labels = np.arange(10).repeat(200)
    true, other = ops.convert_to_numpy(true_and_other_classes(labels, 10, keras.random.SeedGenerator(0))).T
    np.testing.assert_array_equal(true, labels)
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (true, other), 1)
    assert (np.diag(counts) == 0).all()
    assert counts[~np.eye(10, dtype=bool)].min() > 5  # about 22


@pytest.mark.parametrize("form", ["column", "one-hot", "soft"])
def test_labels_of_every_form_mean_the_same(form):
    labels = np.array([0, 2, 1, 1])
    one_hot = np.eye(3)[labels]
    others = {"column": labels[:, None], "one-hot": one_hot, "soft": 0.9 * one_hot + 0.1 / 3}[form]
    for y in (labels, others):
        np.testing.assert_array_equal(true_and_other_classes(y, 3, keras.random.SeedGenerator(0))[:, 0], labels)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"jit_compile": True}, {"dtype": "mixed_bfloat16"}])
def test_xla_and_mixed_precision_give_the_same_loss_and_map(options):
    images, labels = penalized.make_images(8, 2)
    options = {"num_classes": 2, "penalty": LinearMapPenalty(LAMBDA), **options}
    check_same_logs("linear_map", images, labels, **options)


@pytest.mark.slow
def test_fit_logs_the_map_and_makes_it_smaller():
    images, labels = penalized.make_images(16, 2)
    histories = []
    for weight in (0.0, 5.0):
        model = make_model()
        model.compile(keras.optimizers.Adam(0.02), penalties=[LinearMapPenalty(weight)])
        history = model.fit(images, labels, validation_data=(images, labels), epochs=8, verbose=0).history
        histories.append(history)
        assert not [name for name in history if name.startswith("val_linear")]
        assert len(model.evaluate(images, labels, verbose=0)) == 2
        explanation = model.explain(images, np.tile([0, 1], (16, 1)), linear_map=True)
        histories[-1]["after"] = np.abs(explanation.linear_map).mean() * model.temperature
    plain, regularized = histories
    assert "linear_map" not in plain
    assert regularized["linear_map"][-1] < 0.8 * regularized["linear_map"][0]
    assert regularized["after"] < 0.5 * plain["after"]
    assert regularized["loss"][-1] > regularized["val_loss"][-1] + regularized["linear_map"][-1]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_a_saved_model_goes_on_with_its_regularization(tmp_path):
    images, labels = penalized.make_images(4, 2)
    model = make_model()
    model.compile(penalties=[LinearMapPenalty(LAMBDA)])
    model.train_on_batch(images, labels)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.penalties == (LinearMapPenalty(LAMBDA),)
    assert step(loaded, images, labels) == pytest.approx(step(model, images, labels), rel=1e-5)
    model.compile()
    assert step(model, images, labels).keys() == {"accuracy", "loss"}


@pytest.mark.parametrize("weight", [-0.1, float("nan"), "much"])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(ValueError, match="`LinearMapPenalty.weight` must .*Received: LinearMapPenalty.weight="):
        make_model().compile(penalties=[LinearMapPenalty(weight)])
