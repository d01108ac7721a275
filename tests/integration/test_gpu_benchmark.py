"""``python -m benchmarks.gpu``: its parts, and on the CPU a small training and table in which TensorFlow is blocked."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_coda
from benchmarks.gpu import data as datasets
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.pack import pack
from benchmarks.speed import flops, programs, roofline
from keras_coda.data.images import png, read_image
from keras_coda.utils.errors import UnreadableFileError
from tests.helpers.chunk_clock import ChunkClock

ROOT = Path(__file__).resolve().parents[2]

# === Arguments ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--preset", "coda_x_cifar10"], "Did you mean 'coda_xs_cifar10'"),
        (["train", "--images", "missing.npz"], "must be digits, random, or a file"),
        (["train", "--seconds", "0"], "must be above 0"),
        (["train", "--seconds", "nan"], "must be above 0"),
        (["train", "--ema", "1"], "must be at least 0 and below 1"),
        (["train", "--clip", "-1"], "must be above 0"),
        (["train", "--augment", "weak"], "invalid choice"),
        (["table", "--batch", "0"], "must be at least 1"),
        (["table", "--precision", "int8"], "invalid choice"),
        (["pack", "--cifar10", "missing"], "must be a folder"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_arguments_are_parsed_without_keras_and_jax():
    code = (
        "import sys, benchmarks.gpu.__main__ as m; m._parser(); assert not {'keras', 'jax', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# === Images ===


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 256, (6, 5, 3), "uint8")
            (tmp_path / "pictures" / name / f"{number}.png").write_bytes(png(pixels))
    return tmp_path / "pictures"


def test_packed_images_are_those_of_the_files(folder, tmp_path, capsys):
    pack(folder, tmp_path / "packed", [], "3.12", "x86_64")
    assert "PYTHONPATH=packed python3 -m benchmarks.gpu train --images packed/images.npz" in capsys.readouterr().out
    data = datasets.load(str(tmp_path / "packed" / "images.npz"))
    paths = sorted(folder.rglob("*.png"))
    images = np.stack([read_image(path, 3) for path in paths])
    is_held = np.arange(10) % 5 == 4  # the last fifth of each class
    np.testing.assert_array_equal(data.images, images[~is_held])
    np.testing.assert_array_equal(data.labels, [0] * 4 + [1] * 4)
    np.testing.assert_array_equal(data.held_out[np.argsort(data.held_out_labels)], images[is_held])
    assert data.class_names == ("cat", "dog")
    names = {path.name for path in (tmp_path / "packed").iterdir()}
    assert names == {"benchmarks", "experiments", "images.npz", "keras_coda", "keras_coda_cli"}
    assert not list((tmp_path / "packed").rglob("*.h5"))


def test_what_cannot_be_packed_leaves_nothing_behind(folder, tmp_path):
    with pytest.raises(ValueError, match="one folder of images for each class"):
        pack(folder / "cat", tmp_path / "packed", [], "3.12", "x86_64")
    with pytest.raises(FileExistsError):
        pack(folder, folder, [], "3.12", "x86_64")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_other_files_and_images_of_several_sizes_are_refused(folder, tmp_path):
    (tmp_path / "other.npz").write_bytes(b"PK")
    np.savez(tmp_path / "arrays.npz", images=np.zeros(3))
    for name in ("other.npz", "arrays.npz"):
        with pytest.raises(UnreadableFileError, match=r"`python -m benchmarks\.gpu pack` wrote"):
            datasets.load(str(tmp_path / name))
    (folder / "cat" / "large.png").write_bytes(png(np.zeros((9, 9, 3), "uint8")))
    datasets.pack(folder, tmp_path / "mixed.npz")
    with pytest.raises(ValueError, match="All images must be of one size"):
        datasets.load(str(tmp_path / "mixed.npz"))


@pytest.mark.parametrize(("pad", "flip"), [(0, False), (0, True), (1, False), (2, True)])
def test_augmented_images_are_crops_of_the_padded_ones(pad, flip):
    import jax

    from benchmarks.gpu.augmenting import flip_crop

    images = np.random.default_rng(0).integers(1, 256, (64, 5, 4, 2), "uint8")
    results = np.asarray(flip_crop(images, jax.random.key(0), pad, flip))
    assert results.dtype == np.uint8
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    found = set()
    for image, mirrored, result in zip(padded, padded[:, :, ::-1], results, strict=True):
        crops = {
            (top, left, is_mirrored): whole[top : top + 5, left : left + 4]
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
            for is_mirrored, whole in enumerate((image, mirrored)[: 1 + flip])
        }
        found |= {key for key, crop in crops.items() if np.array_equal(crop, result)}
    assert len(found) > 0.6 * (2 * pad + 1) ** 2 * (1 + flip)  # nearly all of them occur among 64


def test_distorted_images_keep_what_does_not_depend_on_the_distortion():
    import jax

    from benchmarks.gpu.augmenting import distort

    flat = np.broadcast_to(np.linspace(60, 120, 32)[:, None, None, None], (32, 16, 16, 3)).astype("uint8")
    results = np.asarray(distort(flat, jax.random.key(0)))
    assert results.dtype == np.float32
    for image, result in zip(flat, results, strict=True):  # warped, one color is the same one, but for its brightness
        seen = result[np.abs(result[..., 0] - 127.5) > 1e-3]
        np.testing.assert_allclose(seen, np.broadcast_to(seen[0], seen.shape), rtol=1e-5)
        assert 0.6 * image.max() - 1e-3 <= seen[0, 0] <= 1.4 * image.max() + 1e-3
        assert len(seen) >= 0.75 * 16 * 16 - 16
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), "uint8")
    changed = np.asarray(distort(images, jax.random.key(1)))
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert len({np.abs(a - b).mean() for a, b in zip(changed, images, strict=True)}) == 8  # to each its own draws
    np.testing.assert_allclose(distort(images, jax.random.key(1), 0.0), images, atol=1e-3)


# === Training by time ===


class FakeTrainer:
    """Runs chunks without a device; losses are given."""

    chunk, batch, labels = 4, 8, range(64)

    def __init__(self, losses):
        import jax

        self.state, self.rates, self._losses = {"key": jax.random.key(0)}, [], iter(losses)

    def run(self, rates, strengths=1.0):
        self.rates.append(rates)
        self.strengths = strengths
        return next(self._losses), 0.5


def test_the_learning_rate_rises_and_falls_to_zero():
    from benchmarks.gpu.training import WARMUP, schedule

    rates = schedule([0, WARMUP / 2, WARMUP, (1 + WARMUP) / 2, 1, 1.5], 0.02)
    np.testing.assert_allclose(rates, [0, 0.01, 0.02, 0.01, 0, 0], atol=1e-12)


def test_distortions_fade_in_the_last_part_of_a_training():
    from benchmarks.gpu.training import FADING, strength

    np.testing.assert_allclose(strength([0, 1 - FADING, 1 - FADING / 2, 1, 1.5]), [1, 1, 0.5, 0, 0], atol=1e-12)


def test_training_goes_on_after_losses_that_are_not_finite(tmp_path):
    from benchmarks.gpu.training import train

    trainer, saved = FakeTrainer([0.5, math.nan, *[0.25] * 8]), []
    options = {"rate": 1.0, "log": tmp_path / "log.csv", "save": saved.append, "save_every": 4}
    figures = train(trainer, ChunkClock(), steps=100, **options)
    assert figures["steps"] == 136
    assert figures["failures"] == 1
    assert figures["rate_scale"] == 0.5
    assert figures["images_per_second"] == 32
    assert trainer.rates[1].max() > 2 * trainer.rates[3].max() * 0.9
    assert trainer.strengths.max() < 1
    assert [each["steps"] for each in saved] == [116]  # after 5 of 10 seconds; the caller saves the last weights
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + 9
    with pytest.raises(ArithmeticError, match="lower --rate"):
        train(FakeTrainer([math.inf] * 10), ChunkClock(), **options)


def test_training_by_epochs_falls_to_zero_at_the_last_step():
    from benchmarks.gpu.training import schedule, train_epochs

    trainer = FakeTrainer([0.5, 0.25, 0.125, 0.0625])
    assert train_epochs(trainer, 2, 0.1) == [[0.5, 0.5], [0.25, 0.5], [0.125, 0.5], [0.0625, 0.5]]  # 2 · 64 images
    np.testing.assert_allclose(np.concatenate(trainer.rates), schedule(np.arange(16) / 16, 0.1))
    left = []
    train_epochs(FakeTrainer([0.5] * 4), 2, 0.1, lambda seconds, chunks: left.append(chunks))
    assert left == [3, 2, 1, 0]


# === Counts ===


@pytest.mark.parametrize("preset", ["coda_s_cifar10", "coda_xs_cifar10", "coda_digits", "bcos_resnet20_cifar10"])
def test_the_roofline_has_the_operations_of_the_count(preset):
    counts = flops.layers(keras_coda.ExplainableClassifier.from_preset(preset, load_weights=False))
    for work, expected in (
        (roofline.prediction(counts, 3, 4), flops.prediction(counts, 3)),
        (roofline.explanation(counts, 3, 4, 1), flops.explanation(counts, 3, 1)),
        (roofline.explanation(counts, 3, 4, 10), flops.explanation(counts, 3, 10)),
    ):
        assert 2 * sum(macs for macs, _ in work) == expected
        assert roofline.estimate(work, 1e9, math.inf) == pytest.approx(expected / 1e9)
        assert roofline.estimate(work, math.inf, 1e9) == pytest.approx(sum(moved for _, moved in work) / 1e9)


PROGRAM = """
%fused (a: f32[8,4]) -> f32[8,4] {
  %a = f32[8,4]{1,0} parameter(0)
  ROOT %d = f32[8,4]{1,0} dot(%a, %a), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %g = f32[8,4]{1,0} fusion(%x), kind=kCustom, calls=%fused, backend_config={"kind":"__triton_gemm"}
  %c = (f32[8,6,5]{2,1,0}, s8[64]{0}) custom-call(%g), custom_call_target="__cublas$gemm"
  ROOT %e = f32[8,4]{1,0} add(%g, %x)
}
"""


def test_a_program_of_a_gpu_is_counted():
    found = programs.kernels(PROGRAM)
    assert found == {
        "dots": 1,
        "convolutions": 0,
        "fusions": {"kCustom": 1},
        "custom_calls": {"__cublas$gemm": 1},
        "generated": {"__triton_gemm": 1},
    }
    weights = programs.unscaled_weights([flops.LayerCount(locations=4, d=5, f=6, R=3)], batch=2)
    assert weights == {"dau_1": {"shape": [8, 6, 5], "elements": 240}}
    assert programs.inspect(PROGRAM, weights)["weights_found"] == ["dau_1"]
    assert "dot" not in programs.inspect(PROGRAM, weights)["opcodes"]  # inside a fusion: it writes no buffer


# === In small, on the CPU ===


@pytest.mark.slow
def test_training_and_table_run_on_jax_alone(tmp_path):
    tiny = keras_coda.CoDANet(10, input_shape=(8, 8, 1), filters=(8, 10), ranks=4, strides=(2, 1), temperature=5)
    tiny.save_to_preset(tmp_path / "tiny")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    # Compiling takes most of the time.
    environment |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs")}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    command = [sys.executable, "-m", "tests.helpers.without_tensorflow", "tests.helpers.gpu_benchmark_check", tmp_path]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]

    results = json.loads((tmp_path / "out" / "training.json").read_text())["results"]
    (folder,) = (tmp_path / "out" / "weights").iterdir()  # the network that was measured, here on TensorFlow
    data = datasets.load("digits", 64)
    logits = keras_coda.CoDANet.from_preset(folder).predict(data.held_out, verbose=0)
    assert np.mean(logits.argmax(1) == data.held_out_labels) == pytest.approx(results["accuracy"]["accuracy"], abs=0.02)
