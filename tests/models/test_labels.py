"""Claims about labels: every form that is taken means the same everywhere, and what names no class is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_coda
from keras_coda.models import ClassAccuracy, InvalidLabelsError
from keras_coda.utils.labels import check_training_labels, class_labels
from tests.helpers.networks import pixels, small

LABELS = np.array([0, 2, 1, 1, 0, 2])
FORMS = {
    "integers": LABELS,
    "bytes": LABELS.astype("uint8"),
    "column": LABELS[:, None],
    "floats": LABELS.astype("float32"),
    "column of floats": LABELS[:, None].astype("float64"),
    "one-hot": np.eye(3, dtype="float32")[LABELS],
    "one-hot integers": np.eye(3, dtype=int)[LABELS],
    "one-hot booleans": np.eye(3, dtype=bool)[LABELS],
}
WRONG = {
    "too large": LABELS + 1,
    "negative": LABELS - 1,
    "too large column": LABELS[:, None] + 1,
    "fractions": LABELS / 2,
    "NaN": np.where(LABELS == 1, np.nan, LABELS),
    "infinite": np.where(LABELS == 1, np.inf, LABELS),
    "other columns": np.eye(4)[LABELS],
    "scaled one-hot": 2 * np.eye(3)[LABELS],
    "maps": np.zeros((6, 3, 3), int),
}


def dataset(labels, size=4):
    return tf.data.Dataset.from_tensor_slices((pixels(6), labels)).batch(size)


class Batches(keras.utils.PyDataset):
    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return pixels(6)[index::2], self.labels[index::2]


SOURCES = {
    "arrays": lambda labels: {"x": pixels(6), "y": labels},
    "tf.data": lambda labels: {"x": dataset(labels)},
    "generator": lambda labels: {"x": (batch for batch in [(pixels(6), labels)])},
    "PyDataset": lambda labels: {"x": Batches(labels)},
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_every_form_name_the_same_classes(form):
    labels = FORMS[form]
    np.testing.assert_array_equal(class_labels(labels, 3, 6), LABELS)
    np.testing.assert_array_equal(class_labels(tf.constant(labels), None, 6), LABELS)
    assert class_labels(labels, 3, 6).dtype == "int32"
    check_training_labels(labels, 3)


@pytest.mark.parametrize("kind", WRONG)
def test_labels_that_name_no_class_are_refused(kind):
    with pytest.raises(InvalidLabelsError, match="Received: "):
        class_labels(WRONG[kind], 3, 6)
    with pytest.raises(InvalidLabelsError, match="Received: "):
        check_training_labels(WRONG[kind], 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((6, 3), 1 / 3), r"must have a single 1, and zeros. Received: rows_that_differ=\[0, 1, 2, 3, 4, 5\]"),
        (np.ones((6, 3), int), "must have a single 1"),  # several classes
        (np.zeros((6, 3), int), "must have a single 1"),  # none
        (LABELS[1:], r"one for each image of the batch: .* Received: dtype='int64', shape=\(5,\), images=6"),
        (np.array(list("abcabc")), "must be numbers. Received: dtype='<U1'"),
        (LABELS[0], "one for each image"),
    ],
)
def test_what_training_could_use_but_names_no_single_class_is_refused(labels, message):
    with pytest.raises(InvalidLabelsError, match=message):
        class_labels(labels, 3, 6)


def test_soft_labels_train():
    check_training_labels(np.full((6, 3), 1 / 3), 3)
    check_training_labels(np.ones((6, 3), int), 3)


def test_one_network_is_trained_and_measured_with_labels_of_changing_form():
    model = small(filters=(3,), strides=1)
    before, results = model.get_weights(), []
    for form in ("integers", "one-hot", "column"):
        model.set_weights(before)
        model.compile(keras.optimizers.SGD(0.1)) if not results else model.optimizer.iterations.assign(0)
        history = model.fit(pixels(6), FORMS[form], batch_size=6, verbose=0).history
        results.append([history["loss"][0], *model.evaluate(pixels(6), FORMS[form], verbose=0)])
    np.testing.assert_allclose(results, [results[0]] * len(results), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_labels_of_a_pipeline_without_static_shapes_are_told_by_their_values():
    model = small(filters=(3,), strides=1)
    expected = model.evaluate(pixels(6), LABELS, verbose=0)
    for form, shape in (("column", (None, None)), ("integers", None), ("one-hot", (None, None))):
        specs = (tf.TensorSpec((None, 8, 7, 2), tf.uint8), tf.TensorSpec(shape, FORMS[form].dtype))
        pipeline = dataset(FORMS[form])
        hidden = tf.data.Dataset.from_generator(lambda data=pipeline: iter(data), output_signature=specs)
        np.testing.assert_allclose(model.evaluate(hidden, verbose=0), expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", ["too large", "too large column", "fractions", "other columns", "scaled one-hot"])
def test_training_and_evaluation_refuse_wrong_labels_from_every_source(source, kind):
    model = small()
    model.compile(run_eagerly=True)  # there is no step to compile
    for method in (model.fit, model.evaluate):
        with pytest.raises(InvalidLabelsError, match="Received: "):
            method(**SOURCES[source](WRONG[kind]), verbose=0)


@pytest.mark.parametrize("validation", [(pixels(6), LABELS + 1), dataset(LABELS + 1)], ids=["arrays", "tf.data"])
def test_wrong_labels_of_validation_data_are_refused(validation):
    model = small()
    model.compile(run_eagerly=True)
    with pytest.raises(InvalidLabelsError, match="labels from 1 to 3"):
        model.fit(pixels(6), LABELS, validation_data=validation, verbose=0)


def test_other_losses_keep_their_labels():
    model = small()
    model.compile(loss="mse", metrics=[], run_eagerly=True)
    assert np.isfinite(model.fit(dataset(2 * np.eye(3)[LABELS]), verbose=0).history["loss"]).all()
    with pytest.raises(InvalidLabelsError):
        model.fit(dataset(LABELS + 1), verbose=0)


def test_the_loss_of_a_fraction_is_nan():
    logits = np.zeros((2, 3), "float32")
    assert np.isnan(float(keras_coda.OneVsAllCrossentropy()(np.array([0.5, 1.0]), logits)))


@pytest.mark.parametrize("form", [*FORMS, "soft"])
def test_accuracy_counts_correct_classes_for_labels_of_every_form(form):
    labels = 0.4 * np.eye(3)[LABELS] + 0.2 if form == "soft" else FORMS[form]
    logits = np.eye(3, dtype="float32")[[0, 2, 1, 0, 0, 0]]
    metric = ClassAccuracy.from_config(ClassAccuracy().get_config())
    assert float(metric(labels, logits)) == pytest.approx(4 / 6)
    assert float(metric(labels, logits, sample_weight=[1, 1, 1, 0, 0, 0])) == pytest.approx(7 / 9)


def test_the_accuracy_of_keras_is_replaced_under_its_name():
    model = small()
    model.compile(metrics=["accuracy", "mse"], weighted_metrics=["acc"], run_eagerly=True)
    assert set(model.evaluate(pixels(6), FORMS["one-hot"], verbose=0, return_dict=True)) == {
        "accuracy", "acc", "mse", "loss"
    }  # fmt: skip


def test_explanations_of_batches_and_their_pictures_have_the_classes():
    model = small(class_names="abc")
    batches = list(model.explain_batches([(pixels(6)[:4], form[:4]) for form in FORMS.values()], verbose=False))
    for batch in batches:
        np.testing.assert_array_equal(batch.labels, LABELS[:4])
    for form in ("column", "one-hot", "floats"):
        figure = batches[0][:2].plot(FORMS[form][:2], colorbar=False)
        assert [axes.texts[0].get_text() for axes in figure.axes[::2]] == ["a", "c"]


def test_explanations_of_batches_refuse_labels_of_other_classes():
    with pytest.raises(InvalidLabelsError, match="labels from 1 to 3"):
        next(small().explain_batches(dataset(LABELS + 1), verbose=False))
