import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_coda import CoDANet, DAUConv2D
from keras_coda.explanations import workload
from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.layers import patches, rescaling
from tests.helpers.networks import assert_complete, pixels, small


def unfactored(x, layer):
    """The layer as the paper writes it, in TensorFlow and for automatic differentiation: weights are built."""
    units, R = layer.filters, layer.rank + 1
    taps = tf.image.extract_patches(
        tf.pad(x, [(0, 0), *[((k - 1) // 2,) * 2 for k in layer.kernel_size], (0, 0)]),
        (1, *layer.kernel_size, 1),
        (1, *layer.strides, 1),
        (1, 1, 1, 1),
        "VALID",
    )
    z = tf.concat([taps @ tf.reshape(layer.projection, (-1, layer.rank)), tf.ones_like(taps[..., :1])], -1)
    v = tf.einsum("dur,nhwr->nhwud", tf.reshape(layer.kernel, (-1, units, R)), z)
    factor = rescaling.get(layer.rescaling)(tf.reduce_sum(v**2, -1))
    return factor * tf.reduce_sum(v * taps[..., None, :], -1)


@settings(max_examples=10)
@given(
    kernel_size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    rank=st.sampled_from([1, 3, 20]),
    rescaling=st.sampled_from(["l2", "squash"]),
)
def test_gradients_equal_automatic_differentiation_of_the_textbook(kernel_size, strides, rank, rescaling):
    layer = DAUConv2D(3, kernel_size, rank, strides, rescaling, dtype="float64")
    layer.build((2, 8, 7, 2))
    x = tf.random.normal((2, 8, 7, 2), seed=1, dtype="float64")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        fast, slow = layer(x), unfactored(x, layer)
        losses = [tf.reduce_sum(tf.sin(outputs)) for outputs in (fast, slow)]
    np.testing.assert_allclose(fast, slow, atol=1e-9)
    sources = [x, layer.projection.value, layer.kernel.value]
    for got, expected in zip(*(tape.gradient(loss, sources) for loss in losses), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-8 * max(1.0, float(tf.reduce_max(tf.abs(expected)))))


def test_gradients_flow_through_the_frozen_weights_too():
    # A penalty on the linear map is differentiated through linearize and pullback.
    layer = DAUConv2D(3, 3, 4, dtype="float64")
    layer.build((1, 5, 5, 2))
    x = tf.random.normal((1, 5, 5, 2), seed=1, dtype="float64")

    def penalty(kernel):
        layer.kernel.assign(kernel)
        with tf.GradientTape() as tape:
            outputs, frozen = layer.linearize(x)
            loss = tf.reduce_mean(tf.abs(layer.pullback(frozen, tf.ones((1, 2, *outputs.shape[1:]), "float64"))))
        return loss, tape.gradient(loss, layer.kernel.value)

    start = np.array(layer.kernel)
    _, gradient = penalty(start)
    direction = np.random.default_rng(0).normal(size=start.shape)
    step = 1e-6
    slope = (penalty(start + step * direction)[0] - penalty(start - step * direction)[0]) / (2 * step)
    np.testing.assert_allclose(tf.reduce_sum(gradient * direction), slope, rtol=1e-5)


@given(
    kernel_size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
)
def test_scatter_is_the_transpose_of_extract(kernel_size, strides, size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, 3))
    rows = patches.extract(tf.constant(x), kernel_size, strides)
    weights = rng.normal(size=rows.shape)
    back = patches.scatter(tf.constant(weights), kernel_size, strides, x.shape)
    assert back.shape == x.shape
    np.testing.assert_allclose((weights * np.array(rows)).sum(), (np.array(back) * x).sum())


@pytest.mark.parametrize("rescaling", ["l2", "squash"])
def test_one_target_and_several_are_pulled_back_alike(rescaling):
    # One goes through the kernel, several through the expanded weights.
    model = small(rescaling=rescaling)
    together = model.explain(pixels(), np.tile([0, 1, 2], (2, 1)))
    for k in range(3):
        alone = model.explain(pixels(), k)
        np.testing.assert_allclose(alone.contributions[:, 0], together.contributions[:, k], atol=1e-6)


def test_norms_that_cancel_stay_within_rounding_of_the_truth():
    # b = -A B x for one x: the true norm is zero there, the Gram form's rounding error is of either sign.
    layer = DAUConv2D(2, 3, 4, rescaling="l2")
    layer.build((1, 3, 3, 4))
    x = np.random.default_rng(0).normal(size=(1, 3, 3, 4)).astype("float32")
    kernel = np.array(layer.kernel)
    z = np.einsum("hwc,hwcr->r", x[0], np.array(layer.projection))
    kernel[..., -1] = -np.einsum("hwcur,r->hwcu", kernel[..., :-1], z)
    layer.kernel.assign(kernel)
    center = layer(x)[0, 1, 1]
    assert np.isfinite(center).all()
    assert np.abs(center).max() <= 1.01 * np.linalg.norm(x)  # a weight of norm one at most


@pytest.mark.slow
def test_compiled_training_prediction_and_explanation_agree_with_graph_mode_and_trace_once():
    def run(jit_compile):
        keras.utils.set_random_seed(3)
        model = small()
        model.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=jit_compile)
        losses = model.fit(pixels(8), np.arange(8) % 3, batch_size=4, epochs=3, shuffle=False, verbose=0)
        explanations = [model.explain(pixels(4, seed=seed), top_k=2) for seed in (1, 1, 2)]
        assert compiled_explainer(model).traces == 1
        assert model.jit_compile is jit_compile
        return losses.history["loss"], model.predict(pixels(4), verbose=0), explanations[0]

    (losses, logits, explanation), (xla_losses, xla_logits, xla_explanation) = run(False), run(True)
    np.testing.assert_allclose(xla_losses, losses, rtol=1e-4)
    np.testing.assert_allclose(xla_logits, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(xla_explanation.contributions, explanation.contributions, rtol=1e-3, atol=1e-5)
    assert_complete(xla_explanation)


def test_training_and_prediction_are_traced_once_for_a_repeated_shape():
    model, traces = small(), []
    layer = model.get_layer("dau_2")
    linearize = layer.linearize
    layer.linearize = lambda inputs: traces.append(1) or linearize(inputs)
    model.fit(pixels(8), np.arange(8) % 3, batch_size=4, verbose=0)
    model.predict(pixels(8), batch_size=4, verbose=0)
    first = len(traces)
    model.fit(pixels(8), np.arange(8) % 3, batch_size=4, epochs=2, verbose=0)
    model.predict(pixels(8), batch_size=4, verbose=0)
    assert len(traces) == first


def test_large_images_are_explained_a_few_classes_at_a_time(monkeypatch):
    model, images = small(), pixels(5)
    whole = model.explain(images, top_k=3)
    chosen = model.explain(images, whole.classes)
    work = workload.Workload(compiled_explainer(model).decomposition, (8, 7, 2))
    monkeypatch.setattr(workload, "FLOATS", work.floats(1))
    monkeypatch.setattr(workload, "FLOATS_OF_TILE", 1)
    assert work.plan(5, 3, None) == (1, 1)
    for classes, top_k in [(None, 3), (whole.classes, None)]:
        parts = model.explain(images, classes, top_k=top_k)
        np.testing.assert_array_equal(parts.classes, chosen.classes)
        np.testing.assert_allclose(parts.contributions, whole.contributions, atol=1e-6)
        np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_last_short_chunk_changes_nothing(jit_compile):
    model, images = small(), pixels(7)
    whole = model.explain(images, np.arange(7) % 3)
    parts = model.explain(images, np.arange(7) % 3, batch_size=3, jit_compile=jit_compile)
    np.testing.assert_allclose(parts.contributions, whole.contributions, atol=1e-6)


def test_data_sets_are_explained_batch_by_batch(capsys):
    model = CoDANet(3, input_shape=(8, 7, 2), class_names="abc")
    images, labels = pixels(7), np.arange(7) % 3
    whole = model.explain(images)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(3)
    explanations = model.explain_batches(data)
    first = next(explanations)
    assert (len(first), first.labels.tolist(), first.class_names) == (3, [0, 1, 2], ("a", "b", "c"))
    assert [len(explanation) for explanation in explanations] == [3, 1]
    assert "3/3" in capsys.readouterr().out
    plain = [
        explanation.contributions for explanation in model.explain_batches([images[:4], images[4:]], verbose=False)
    ]
    np.testing.assert_allclose(np.concatenate(plain), whole.contributions, atol=1e-6)
    with pytest.raises(ValueError, match="`classes` must be None, an int or a name here"):
        next(model.explain_batches(data, classes=[1, 2, 0]))


@pytest.mark.slow
def test_mixed_precision_trains_like_float32():
    def accuracy(policy):
        keras.utils.set_random_seed(0)
        rng = np.random.default_rng(0)
        labels = np.arange(96) % 2
        images = rng.integers(0, 100, (96, 6, 6, 1)).astype("float32")
        images[labels == 1, :, :3] += 150
        model = CoDANet(2, input_shape=(6, 6, 1), filters=(4, 2), ranks=4, temperature=4.0, dtype=policy)
        history = model.fit(images, labels, batch_size=8, epochs=6, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        return history["accuracy"][-1]

    exact = accuracy("float32")
    assert exact > 0.95
    for policy in ("mixed_bfloat16", "mixed_float16"):
        assert abs(accuracy(policy) - exact) <= 0.05
