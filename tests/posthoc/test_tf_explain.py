"""The methods beside tf-explain's own, which needs TensorFlow."""

import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf
from tf_explain import core

from keras_coda import posthoc
from tests.helpers.known_models import linear_model, random_digits
from tests.helpers.networks import two_layers


@pytest.mark.filterwarnings("ignore:Unsupported model architecture")
@pytest.mark.parametrize("name", ["VanillaGradients", "GradientsInputs"])
def test_gradients_are_those_of_tf_explain(name):
    model = two_layers()
    images = random_digits(3, size=8)[0].astype("float32")
    theirs = getattr(core, name).compute_gradients(images, model, 1).numpy().sum(axis=-1)
    ours = getattr(posthoc, name)(encoded=False)(model, images, np.ones(3, "int32"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6 * np.abs(theirs).max())
    # The public method gives the picture of one image.
    picture = getattr(core, name)().explain((images[:1], None), model, 1)
    absolute = getattr(posthoc, name)(encoded=False, absolute=True)(model, images[:1], np.ones(1, "int32"))
    drawn = tf.cast(tf.image.per_image_standardization(absolute) * 255, tf.int32).numpy()[0]
    # tf-explain casts to uint8 whatever exceeds it: only what does not can be compared.
    comparable = (drawn >= 0) & (drawn < 255)
    assert comparable.any()
    assert np.abs(picture[comparable].astype(int) - drawn[comparable]).max() <= 1


def test_grad_cam_is_that_of_tf_explain_at_a_layer():
    model = two_layers(strides=(2, 1))
    images = random_digits(2, size=8)[0].astype("float32")
    with pytest.warns(UserWarning, match="structure of `inputs`"):
        found = core.GradCAM.get_gradients_and_filters(model, images, "dau_1", 1, False)
    theirs = [cv2.resize(cam.numpy(), (8, 8)) for cam in core.GradCAM.generate_ponderated_output(*found)]
    ours = posthoc.GradCAM("dau_1")(model, images, np.ones(2, "int32"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_occlusion_is_that_of_tf_explain_but_for_a_constant_and_the_enlargement():
    weights = np.random.default_rng(1).normal(size=(6, 6, 2, 3)).astype("float32")
    model = linear_model(weights, offset=-1.0)
    images = random_digits(1, size=6)[0].astype("float32")
    theirs = core.OcclusionSensitivity().get_sensitivity_map(model, images[0], 2, patch_size=3)  # 1 - logit
    ours = posthoc.OcclusionSensitivity(3, strides=3, fill=127.5)(model, images, np.array([2]))[0]
    logit = model.predict(images, verbose=0)[0, 2]
    corners = np.ix_([0, 5], [0, 5])  # bilinear enlargement leaves these as they are
    np.testing.assert_allclose(ours[corners], theirs[corners] - 1 + logit, rtol=1e-4, atol=1e-4)


def test_without_tf_explain_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_explain", None)
    with pytest.raises(ImportError, match=r"keras-coda\[posthoc\]"):
        posthoc.VanillaGradients()(two_layers(), random_digits(1)[0], np.array([0]))
