"""Code of a user with the types that it must get. It is never run: ``make lint`` checks it with mypy."""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
from matplotlib.figure import Figure

import keras_coda
from keras_coda import data, evaluation, explanations, models, posthoc, serving, training, tuning, visualization


def trains(folder: Path) -> None:
    digits = data.load("digits", batch_size=32, image_size=(8, 8), augment=False)
    assert_type(digits, data.Data)
    assert_type(digits.class_names, tuple[str, ...])
    model, notes = training.network("coda_digits", digits, temperature=20.0)
    assert_type(model, keras_coda.ExplainableClassifier)
    assert_type(notes, list[str])
    model.compile(penalties=[models.LinearMapPenalty(0.1)])
    assert_type(training.train(model, digits, folder, training.recipe("paper"), epochs=5), dict[str, Any])
    assert_type(tuning.tune(digits, "coda_digits", folder, temperature=(5, 500)), tuning.TuningResult | None)
    assert_type(tuning.TuningResult.from_json(folder / "result.json"), tuning.TuningResult)


def loads(folder: Path) -> None:
    model = keras_coda.CoDANet.from_preset(folder, temperature=30.0)
    assert_type(model, keras_coda.CoDANet)
    assert_type(model.with_input_shape((None, None, 1)), keras_coda.CoDANet)
    assert_type(model.class_names, tuple[str, ...] | None)
    assert_type(model.temperature, float)
    assert_type(models.load_coda_checkpoint(folder / "net.pt", strides=2), keras_coda.CoDANet)
    model.export(folder / "net.onnx", "onnx", top_k=3)


def explains(model: keras_coda.CoDANet, images: np.ndarray, digits: data.Data) -> None:
    explanation = model.explain(images, top_k=2)
    assert_type(explanation, keras_coda.Explanation)
    assert_type(explanation.contributions, np.ndarray)
    assert_type(explanation[0], keras_coda.Explanation)
    assert_type(explanation.plot(), Figure)
    assert_type(explanation.to_rgba(), np.ndarray)
    assert_type(visualization.to_rgba(images), np.ndarray)
    assert_type(keras_coda.explain(model, images), keras_coda.Explanation)
    assert_type(next(keras_coda.explain_batches(model, digits.validation)), keras_coda.Explanation)
    assert_type(explanations.explain_video(model, "in.mp4", "out.mp4"), explanations.ExplainedVideo)


def evaluates(model: keras_coda.CoDANet, digits: data.Data, folder: Path) -> None:
    result = evaluation.localization(model, digits.validation)
    assert_type(result, evaluation.LocalizationResult)
    assert_type(result.mean, float)
    assert_type(result.plot(), Figure)
    assert_type(evaluation.pixel_removal(model, digits.validation), evaluation.PixelRemovalResult)
    assert_type(evaluation.LocalizationResult.from_json(folder / "file.json"), evaluation.LocalizationResult)
    comparison = evaluation.compare(model, digits.validation, ["GradCAM", posthoc.GradCAM()])
    assert_type(comparison.localization, tuple[evaluation.LocalizationResult, ...])
    assert_type(comparison.plot(), Figure)


def asks_a_server(images: np.ndarray) -> None:
    with serving.connect("http://127.0.0.1:8501/v1/models/digits") as client:
        assert_type(client, serving.Client)
        assert_type(client.explain(images), keras_coda.Explanation)
        assert_type(client.predict(images), serving.Prediction)
