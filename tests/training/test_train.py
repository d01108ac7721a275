import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_coda
from keras_coda import CoDANet, training
from keras_coda.training import checkpointing, recipes
from keras_coda.training.recipes import Recipe
from keras_coda.utils.errors import TrainingDivergedError
from tests.helpers.trainings import make_data, make_model, read_log


@pytest.fixture
def interrupt(monkeypatch):
    """Make the training stop, as Ctrl-C does, once an epoch is backed up."""
    original = checkpointing.Backup.on_epoch_end

    def arm(after):
        def on_epoch_end(self, epoch, logs=None):
            original(self, epoch, logs)
            if epoch + 1 == after:
                raise KeyboardInterrupt

        monkeypatch.setattr(checkpointing.Backup, "on_epoch_end", on_epoch_end)
        return lambda: monkeypatch.setattr(checkpointing.Backup, "on_epoch_end", original)

    return arm


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished training, which tests do not change: its network, figures and folder."""
    model, out = make_model(class_names=("a", "b")), tmp_path_factory.mktemp("finished") / "run"
    return model, training.train(model, make_data(), out, epochs=2, verbose=0), out


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """A finished training with averaged weights: as above, and the first kernel after each step."""
    model, out, kernels = make_model(), tmp_path_factory.mktemp("averaged") / "run", []

    class Weights(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernels.append(self.model.get_weights()[0])

    options = {"callbacks": [Weights()], "epochs": 2, "ema": 0.8, "verbose": 0}
    return model, training.train(model, make_data(), out, **options), out, kernels


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"ema": 0.7, "penalties": {"linear_map": 0.5}}], ids=["plain", "all"])
def test_resumed_training_has_the_epochs_and_rates_of_an_uninterrupted_one(changes, tmp_path, interrupt):
    data = make_data()
    whole, parts, resumed = (make_model(filters=(3, 2)) for _ in range(3))
    options = {"epochs": 5, "verbose": 0, **changes}
    training.train(whole, data, tmp_path / "whole", **options)
    disarm = interrupt(after=2)
    with pytest.raises(KeyboardInterrupt):
        training.train(parts, data, tmp_path / "parts", **options)
    assert training.epochs_done(tmp_path / "parts") == 2
    assert not (tmp_path / "parts" / training.MODEL).exists()
    disarm()
    training.train(resumed, data, tmp_path / "parts", **options)

    logs = read_log(tmp_path / "whole"), read_log(tmp_path / "parts")
    assert ("linear_map" in logs[0][0]) == ("penalties" in changes)
    for key in logs[0][0].keys() - {"seconds"}:
        assert [row[key] for row in logs[0]] == [row[key] for row in logs[1]]
    # These data are not shuffled, and there is but one other class: even the weights must agree.
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["log.csv", "model", "training.json"]


def test_finished_training_is_loaded_and_described(finished):
    model, figures, out = finished
    assert figures["epochs"] == 2
    assert figures["num_train"] == 16
    assert figures["data"] == "stripes"
    assert figures["versions"]["keras"] == keras.__version__
    assert figures["versions"]["keras_coda"] == keras_coda.__version__
    assert 0 < figures["seconds_per_epoch"] < figures["seconds"]
    assert Recipe(**figures["recipe"]) == Recipe(epochs=2)

    other = make_model(class_names=("a", "b"))
    assert training.train(other, make_data(), out, epochs=2, verbose=0) == json.loads(json.dumps(figures))
    loaded = CoDANet.from_preset(out / training.MODEL)
    assert loaded.training_figures["epochs"] == 2
    assert loaded.class_names == ("a", "b")
    for weights in (other.get_weights(), loaded.get_weights()):
        np.testing.assert_array_equal(weights[0], model.get_weights()[0])
    assert len(read_log(out)) == 2


def test_other_arguments_and_foreign_folders_are_refused(finished, tmp_path):
    shutil.copytree(finished[-1], tmp_path / "run")
    options = {"restart": False, "verbose": 0}
    with pytest.raises(ValueError, match=r"epochs=1 \(it was 2\)"):
        training.train(make_model(class_names=("a", "b")), make_data(), tmp_path / "run", epochs=1, **options)
    assert len(read_log(tmp_path / "run")) == 2
    training.train(make_model(), make_data(), tmp_path / "run", epochs=1, **{**options, "restart": True})
    assert len(read_log(tmp_path / "run")) == 1

    (tmp_path / "foreign" / training.MODEL).mkdir(parents=True)
    for restart in (False, True):
        with pytest.raises(ValueError, match="must be new or hold a training"):
            training.train(make_model(), make_data(), tmp_path / "foreign", restart=restart)
    assert [path.name for path in (tmp_path / "foreign").iterdir()] == [training.MODEL]


def test_data_that_do_not_fit_leave_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="must fit the channels and classes"):
        training.train(make_model(), make_data(channels=3), tmp_path / "run")
    with pytest.raises(ValueError, match="warmup"):
        training.train(make_model(), make_data(), tmp_path / "run", warmup=1)
    with pytest.raises(TypeError, match="epoch"):
        training.train(make_model(), make_data(), tmp_path / "run", epoch=1)
    assert not list(tmp_path.iterdir())


def test_diverging_training_is_an_error_and_keeps_the_last_good_backup(tmp_path, monkeypatch):
    data, model = make_data(), make_model()
    monkeypatch.setattr(recipes, "cosine_schedule", lambda *_: float("nan"))
    with pytest.raises(TrainingDivergedError, match="stopped being finite"):
        training.train(model, data, tmp_path / "run", epochs=2, verbose=0)
    assert training.epochs_done(tmp_path / "run") == 0
    assert not (tmp_path / "run" / training.MODEL).exists()


# A training that version 0.1.0 began: `make_model(filters=(3, 2))` and `make_data`, interrupted after epoch 2.
EARLIER = Path(__file__).parents[1] / "golden" / "written_by_0_1_0" / "training"
EARLIER_OPTIONS = {"epochs": 3, "ema": 0.7, "penalties": {"linear_map": 0.5}, "verbose": 0}


@pytest.mark.slow
def test_a_training_that_an_earlier_version_began_is_resumed(tmp_path):
    shutil.copytree(EARLIER, tmp_path / "run")
    before = read_log(EARLIER)
    with pytest.raises(ValueError, match=r"epochs=4 \(it was 3\)\. "):  # the only difference
        training.train(make_model(filters=(3, 2)), make_data(), tmp_path / "run", **{**EARLIER_OPTIONS, "epochs": 4})
    figures = training.train(make_model(filters=(3, 2)), make_data(), tmp_path / "run", **EARLIER_OPTIONS)
    after = read_log(tmp_path / "run")
    assert after[:2] == before
    assert [row["epoch"] for row in after] == ["1", "2", "3"]
    assert after[0].keys() == after[2].keys()
    assert float(after[2]["learning_rate"]) < float(after[1]["learning_rate"])
    assert float(after[2]["loss"]) < float(after[1]["loss"])
    assert figures["seconds"] == pytest.approx(sum(float(row["seconds"]) for row in after))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["log.csv", "model", "training.json"]


def test_a_damaged_backup_is_named(tmp_path):
    shutil.copytree(EARLIER, tmp_path / "run")
    assert training.epochs_done(tmp_path / "run") == 2
    (backup,) = (tmp_path / "run" / training.BACKUPS / "epoch-000002").iterdir()
    backup.write_bytes(backup.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"backup must fit.*epoch-000002"):
        training.train(make_model(filters=(3, 2)), make_data(), tmp_path / "run", **EARLIER_OPTIONS)


def test_network_takes_classes_channels_and_size_from_the_data(tmp_path):
    model, notes = training.network("coda_digits", make_data(channels=3), temperature=7.0)
    assert (model.num_classes, model.input.shape[1:], model.temperature) == (2, (6, 6, 3), 7.0)
    assert model.class_names == ("a", "b")
    assert len(notes) == 3
    model.save_to_preset(tmp_path / "preset")
    again, notes = training.network(tmp_path / "preset", make_data(channels=3))
    assert not notes
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    other, notes = training.network(tmp_path / "preset", make_data(channels=1))
    assert "random weights: dau_1." in notes[-1]
    fresh, _ = training.network(tmp_path / "preset", make_data(channels=3), pretrained=False)
    assert np.abs(fresh.get_weights()[0] - model.get_weights()[0]).max() > 0
    assert other.input.shape[-1] == 1


def test_a_training_with_averaged_weights_validates_and_keeps_the_averages(averaged):
    _, figures, out, kernels = averaged
    average = kernels[0]
    for kernel in kernels[1:]:
        average = 0.8 * average + 0.2 * kernel
    loaded = CoDANet.from_preset(out / training.MODEL)
    np.testing.assert_allclose(loaded.get_weights()[0], average, rtol=1e-4, atol=1e-6)
    assert np.abs(average - kernels[-1]).max() > 1e-4
    last = read_log(out)[-1]
    assert float(last["val_loss"]) == pytest.approx(figures["validation_loss"], rel=1e-6)
    assert "averaged" in figures["optimizer"]


def test_a_training_killed_between_its_last_epoch_and_its_end_still_ends_with_the_averages(
    averaged, tmp_path, interrupt
):
    options = {"epochs": 2, "ema": 0.8, "verbose": 0}
    disarm = interrupt(after=2)
    with pytest.raises(KeyboardInterrupt):
        training.train(make_model(), make_data(), tmp_path / "parts", **options)
    disarm()
    resumed = make_model()
    training.train(resumed, make_data(), tmp_path / "parts", **options)
    np.testing.assert_array_equal(resumed.get_weights()[0], averaged[0].get_weights()[0])


def test_callbacks_add_columns_to_a_log_that_stays_aligned_when_it_goes_on_without_them(tmp_path, interrupt):
    class Extra(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["a_column"] = 7.0

    disarm = interrupt(after=1)
    with pytest.raises(KeyboardInterrupt):
        training.train(make_model(), make_data(), tmp_path, callbacks=[Extra()], epochs=2, verbose=0)
    disarm()
    figures = training.train(make_model(), make_data(), tmp_path, epochs=2, verbose=0)
    first, second = read_log(tmp_path)
    assert (first["a_column"], second["a_column"]) == ("7.0", "NA")
    assert float(second["val_loss"]) == pytest.approx(figures["validation_loss"], rel=1e-6)
    assert float(first["learning_rate"]) > float(second["learning_rate"])


def test_figures_say_how_the_data_were_made(tmp_path):
    data = keras_coda.data.load("digits", batch_size=300, augment=True)
    model = CoDANet(10, input_shape=(8, 8, 1), filters=(10,), ranks=2)
    figures = training.train(model, data, tmp_path / "run", epochs=1, verbose=0)
    assert (figures["recipe"]["batch_size"], figures["recipe"]["augmentation"]) == (300, "flip_crop")


def test_shipped_weights_are_the_start_only_if_asked_for():
    data, shipped = keras_coda.data.load("digits"), keras_coda.CoDANet.from_preset("coda_digits").get_weights()[0]
    for pretrained, same in ((None, False), (True, True)):
        model, notes = training.network("coda_digits", data, pretrained=pretrained)
        assert not notes
        assert np.array_equal(model.get_weights()[0], shipped) == same


def test_a_training_whose_log_is_cut_off_goes_on(tmp_path, interrupt):
    resume = interrupt(2)
    with pytest.raises(KeyboardInterrupt):
        training.train(make_model(), make_data(), tmp_path, epochs=3, verbose=0)
    path = tmp_path / training.LOG
    path.write_bytes(path.read_bytes()[:-4])
    resume()
    with pytest.warns(UserWarning, match="Damaged rows"):
        figures = training.train(make_model(), make_data(), tmp_path, epochs=3, verbose=0)
    assert [row["epoch"] for row in read_log(tmp_path)] == ["1", "3"]
    assert figures["seconds_per_epoch"] > 0


def test_a_finished_training_says_how_to_go_on(finished):
    _, figures, out = finished
    arguments = figures["arguments"]
    more = {**arguments, "epochs": arguments["epochs"] + 1}
    with pytest.raises(
        ValueError, match=r"epochs=.*To train the finished network further, start .*/model' \(--preset\)"
    ):
        checkpointing.run_folder(out, more)
