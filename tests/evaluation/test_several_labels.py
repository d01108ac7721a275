"""Claims about thresholds and figures of networks with several labels, and where decisions are shown."""

import csv
import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from keras_coda import evaluation
from keras_coda.data.images import png
from keras_coda.evaluation import several_labels
from keras_coda.evaluation.several_labels import best_thresholds, f1_scores
from keras_coda.explanations import predict_files
from keras_coda.explorer import rendering
from keras_coda.explorer.networks import Network
from keras_coda.exporters import Signatures
from keras_coda.serving.requests import predict_request
from keras_coda.serving.responses import read_prediction
from tests.helpers.networks import pixels, small

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, (40, 3))


@pytest.fixture(scope="module")
def model():
    model = small(input_shape=(8, 7, 3), class_names=("cat", "dog", "<bird>"))
    model.compile(multi_label=True)
    return model


@pytest.fixture(scope="module")
def images():
    return pixels(40, (8, 7, 3))


def best_of_all(labels, probabilities):
    """The largest F1 of one class over all thresholds, and the highest threshold that separates images so."""
    cuts = sorted({0.0, *map(float, probabilities)})
    return max(f1_score(labels, probabilities > cut, zero_division=0) for cut in cuts[:-1])


def test_thresholds_have_the_largest_f1_of_all(model, images):
    model.thresholds = best_thresholds(model, [(images[:25], LABELS[:25]), (images[25:], LABELS[25:])], verbose=False)
    probabilities = model.explain(images, verbose=False).probabilities
    found = f1_scores(LABELS == 1, model.decide(probabilities))
    np.testing.assert_allclose(found, f1_score(LABELS, model.decide(probabilities), average=None))
    expected = [best_of_all(*pair) for pair in zip(LABELS.T, probabilities.T, strict=True)]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("seed", range(20))
def test_ties_and_saturated_probabilities_are_separated_as_far_as_they_can_be(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.choice(np.float32([0, 1e-30, 0.25, 0.25000003, 0.7, 1 - 6e-8, 1]), 12)
    labels = rng.random(12) < 0.4
    labels[0], probabilities[0] = True, 0.7
    threshold = several_labels.best_threshold(labels, probabilities)
    assert 0 < threshold <= 1
    distinct = np.append(np.unique(probabilities), 2)
    scores = [f1_score(labels, probabilities >= cut, zero_division=0) for cut in distinct if cut > 0]
    assert f1_score(labels, probabilities >= np.float32(threshold)) == pytest.approx(max(scores))


def test_a_class_without_images_keeps_one_half(model, images):
    with pytest.warns(UserWarning, match=r"Received: none for the classes \[1\], whose threshold is 0.5"):
        found = best_thresholds(model, [(images, LABELS * [1, 0, 1])], verbose=False)
    assert found[1] == 0.5


def test_evaluation_has_the_figures_of_training_and_f1(model, images):
    data = [(images[:30], LABELS[:30]), (images[30:], LABELS[30:])]
    found = evaluation.evaluate(model, data, verbose=False)
    trained = model.evaluate(images, LABELS, verbose=0, return_dict=True)
    assert "accuracy" not in found
    for name, value in trained.items():
        assert found[name] == pytest.approx(value, abs=1e-5), name
    decisions = model.decide(model.explain(images, verbose=False).probabilities)
    assert found["f1"] == pytest.approx(f1_score(LABELS, decisions, average="macro"))


def test_what_does_not_fit_is_refused(model, images):
    with pytest.raises(ValueError, match="must be for images with several labels. Received: model='.*multi_label=True"):
        best_thresholds(small(), [(pixels(2), LABELS[:2])])
    with pytest.raises(ValueError, match="labels for each image of a batch. Received: images=40, labels=3"):
        best_thresholds(model, [(images, LABELS[:3])], verbose=False)
    with pytest.raises(ValueError, match="0 or 1 for each class. Received: "):
        evaluation.evaluate(model, [(images, LABELS.argmax(1))], verbose=False)


def test_each_label_of_an_image_counts_for_metrics_of_maps(model, images):
    pairs = list(evaluation.labeled_batches([(images[:4], LABELS[:4]), (images[4:5], [[0, 0, 0]])], model))
    found = [(image.tobytes(), label) for batch in pairs for image, label in zip(*batch, strict=True)]
    expected = [(images[i].tobytes(), k) for i, k in itertools.product(range(4), range(3)) if LABELS[i, k]]
    assert found == expected
    with pytest.raises(ValueError, match="must yield images with labels"):
        list(evaluation.labeled_batches([(images[:1], [[0, 0, 0]])], model))


def test_predictions_of_files_are_a_table_of_labels(model, images, tmp_path):
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(png(images[index]))
    rows = list(csv.reader(predict_files(model, [tmp_path], all_classes=True, verbose=False).splitlines()))
    probabilities = model.explain(images[:3], verbose=False).probabilities
    assert rows[0][:4] == ["file", "cat", "dog", "<bird>"]
    np.testing.assert_array_equal([row[1:4] for row in rows[1:]], model.decide(probabilities).astype(int).astype(str))
    np.testing.assert_allclose([list(map(float, row[4:])) for row in rows[1:]], probabilities, atol=1e-4)


def test_batches_of_images_with_several_labels_are_explained(model, images):
    (explanation,) = model.explain_batches([(images[:2], LABELS[:2])], verbose=False)
    assert explanation.labels is None
    with pytest.raises(ValueError, match="0 or 1 for each class"):
        next(model.explain_batches([(images[:2], [0, 1])], verbose=False))


def test_the_explorer_names_the_labels_and_their_thresholds(model, images, tmp_path):
    model.save_to_preset(tmp_path / "model")
    network = Network(str(tmp_path / "model"))
    explanation = network.explain(images[0].astype("float32"))
    probabilities = explanation.probabilities[0].tolist()
    network.model.thresholds = (1, probabilities[1] * 0.9, probabilities[2] * 0.8)
    shown = rendering.bars(explanation, network.labels(explanation))
    labels = shown.split("by the threshold of each class: ")[1]
    expected = [f"<b>{name}</b> (from {100 * share:.1f}%)" for name, share in
                (("dog", probabilities[1] * 0.9), ("&lt;bird&gt;", probabilities[2] * 0.8))]  # fmt: skip
    assert labels == ", ".join(expected) + ".</p>"
    network.model.thresholds = (1, 1, 1)
    assert "class: none." in rendering.bars(explanation, network.labels(explanation))


def test_exported_predictions_have_decisions_that_clients_read(model, images):
    signatures = Signatures.of(model)
    outputs = {name: np.asarray(value) for name, value in signatures.serving_default(images.astype("float32")).items()}
    expected = model.decide(outputs["probabilities"]).astype("int32")
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(outputs["decisions"], expected)
    outputs["top_class_names"] = outputs["top_class_names"].astype(object)
    prediction = read_prediction(predict_request(images.astype("float32")), outputs)
    np.testing.assert_array_equal(prediction.decisions, expected)
    plain = Signatures.of(small()).serving_default(pixels(2).astype("float32"))
    assert "decisions" not in plain
