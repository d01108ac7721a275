"""Claims about what a training starts from: a preset of which some layers fit, or a folder with a damaged log."""

import numpy as np
import pytest

from keras_coda import CoDANet, training
from keras_coda.training import checkpointing
from tests.helpers.trainings import make_data, make_model, read_log


def test_layers_that_fit_are_loaded_and_the_others_named(tmp_path):
    trained = CoDANet(5, input_shape=(6, 6, 1), filters=(3, 4, 5), ranks=2)
    trained.save_to_preset(tmp_path / "preset")
    for channels, new in ((1, ("dau_3",)), (3, ("dau_1", "dau_3"))):
        model, notes = training.network(tmp_path / "preset", make_data(channels=channels))
        assert model.new_layers == new
        assert notes[-1].startswith(f"New layers, with random weights: {', '.join(new)}.")
        np.testing.assert_array_equal(
            model.get_layer("dau_2").get_weights()[1], trained.get_layer("dau_2").get_weights()[1]
        )
        frozen, _ = training.network(tmp_path / "preset", make_data(channels=channels), freeze=True)
        assert [layer.name for layer in frozen.layers if layer.weights and layer.trainable] == list(new)
    figures = training.train(frozen, make_data(channels=3), tmp_path / "run", epochs=1, verbose=0)
    assert figures["arguments"]["model"]["frozen"] == ["dau_2"]
    again = CoDANet.from_preset(tmp_path / "run" / training.MODEL)
    assert again.get_config()["frozen"] == ["dau_2"]
    for freeze, expected in ((None, ["dau_2"]), (False, None)):
        further, notes = training.network(tmp_path / "run" / training.MODEL, make_data(channels=3), freeze=freeze)
        assert further.get_config()["frozen"] == expected
        assert notes == ["Frozen layers, which are not trained: dau_2."] * (freeze is None)
    np.testing.assert_array_equal(
        again.get_layer("dau_2").get_weights()[1], trained.get_layer("dau_2").get_weights()[1]
    )


def test_nothing_new_cannot_be_trained_alone(tmp_path):
    make_model().save_to_preset(tmp_path / "preset")
    for options in ({}, {"pretrained": False}):
        with pytest.raises(ValueError, match=r"`freeze` keeps a preset's weights.* Received: .*new_layers=\(\)"):
            training.network(tmp_path / "preset", make_data(), freeze=True, **options)


def cut(name, log):
    """Damage a log of two epochs as power failures, full disks and merged rows do."""
    header, first, second = log.splitlines(keepends=True)
    return {
        "the last byte": log[:-1],
        "half of a row": log[: -len(second) // 2],
        "the end of a number": log[:-3],
        "zeros at the end": log + b"\0" * 30,
        "a row of zeros": header + first + b"\0" * len(second) + b"\n",
        "two rows in one": header + first[:-3] + second,
        "half of the header": header[:9],
        "bytes that are no text": header + first + second[:-3] + b"\xff\xfe\n",
        "everything": b"",
    }[name]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("the last byte", ["1"]),
        ("half of a row", ["1"]),
        ("the end of a number", ["1"]),
        ("zeros at the end", ["1", "2"]),
        ("a row of zeros", ["1"]),
        ("two rows in one", []),
        ("half of the header", []),
        ("bytes that are no text", ["1"]),
        ("everything", []),
    ],
)
def test_a_damaged_log_loses_the_damaged_rows_only(name, kept, tmp_path):
    path = tmp_path / training.LOG
    log = b"epoch,accuracy,loss,learning_rate,seconds\n1,0.5,0.75,0.01,1.25\n2,0.625,0.5,0.005,1.125\n"
    path.write_bytes(cut(name, log))
    model = make_model()
    model.optimizer.learning_rate = 0.25
    callback = checkpointing.Log(tmp_path)
    callback.set_model(model)
    if name == "everything":
        callback.on_train_begin()
    else:
        with pytest.warns(UserWarning, match="Damaged rows of the log were deleted.* Received: .*log.csv"):
            callback.on_train_begin()
    callback.on_epoch_begin(2)
    callback.on_epoch_end(2, {"accuracy": 0.75, "loss": 0.375})
    callback.on_train_end()
    rows = read_log(tmp_path)
    assert [row["epoch"] for row in rows] == [*kept, "3"]
    assert all(None not in row and None not in row.values() for row in rows)
    assert (rows[-1]["accuracy"], rows[-1]["learning_rate"]) == ("0.75", "0.25")
    assert len(checkpointing.seconds_of_epochs(tmp_path)) == len(kept) + 1


@pytest.mark.filterwarnings("error")
def test_a_whole_log_is_not_touched(tmp_path):
    path = tmp_path / training.LOG
    path.write_bytes(b'epoch,loss,seconds\n1,"[0.5, 0.75]",1\n')
    before = path.stat().st_mtime_ns
    callback = checkpointing.Log(tmp_path)
    callback.on_train_begin()
    callback.on_train_end()
    assert path.stat().st_mtime_ns == before


def test_a_training_that_is_not_finished_does_not_name_a_network(tmp_path):
    folder = checkpointing.run_folder(tmp_path, {"epochs": 1})
    folder.begin()
    with pytest.raises(ValueError, match=r"begin anew with `restart` \(--restart\)\.$"):
        checkpointing.run_folder(tmp_path, {"epochs": 2})
