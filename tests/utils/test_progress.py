import contextlib
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_coda.utils.progress import Progress, is_infinite, length, steps_per_epoch, track


def test_the_bar_counts_units_and_ends_its_line(capsys):
    with Progress(4, "grid") as progress:
        progress.add(3)
        progress.add()
    out = capsys.readouterr().out
    assert "3/4" in out
    assert "4/4" in out
    assert "/grid" in out
    assert out.endswith("\n")


def test_an_estimated_total_is_corrected_at_the_end(capsys):
    with Progress(2) as progress:
        progress.add(2)
        progress.add(3)
    out = capsys.readouterr().out
    assert "5/5" in out
    assert out.count("\n") == 1
    with contextlib.suppress(KeyError), Progress(None) as progress:
        progress.add(2)
        raise KeyError
    assert "2/2" in capsys.readouterr().out


def test_hidden_bars_and_short_work_print_nothing(capsys):
    for show in (False, "auto"):
        with Progress(2, show=show) as progress:
            progress.add(1)
            progress.add(1)
    assert capsys.readouterr().out == ""
    with Progress(2, show="auto", patience=-1) as progress:
        progress.add(1)
    assert "1/2" in capsys.readouterr().out


def test_track_yields_every_batch(capsys):
    assert list(track([1, 2])) == [1, 2]
    assert "2/2" in capsys.readouterr().out
    assert list(track(iter("ab"), show=False)) == ["a", "b"]
    assert capsys.readouterr().out == ""


def test_length_of_data_sets():
    data = tf.data.Dataset.from_tensor_slices(np.zeros(5)).batch(2)
    odd = data.filter(lambda batch: len(batch) == 2)
    assert (length(data), length([1, 2]), length([])) == (3, 2, 0)
    assert (length(odd), length(data.repeat()), length(iter([1])), length(object())) == (None,) * 4
    assert (is_infinite(data.repeat()), is_infinite(data), is_infinite(itertools.count())) == (True, False, False)
    assert (steps_per_epoch(data), steps_per_epoch(odd)) == (3, 2)
    with pytest.raises(ValueError, match=r"must come to an end.*take"):
        steps_per_epoch(data.repeat())
    with pytest.raises(ValueError, match="at least one batch"):
        steps_per_epoch([])


def test_a_py_dataset_without_end_is_refused_and_one_without_a_length_is_counted():
    class Endless(keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, index):
            return index

    class Two(Endless):
        num_batches = 2

    assert (is_infinite(Endless()), is_infinite(Two()), length(Endless())) == (True, False, None)
    assert steps_per_epoch(Two()) == 2
    with pytest.raises(ValueError, match="must come to an end"):
        steps_per_epoch(Endless())
