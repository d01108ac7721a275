import math
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_coda import CoDANet
from keras_coda.evaluation import localization
from keras_coda.training import callbacks
from keras_coda.utils.errors import InvalidLabelsError
from tests.helpers.events import summaries
from tests.helpers.known_models import channel_data, channel_model, shines


def make_data(count=12):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 6, 6, 1), "uint8")
    return images, np.arange(count, dtype="int32") % 2


def make_model(use_ema=False):
    keras.utils.set_random_seed(0)
    model = CoDANet(2, input_shape=(6, 6, 1), filters=(2,), ranks=2, class_names=("odd", "even"))
    model.compile(keras.optimizers.Adam(0.05, use_ema=use_ema, ema_momentum=0.8))
    return model


def fit(model, *chosen, epochs=1, verbose=0, **options):
    images, labels = make_data()
    options = {"batch_size": 6, "epochs": epochs, "callbacks": list(chosen), "verbose": verbose, **options}
    return model.fit(images, labels, **options).history


class Last(keras.callbacks.Callback):
    """Remembers the logs of every epoch, as a logger would see them."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))


# === Contribution maps ===


@pytest.mark.slow
def test_maps_are_drawn_every_n_epochs_and_the_residual_is_logged(tmp_path):
    images, labels = make_data()
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(5)
    folder, log_dir, last = tmp_path / "maps", tmp_path / "logs", Last()
    maps = callbacks.ContributionMaps(dataset, folder, log_dir, every=2, num_images=7)
    np.testing.assert_array_equal(maps.images, images[:7])
    np.testing.assert_array_equal(maps.classes, labels[:7])
    history = fit(make_model(), maps, last, epochs=4)
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-000002.png", "epoch-000004.png"]
    with Image.open(folder / "epoch-000004.png") as picture:
        assert picture.height > 0.9 * picture.width  # seven images with one map each, in two columns
    residuals = history["largest_residual"]
    np.testing.assert_array_equal(np.isnan(residuals), [True, False, True, False])
    assert 0 <= residuals[3] < 1e-5
    assert [row["largest_residual"] for row in last.logs[1::2]] == residuals[1::2]
    written = summaries(log_dir)
    assert set(written["contribution_maps"]) == set(written["largest_residual"]) == {1, 3}
    assert written["largest_residual"][3] == np.float32(residuals[3])
    assert written["contribution_maps"][3][2].startswith(b"\x89PNG")
    with Image.open(folder / "epoch-000004.png") as picture:
        assert [int(size) for size in written["contribution_maps"][3][:2]] == list(picture.size)


def test_maps_of_an_array_are_of_the_predicted_or_the_given_classes(tmp_path):
    images = make_data()[0][:3]
    model = make_model()
    for classes in (None, 1, [[0, 1]] * 3):
        fit(model, callbacks.ContributionMaps(images, tmp_path, classes=classes))
    unlabeled = callbacks.ContributionMaps([images[:3]], tmp_path)
    assert unlabeled.classes is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "folder"),
        ({"folder": "maps", "every": 0}, "every"),
        ({"folder": "maps", "num_images": 0}, "num_images"),
        ({"folder": "maps", "images": tf.data.Dataset.range(0)}, "must yield images"),
    ],
)
def test_maps_refuse(options, message):
    with pytest.raises(ValueError, match=message):
        callbacks.ContributionMaps(**{"images": make_data()[0], **options})


@pytest.mark.parametrize(
    ("options", "message"), [({"images": np.zeros((1, 6, 6, 3))}, "shape"), ({"classes": 2}, r"in \[0, 1\]")]
)
def test_maps_that_do_not_fit_the_model_are_refused_before_training(options, message, tmp_path):
    maps = callbacks.ContributionMaps(**{"images": make_data()[0], "folder": tmp_path / "maps", **options})
    model = make_model()
    before = model.get_weights()[0]
    with pytest.raises(ValueError, match=message):
        fit(model, maps)
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"keras-coda\[tensorboard\]"):
        callbacks.ContributionMaps(make_data()[0], log_dir=tmp_path)


def test_a_network_that_diverged_is_not_drawn(tmp_path):
    model = make_model()
    model.optimizer.learning_rate = float("nan")
    located = callbacks.ContributionMaps(make_data()[0], tmp_path)
    history = fit(model, located, epochs=2)
    assert math.isnan(history["loss"][-1])
    assert math.isnan(history["largest_residual"][-1])
    assert not (tmp_path / "epoch-000002.png").exists()


# === Localization ===


def at_rest(digits):
    """Return a copy of the trained network, whose weights will not change, and its data."""
    trained, validation = digits
    model = CoDANet.from_config(trained.get_config())
    model.set_weights(trained.get_weights())
    model.compile(keras.optimizers.Adam(0.0))
    return model, validation


@pytest.mark.slow
def test_localization_is_logged_every_n_epochs_for_later_callbacks(digits):
    model, validation = at_rest(digits)
    last = Last()
    located = callbacks.Localization(validation, every=2, n_grids=4)
    history = model.fit(validation.take(1), epochs=3, callbacks=[located, last], verbose=0).history
    expected = localization(model, validation, n_grids=4, verbose=False).mean
    np.testing.assert_array_equal(history["localization"], [math.nan, expected, math.nan])
    assert last.logs[1]["localization"] == expected > 1 / 9


def test_a_network_that_is_not_certain_yet_has_no_localization(digits):
    _, validation = digits
    model = CoDANet.from_preset("coda_digits", load_weights=False)
    model.compile(keras.optimizers.Adam(0.0))
    located = callbacks.Localization(validation, every=1, missing=0.0)
    history = model.fit(validation.take(1), epochs=1, callbacks=[located], verbose=0).history
    assert history["localization"] == [0.0]


def test_errors_of_localization_other_than_too_few_images_end_the_training(digits, monkeypatch):
    def fail(*_, **__):
        raise ValueError("A grid needs correctly classified images")  # the words alone mean nothing

    monkeypatch.setattr(callbacks, "localization", fail)
    model, validation = at_rest(digits)
    with pytest.raises(ValueError, match="correctly classified"):
        model.fit(validation.take(1), callbacks=[callbacks.Localization(validation, every=1)], verbose=0)


def test_localization_refuses_before_training(digits):
    _, validation = digits
    for options in ({"every": 0}, {"n_grids": 0}, {"grid": 1}, {"dataset": 3}):
        with pytest.raises(ValueError, match=next(iter(options))):
            callbacks.Localization(**{"dataset": validation, **options})
    with pytest.raises(ValueError, match="A grid needs 9 different classes"):
        fit(make_model(), callbacks.Localization(validation, grid=3))
    with pytest.raises(ValueError, match=r"yield \(images, labels\)"):
        at_rest(digits)[0].fit(
            validation.take(1), callbacks=[callbacks.Localization([make_data()[0]], every=1)], verbose=0
        )


def test_localization_of_a_network_with_few_classes_is_measured_on_smaller_grids(monkeypatch):
    asked = []

    def measure(model, dataset, *, grid, **_):
        asked.append(grid)
        return localization(channel_model(2), channel_data(num_classes=2), grid=grid, n_grids=1, verbose=False,
                            explainer=lambda model, images, classes: shines(images, classes) * 1.0)  # fmt: skip

    monkeypatch.setattr(callbacks, "localization", measure)
    for grid in (None, (1, 2), [2, 1]):
        images, labels = make_data()
        located = callbacks.Localization([(images, labels)], every=1, grid=grid)
        assert fit(make_model(), located)["localization"] == [1.0]
    assert asked == [None, (1, 2), (2, 1)]


def test_callbacks_take_the_labels_that_fit_takes(digits):
    images, labels = next(iter(digits[1]))
    for form in (labels, labels[:, None], tf.one_hot(labels, 10), tf.cast(labels, "float32")):
        maps, located = callbacks.ContributionMaps([(images, form)], "unused"), callbacks.Localization([(images, form)])
        for callback in (maps, located):
            callback.set_model(digits[0])
            callback.on_train_begin()
        assert maps.labels.tolist() == maps.classes.tolist() == labels[:8].numpy().tolist()


@pytest.mark.parametrize("wrong", [10, -1, 0.5])
def test_callbacks_refuse_other_labels_before_training(digits, wrong):
    images = next(iter(digits[1]))[0]
    data = [(images, np.full(len(images), wrong))]
    for callback in (callbacks.ContributionMaps(data, "unused"), callbacks.Localization(data)):
        callback.set_model(digits[0])
        with pytest.raises(InvalidLabelsError):
            callback.on_train_begin()


# === Averaged weights ===


def test_averages_are_validated_and_weights_come_back_exactly():
    images, labels = make_data()
    trained, validated = (make_model(use_ema=True) for _ in range(2))
    seen = []

    class Weights(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            seen.append(self.model.get_weights()[0])

        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.get_weights()[0])

    fit(trained, epochs=3, shuffle=False)
    options = {"validation_data": (images, labels), "validation_batch_size": 12, "shuffle": False}
    fit(validated, callbacks.ValidateAverages(), Weights(), epochs=3, **options)
    for a, b in zip(trained.get_weights(), validated.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(seen[-2] - seen[-1]).max() > 1e-3  # averages, then the weights themselves
    np.testing.assert_array_equal(validated.get_weights()[0], seen[-2])  # what `fit` ends with was validated


def test_weights_that_nobody_averages_stay_as_they_are():
    model = make_model()
    before = model.get_weights()[0]
    with callbacks.averaged_weights(model):
        np.testing.assert_array_equal(model.get_weights()[0], before)


def test_maps_are_those_of_the_averages(tmp_path, monkeypatch):
    model, seen, explain = make_model(use_ema=True), [], callbacks.explain

    def recording(model, *arguments, **options):
        seen.append(model.get_weights()[0])
        return explain(model, *arguments, **options)

    monkeypatch.setattr(callbacks, "explain", recording)
    fit(model, callbacks.ContributionMaps(make_data()[0][:2], tmp_path), epochs=2)
    np.testing.assert_array_equal(seen[-1], model.get_weights()[0])  # the averages, with which `fit` ends
    assert np.abs(seen[-1] - seen[0]).max() > 1e-3


# === Estimates of time ===


def test_time_is_estimated_once_from_the_first_steps(monkeypatch, capsys):
    seconds = iter([100.0, 106.0])  # after the second step and the fifth
    estimate = callbacks.TimeEstimate(steps=3)
    monkeypatch.setattr(callbacks, "perf_counter", lambda: next(seconds))
    fit(make_model(), estimate, batch_size=2, epochs=1002, initial_epoch=1000)
    shown = capsys.readouterr().out.strip()
    assert shown.startswith("Estimate: 24 seconds for 2 epochs of 6 steps, from 2 s per step in the first 3 ")


@pytest.mark.parametrize(("seconds", "text"), [(119, "119 seconds"), (7200, "2.0 hours"), (1e6, "11.6 days")])
def test_durations_are_in_units_of_their_size(seconds, text):
    assert callbacks.duration(seconds) == text


def test_short_trainings_pass_without_an_estimate(capsys):
    fit(make_model(), callbacks.TimeEstimate(shortest=1e9), batch_size=2)
    fit(make_model(), callbacks.TimeEstimate(), batch_size=6)
    assert "Estimate" not in capsys.readouterr().out
