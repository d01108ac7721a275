"""The training step is traced once: TensorFlow would trace a step that creates variables twice."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.networks import pixels, small

pytestmark = pytest.mark.slow


def count_traces(model):
    """Count the calls of ``train_step`` from now on; each is a trace of it."""
    traces, train_step = [], model.train_step
    model.train_step = lambda data: traces.append(1) or train_step(data)
    return traces


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, np.arange(8) % 3),
        ({}, np.eye(3, dtype="float32")[np.arange(8) % 3]),
        ({"metrics": None}, np.arange(8) % 3),
        ({"penalties": {"linear_map": 0.1}}, np.arange(8) % 3),
        ({"penalties": {"map_consistency": 0.1}}, np.arange(8) % 3),
    ],
)
def test_training_starts_with_one_trace(options, labels):
    model = small()
    model.compile(**options)
    traces = count_traces(model)
    model.fit(pixels(8), labels, batch_size=4, verbose=0)
    assert len(traces) == 1
    model.fit(pixels(8), labels, batch_size=4, verbose=0)
    assert len(traces) == 1


def test_a_data_set_starts_with_one_trace_too():
    model = small()
    traces = count_traces(model)
    data = tf.data.Dataset.from_tensor_slices((pixels(8), np.arange(8) % 3)).batch(4, drop_remainder=True)
    model.fit(data, epochs=2, verbose=0)
    assert len(traces) == 1


def test_it_trains_as_keras_does_when_keras_creates_the_variables(monkeypatch):
    def train():
        keras.utils.set_random_seed(0)
        model = small()
        history = model.fit(pixels(8), np.arange(8) % 3, batch_size=4, epochs=3, verbose=0).history
        return history, model.get_weights()

    history, weights = train()
    monkeypatch.setattr("keras_coda.models.penalized.create_training_variables", lambda *_: None)
    expected, expected_weights = train()
    assert history.keys() == expected.keys()
    for name, values in history.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5)
    for found, wanted in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_starts_with_one_trace_too(policy):
    model = small(dtype=policy)
    traces = count_traces(model)
    losses = model.fit(pixels(8), np.arange(8) % 3, batch_size=4, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert len(traces) == 1
