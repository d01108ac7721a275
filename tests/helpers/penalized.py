"""A small network whose training loss has a penalty, and what must hold of every penalty."""

import keras
import numpy as np
import pytest

from keras_coda import CoDANet


def make_model(rescaling="squash", num_classes=3, temperature=3.0, **options):
    """A network of two layers for the images of :func:`make_images`; always the same weights."""
    keras.utils.set_random_seed(0)
    layers = {"filters": (3, num_classes), "ranks": 2, "strides": (2, 1), "rescaling": rescaling}
    return CoDANet(num_classes, input_shape=(6, 6, 1), temperature=temperature, **layers, **options)


def make_images(count=6, num_classes=3):
    """Images of noise and the labels 0, 1, ..., in turn."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 6, 6, 1), "uint8"), np.arange(count, dtype="int32") % num_classes


def compile_seeded(model, penalty):
    """Compile a model with its first penalty; training then draws the random numbers of :func:`seed_generator`."""
    keras.utils.set_random_seed(0)
    model.compile(penalties=[penalty])


def seed_generator():
    """Return a generator like the one that a model has after :func:`compile_seeded`."""
    keras.utils.set_random_seed(0)
    return keras.random.SeedGenerator()


def step(model, images, labels):
    """Train for one step; what is logged of it."""
    model.reset_metrics()
    logs = model.train_on_batch(images, labels, return_dict=True)
    return {name: float(value) for name, value in logs.items()}


def check_gradients(gradients, layers, loss):
    """Compare with central differences of ``loss(layers)`` in float64, along one direction for each variable."""
    rng = np.random.default_rng(1)
    for index, gradient in enumerate(gradients):
        layer, which = divmod(index, 2)  # projection, kernel
        direction = rng.standard_normal(gradient.shape)
        sides = []
        for move in (1e-5, -1e-5):
            moved = [list(arrays) for arrays in layers]
            moved[layer][which] = moved[layer][which].astype("float64") + move * direction
            sides.append(loss(moved))
        slope = np.sum(np.asarray(gradient, "float64") * direction)
        assert slope == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=2e-3, abs=1e-6)


def check_same_logs(logged, images, labels, *, dtype=None, num_classes=3, penalty, **options):
    """Three steps under a dtype policy or an option of ``compile`` must log what untraced steps in float32 log."""
    logs = []
    for policy, compile_options in ((None, {"run_eagerly": True}), (dtype, options)):
        model = make_model(num_classes=num_classes, dtype=policy)
        model.compile(penalties=[penalty], **compile_options)
        logs.append([step(model, images, labels) for _ in range(3)])
    for one, other in zip(*logs, strict=True):
        assert one.keys() == {"accuracy", logged, "loss"}
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert one[logged] == pytest.approx(other[logged], rel=1e-3)
