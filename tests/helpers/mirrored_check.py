"""Run by test_distributed.py: train on one, then on two devices. ``python -m tests.helpers.mirrored_check FOLDER``."""

import pathlib
import sys

import tensorflow as tf

from tests.helpers.commands import run

folder = pathlib.Path(sys.argv[1])
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
options = ["--preset", folder / "tiny", "--batch-size", "480", "--epochs", "2"]
assert run("train", *options, "--out", folder / "one") == 0
original = tf.distribute.MirroredStrategy


def counted(devices):
    print("devices:", len(devices))
    return original(devices)


tf.distribute.MirroredStrategy = counted
assert run("train", *options, "--out", folder / "two", "--distribute", "data") == 0
