import io
import os
import subprocess
import sys

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_coda.training import summaries
from tests.helpers.events import events

WRITE = """
import pathlib, sys
sys.modules["tensorflow"] = None
from keras_coda.training.summaries import EventFile
png, folder = map(pathlib.Path, sys.argv[1:])
file = EventFile(folder)
file.image("picture", png.read_bytes(), 3)
file.scalar("number", 0.1, 3)
file.flush()
file.scalar("number", float("nan"), 2**40)
file.close()
"""


def test_without_tensorflow_summaries_are_those_that_tensorflow_writes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), "uint8")
    png = tmp_path / "picture.png"
    Image.fromarray(pixels).save(png)
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", WRITE, str(png), str(tmp_path / "ours")], env=environment, check=True)
    with tf.summary.create_file_writer(str(tmp_path / "tensorflow")).as_default():
        tf.summary.image("picture", pixels[None], step=3)
        tf.summary.scalar("number", 0.1, step=3)
        tf.summary.scalar("number", float("nan"), step=2**40)
    (first, *ours), (expected_first, *expected) = (events(tmp_path / name) for name in ("ours", "tensorflow"))
    assert first.file_version == expected_first.file_version
    assert [event.step for event in ours] == [event.step for event in expected] == [3, 3, 2**40]
    for event, other in zip(ours, expected, strict=True):
        (value,), (expected_value,) = event.summary.value, other.summary.value
        assert (value.tag, value.metadata) == (expected_value.tag, expected_value.metadata)
        assert abs(event.wall_time - other.wall_time) < 600
        tensor, expected_tensor = map(tf.make_ndarray, (value.tensor, expected_value.tensor))
        assert (tensor.dtype, tensor.shape) == (expected_tensor.dtype, expected_tensor.shape)
        if value.tag == "number":
            np.testing.assert_array_equal(tensor, expected_tensor)
        else:
            np.testing.assert_array_equal(tensor[:2], expected_tensor[:2])
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(tensor[2]))), pixels)


def test_a_file_can_be_read_while_it_is_written(tmp_path):
    file = summaries.EventFile(tmp_path)
    file.scalar("number", 1.0, 0)
    file.flush()
    assert [value.tag for event in events(tmp_path) for value in event.summary.value] == ["number"]
    file.close()
