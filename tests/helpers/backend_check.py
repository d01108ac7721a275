"""Run by test_backends.py in a process of its own: layers, model and explanations on the backend of KERAS_BACKEND."""

import pathlib
import sys
import tempfile

import keras
import numpy as np
import pytest
from keras import ops

import keras_coda
from tests.helpers import encoders, reference

assert keras.backend.backend() == sys.argv[1]
keras.utils.set_random_seed(0)

# Layers equal the loops of the paper; gradients are finite at zero.
for rescaling in ("l2", "squash"):
    layer = keras_coda.DAUConv2D(3, (3, 2), 4, (2, 1), rescaling)
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 2)).astype("float32")
    layer.build(x.shape)
    outputs, frozen = layer.linearize(ops.convert_to_tensor(x))
    cotangents = np.random.default_rng(1).normal(size=(2, 4, *outputs.shape[1:])).astype("float32")
    pulled = ops.convert_to_numpy(layer.pullback(frozen, ops.convert_to_tensor(cotangents)))
    weights = [ops.convert_to_numpy(weight) for weight in (layer.projection, layer.kernel)]
    for i in range(2):
        matrix = reference.conv_matrix(x[i], *weights, layer.strides, rescaling)
        expected = np.einsum("hwfHWc,HWc->hwf", matrix, x[i])
        np.testing.assert_allclose(ops.convert_to_numpy(outputs[i]), expected, atol=1e-5)
        np.testing.assert_allclose(pulled[i], np.einsum("hwfHWc,khwf->kHWc", matrix, cotangents[i]), atol=1e-5)

# The golden outputs agree, before training and with every image size a new one.
for name in ("squash_3layer", "l2_stride3"):
    path = pathlib.Path(__file__).parents[1] / "golden" / f"{name}.npz"
    golden = np.load(path)
    model = keras_coda.models.load_coda_checkpoint(path)
    classes = np.tile(np.arange(model.num_classes), (len(golden["image"]), 1))
    explanation = model.explain(golden["image"] * 255, classes, linear_map=True)
    for field in ("logits", "linear_map", "contributions"):
        error = np.abs(getattr(explanation, field) - golden[field]).max() / np.abs(golden[field]).max()
        assert error < 1e-5, (name, field, error)

# Training works and explanations follow the weights; completeness for every layer; mixed precision; saving.
images = np.random.default_rng(0).integers(0, 256, (8, 9, 8, 1), dtype="uint8")
images[0], images[1] = 0, 255
for policy in ("float32", "mixed_bfloat16"):
    model = keras_coda.CoDANet(
        3, input_shape=(None, None, 1), filters=(4, 5, 3), ranks=3, strides=(1, 2, 1), temperature=1, dtype=policy
    )
    before = model.explain(images).logits
    with tempfile.TemporaryDirectory() as folder:
        maps = keras_coda.training.ContributionMaps(images, folder, folder, every=3)  # compiled by `explain` above
        history = model.fit(images, np.arange(8) % 3, epochs=3, verbose=0, callbacks=[maps]).history
        assert history["largest_residual"][-1] < 1e-5
        assert [path.name for path in pathlib.Path(folder).glob("*.png")] == ["epoch-000003.png"]
        assert len(list(pathlib.Path(folder).glob("maps/events*"))) == 1
    losses = history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    for wrt in (None, "dau_1", "dau_3"):
        explanation = model.explain(images, top_k=2, wrt=wrt, batch_size=5)
        total = explanation.contributions.sum((2, 3)) + explanation.bias
        np.testing.assert_allclose(total, explanation.explained_logits, atol=1e-5, rtol=1e-5)
    assert np.abs(explanation.logits - before).max() > 1e-4
    atol = 1e-5 if policy == "float32" else 5e-2
    np.testing.assert_allclose(model.predict(images, verbose=0), explanation.logits, atol=atol)

# Labels of another form than before, wrong ones of a generator, and networks that are not finite.
labels = np.arange(8) % 3
for form in (np.eye(3, dtype="float32")[labels], labels[:, None], labels):
    assert np.isfinite(model.fit(images, form, verbose=0).history["loss"]).all()
measured = [model.evaluate(images, form, verbose=0) for form in (labels, np.eye(3)[labels], labels[:, None])]
np.testing.assert_allclose(measured, measured[:1] * 3, rtol=1e-5)
model.set_weights([weights * np.float32(1e30) for weights in model.get_weights()])
with pytest.raises(keras_coda.explanations.NonFiniteNetworkError):
    model.explain(images)
with pytest.raises(keras_coda.models.InvalidLabelsError, match="labels from 1 to 3"):
    model.fit((batch for batch in [(images, labels + 1)]), verbose=0)

# Maps follow weights of the encoder, too.
encoders.check_that_maps_follow_the_encoder()

if keras.backend.backend() != "tensorflow":
    with pytest.raises(RuntimeError, match="Export needs the TensorFlow backend"):
        model.export("/nonexistent/1")
print("backend ok")
