"""Run by test_gpu_benchmark.py in a process of its own: ``benchmarks.gpu`` on the CPU without TensorFlow."""

import contextlib
import io
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_coda
from benchmarks.gpu import device
from benchmarks.gpu import run as training
from benchmarks.gpu import table as timed
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.step import Trainer
from tests.helpers.chunk_clock import ChunkClock

root = Path(sys.argv[1])
device.COPIED, device.SECONDS, device.REPEATED, timed.BURST = 2**20, 1e-4, 0.01, 0.005  # times are not what is tested
tiny = str(root / "tiny")


def run(*arguments):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(list(map(str, arguments))) == 0
    print(printed.getvalue())
    return printed.getvalue()


# A chunk of steps is what Keras does for the same batches.
images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), "uint8")
labels = np.array([1, 3, 5, 7])
model = keras_coda.CoDANet.from_preset(tiny)
twin = keras_coda.CoDANet.from_preset(tiny)
trainer = Trainer(model, images, labels, precision="float32", batch=4, chunk=3, pad=0, flip=False)
trainer.compile()
rates = [0.01, 0.02, 0.005]
loss = float(trainer.run(rates)[0])
twin.compile(optimizer=keras.optimizers.Adam(1.0))
losses = []
for rate in rates:
    twin.optimizer.learning_rate = rate
    losses.append(twin.train_on_batch(images, labels)[0])
before = twin.get_weights()
trainer.weights_to(twin)
for ours, keras_own in zip(twin.get_weights(), before, strict=True):
    np.testing.assert_allclose(ours, keras_own, atol=1e-5)

# Training that is interrupted continues from the weights it wrote; a training that is done is not repeated.
training.Clock = ChunkClock
command = [
    "train",
    "--preset",
    tiny,
    "--images",
    "digits",
    "--seconds",
    15,
    "--batch",
    64,
    "--chunk",
    20,
    "--rate",
    0.05,
]
command += ["--ema", 0.9, "--precision", "float32", "--held-out", 64, "--grids", 2, "--out", root / "out"]
ChunkClock.interrupted = 8
with pytest.raises(KeyboardInterrupt):
    run(*command, "--save-every", 4)
assert [path.name for path in (root / "out" / "weights").iterdir()] == ["0000100"]
ChunkClock.interrupted = None
assert "continues after 5 s" in run(*command)
assert [path.name for path in (root / "out" / "weights").iterdir()] == ["0000300"]
file = root / "out" / "training.json"
record = json.loads(file.read_text())
results = record["results"]
assert results["training"]["steps"] == 300
assert results["training"]["loss"] < 0.2
assert results["accuracy"]["accuracy"] > 0.6
assert results["accuracy"]["largest_residual"] < 1e-4
assert "localization" in results
assert record["device"]["platform"] == "cpu"
assert record["versions"]["jax"]
for forgotten in ([], ["is_trained", "training"]):  # the latter: killed between weights and results
    file.write_text(json.dumps({**record, "results": {k: v for k, v in results.items() if k not in forgotten}}))
    run(*command)
    assert json.loads(file.read_text())["results"] == results
with pytest.raises(ValueError, match=r"rate=0.1 \(it was 0.05\)"):
    main([*map(str, command), "--rate", "0.1"])

# The table: a row per task and precision; maps are float32 under every policy. The same command adds what is missing.
table = ["table", "--preset", tiny, "--batch", 4, "--chunk", 2, "--out", root / "table", "--precision"]
run(*table, "float32", "bfloat16", "--task", "prediction", "one map", "--seconds", 1e4, "--save-hlo")
file = root / "table" / "table.json"
rows = json.loads(file.read_text())["results"]["rows"]
measured = [(row["precision"], row["task"]) for row in rows]
assert measured == [("float32", "prediction"), ("float32", "one map"), ("bfloat16", "prediction")]
more = [*table, "bfloat16", "--task", "training", "one map", "prediction"]
assert "1 rows are left" in run(*more, "--seconds", 1e-3)
run(*more, "--seconds", 1e4)
results = json.loads(file.read_text())["results"]
assert results["rows"][:3] == rows
assert [row["task"] for row in results["rows"][3:]] == ["training"]
for row in results["rows"]:
    assert row["images_per_second"]["best"] >= row["images_per_second"]["median"] > 0
    assert row["memory_mb"] > 0
    assert row["hlo"]["dots"] > 0
    assert row["of_roofline"] > 0
    assert (row["residual"] is None) == (row["task"] != "one map")
assert rows[1]["residual"] < 1e-4
assert sorted(path.name for path in (root / "table" / "hlo").iterdir()) == [
    "tiny-4-bfloat16-prediction.txt.gz",
    "tiny-4-float32-one_map.txt.gz",
    "tiny-4-float32-prediction.txt.gz",
]
page = (root / "table" / "table.md").read_text()
assert page.count("| bfloat16  |") == 4  # two rows in each of two tables
assert " dots, " in page
file.write_text(json.dumps(json.loads(file.read_text()) | {"device": {"kind": "another"}}))
with pytest.raises(ValueError, match="measured on one device"):
    main(list(map(str, more)))
assert "tensorflow" not in sys.modules
