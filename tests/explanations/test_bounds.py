"""Claims about bounds: what memory and compiled functions an explanation takes, and that tiles change nothing."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_coda
from keras_coda import BcosResNet, CoDANet
from keras_coda.explanations import compiled, workload
from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.explanations.tiles import spans
from keras_coda.explanations.tiles import tiles as tiles_of
from keras_coda.explanations.workload import Workload
from keras_coda.utils import memory
from keras_coda.utils.errors import NotEnoughMemoryError
from tests.helpers.networks import assert_complete, pixels


def any_size(**arguments):
    keras.utils.set_random_seed(1)
    if "blocks" in arguments:
        options = {"input_shape": (None, None, 2), "bottleneck": False, "filters": 4, "stem": "small"}
        return BcosResNet(3, **{**options, **arguments})
    return CoDANet(3, **{"ranks": 2, "input_shape": (None, None, 2), "filters": (4, 3), **arguments})


def work_of(model, shape):
    return Workload(compiled_explainer(model).decomposition, shape)


@pytest.fixture
def eager():
    """Run functions without tracing them, which takes longer than computing for such small networks."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


# === Tiles ===


@pytest.fixture
def many_tiles(monkeypatch):
    """A function that makes images of a size be explained in about so many tiles."""

    def set_limits(model, shape, count, targets):
        work = work_of(model, shape)
        monkeypatch.setattr(workload, "FLOATS", work.floats(1) // 2 - 1)
        monkeypatch.setattr(workload, "FLOATS_OF_TILE", work.floats(targets) // count)
        monkeypatch.setattr(workload, "FEWEST_PIXELS", 1)

    return set_limits


@pytest.mark.parametrize(
    ("network", "size", "options"),
    [
        ({"filters": (4, 3, 3, 3), "kernel_sizes": (3, (2, 4), 5, 1), "strides": (1, 2, (2, 3), 1)}, (41, 27),
         {"top_k": 3}),
        ({"filters": (4, 3), "kernel_sizes": (7, 2), "strides": (3, 2)}, (30, 50),
         {"classes": 1, "linear_map": True}),
        ({"filters": (4, 3), "kernel_sizes": 1, "strides": (5, 1)}, (23, 40), {"top_k": 2}),  # pixels that no patch has
        ({"filters": (4, 5, 3), "strides": (2, 1, 2)}, (40, 31), {"wrt": "dau_1", "top_k": 2, "linear_map": True}),
        ({"filters": (4, 3), "dtype": "mixed_bfloat16"}, (1, 90), {}),
        ({"filters": (4, 5, 3), "strides": (2, 1, 2), "downsampling": "blurred"}, (40, 31), {"top_k": 2}),
        ({"filters": (4, 5, 3), "strides": (2, 1, (1, 2)), "downsampling": "pooled"}, (40, 31), {"top_k": 2}),
        ({"blocks": (1, 1)}, (40, 31), {"top_k": 2}),
    ],
)  # fmt: skip
def test_tiles_give_what_the_whole_image_gives(network, size, options, many_tiles, monkeypatch, eager):
    model, images = any_size(**network), pixels(1, (*size, 2))
    whole = model.explain(images, **options, verbose=False)
    found = []

    def tiles(*arguments):
        found.append(tiles_of(*arguments))
        return found[-1]

    monkeypatch.setattr("keras_coda.explanations.tiled.tiles", tiles)
    many_tiles(model, (*size, 2), 2, whole.classes.shape[1])
    tiled = model.explain(images, **options, verbose=False)
    assert 2 <= min(map(len, found)) <= max(map(len, found)) <= 8
    assert_complete(tiled)
    np.testing.assert_array_equal(tiled.classes, whole.classes)
    np.testing.assert_allclose(tiled.logits, whole.logits, atol=1e-5)
    np.testing.assert_allclose(tiled.contributions, whole.contributions, atol=1e-6 * np.abs(whole.contributions).max())
    if whole.linear_map is not None:
        scale = np.abs(whole.linear_map).max()
        np.testing.assert_allclose(tiled.linear_map, whole.linear_map, atol=1e-6 * scale)


class Halved(keras_coda.DynamicLinear):
    """A layer without windows, as users may write it; its shape is not given either."""

    def linearize(self, inputs):
        return inputs * 0.5, ()

    def pullback(self, frozen, cotangents):
        return cotangents * 0.5


class HalvedPixels(Halved):
    """A layer that says that it treats every location alone."""

    windows = (((1, 1), (1, 1)),)


@pytest.mark.parametrize("layer", [Halved, HalvedPixels])
def test_layers_with_windows_are_tiled_in_containers_too_and_others_are_not(layer, many_tiles, monkeypatch, eager):
    conv = keras_coda.DAUConv2D
    layers = [keras.Input((None, None, 2)), keras_coda.ResidualSum([conv(2, 3, 2)]), layer()]
    layers += [keras_coda.Chain([conv(4, 5, 2, 2), conv(3, 3, 2)]), keras_coda.GlobalSumPooling2D()]
    model = keras.Sequential([*layers, keras_coda.LogitScaling(2.0, -1.0)])
    images = pixels(1, (40, 30, 2))
    whole = keras_coda.explain(model, images, top_k=3)
    many_tiles(model, (40, 30, 2), 2, 3)
    assert work_of(model, (40, 30, 2)).needs_tiles(1) == (layer is HalvedPixels)
    tiled = keras_coda.explain(model, images, top_k=3)
    np.testing.assert_allclose(tiled.contributions, whole.contributions, atol=1e-5 * np.abs(whole.contributions).max())
    monkeypatch.setattr(workload, "SMALL", 0)
    monkeypatch.setattr(workload, "available_memory", lambda: 10_000)
    with pytest.raises(NotEnoughMemoryError, match="must fit into memory"):
        keras_coda.explain(model, images)


def test_tiles_of_all_shapes_share_the_compiled_functions(many_tiles):
    model = any_size(filters=(3,), strides=2)
    images = pixels(1, (23, 37, 2))
    whole = model.explain(images, 1)
    before = compiled_explainer(model).traces
    many_tiles(model, (23, 37, 2), 5, 1)
    tiled = model.explain(images, 1)
    np.testing.assert_allclose(tiled.contributions, whole.contributions, atol=1e-6 * np.abs(whole.contributions).max())
    assert compiled_explainer(model).traces == before + 5  # encoding, sums, logits, cotangents, maps


def test_every_location_is_in_one_tile_that_has_all_it_depends_on():
    rng = np.random.default_rng(0)
    for _ in range(300):
        windows = [(int(rng.integers(1, 6)), int(rng.integers(1, 4))) for _ in range(rng.integers(1, 5))]
        size, length = int(rng.integers(30, 200)), int(rng.integers(1, 80))
        stride = math.prod(step for _, step in windows)
        found = spans(size, windows, length)
        assert [span.first for span in found[1:]] == [span.last for span in found[:-1]]
        assert found[0].first == 0
        for span in found:
            assert span.start % stride == 0
            low, high = span.first, span.last - 1
            for kernel, step in reversed(windows):
                low, high = low * step - (kernel - 1) // 2, high * step - (kernel - 1) // 2 + kernel - 1
            assert span.start <= max(0, low)
            assert span.stop >= min(size, high + 1)
            assert span.stop == size or span.size <= max(length, high + 1 - low + stride)
            assert span.mask().sum() == span.last - span.first


# === Memory ===


@pytest.mark.parametrize(
    ("network", "shape", "targets"),
    [
        ({"filters": (8, 10_000), "ranks": 4, "kernel_sizes": (3, 1), "strides": (2, 1)}, (16, 16, 3), 10_000),
        ({"filters": (8, 10_000), "ranks": 4, "kernel_sizes": (3, 1), "strides": (2, 1)}, (16, 16, 3), 400),
        ({"filters": (512, 10), "ranks": 128}, (64, 64, 3), 10),
        ({"filters": (16, 10), "ranks": 16}, (32, 32, 3), 10),
    ],
)
def test_images_and_classes_at_a_time_are_as_many_as_fit(network, shape, targets):
    filters = network["filters"]
    with keras.device("cpu"):
        model = CoDANet(filters[-1], input_shape=shape, **network)
    work = work_of(model, shape)
    for most in (None, 1, 5):
        images, classes = work.plan(100, targets, most)
        assert images <= (most or 32)
        assert classes <= targets
        assert (images, classes) == (most or 1, 1) or images * work.floats(classes) <= workload.FLOATS


def test_tiles_are_used_for_more_classes_than_fit_and_for_images_of_twice_the_limit(monkeypatch):
    work = work_of(any_size(filters=(4, 3)), (40, 40, 2))
    monkeypatch.setattr(workload, "FEWEST_PIXELS", 1)
    for floats, targets, expected in [(1, 1, False), (0.6, 1, False), (0.4, 1, True), (1, 3, True), (4, 3, False)]:
        monkeypatch.setattr(workload, "FLOATS", int(work.floats(1) * floats))
        monkeypatch.setattr(workload, "FLOATS_OF_TILE", int(work.floats(1) * floats) // 2)
        assert work.needs_tiles(targets) == expected


def test_more_classes_than_fit_are_explained_in_groups(monkeypatch, eager):
    model = CoDANet(60, input_shape=(4, 4, 1), filters=(60,), kernel_sizes=1, ranks=2)
    images = pixels(2, (4, 4, 1))
    whole = model.explain(images, top_k=60)
    monkeypatch.setattr(workload, "FLOATS", work_of(model, (4, 4, 1)).floats(14))
    assert 10 <= work_of(model, (4, 4, 1)).plan(1, 60, None)[1] <= 20
    monkeypatch.setattr(workload, "FLOATS_OF_TILE", 1)
    for options in ({"top_k": 60}, {"classes": whole.classes}):
        parts = model.explain(images, **options)
        np.testing.assert_array_equal(parts.classes, whole.classes)
        np.testing.assert_allclose(parts.contributions, whole.contributions, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"linear_map": True}])
def test_what_does_not_fit_into_memory_is_refused_with_the_size_that_fits(options, monkeypatch, eager):
    model = any_size()
    monkeypatch.setattr(workload, "SMALL", 0)
    monkeypatch.setattr(workload, "available_memory", lambda: 1_000_000)
    match = r"Received: 1 images of 400x200 pixels.* need about .*; 1 MB are free.* at most (\d+)x(\d+) pixels"
    with pytest.raises(NotEnoughMemoryError, match=match) as refused:
        model.explain(pixels(1, (400, 200, 2)), **options)
    height, width = map(int, str(refused.value).split("at most ")[1].split(" pixels")[0].split("x"))
    assert height == pytest.approx(2 * width, abs=2)
    assert compiled_explainer(model).traces == 0  # refused before work
    model.explain(pixels(1, (height, width, 2)), **options)


def test_strides_that_no_memory_suffices_for_are_refused():
    model = any_size(strides=(10**9, 10**9))
    with pytest.raises(NotEnoughMemoryError, match=r"images of 8x8 pixels.* need about \d+"):
        model.explain(pixels(1, (8, 8, 2)))


def test_the_memory_of_a_container_counts(tmp_path, monkeypatch):
    whole = memory.available_memory()
    assert whole is None or whole > 0
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory.available_memory() != 1000
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.available_memory() == 4000
    assert [memory.readable_size(size) for size in (2e6, 2.34e10)] == ["2 MB", "23.4 GB"]


# === Compiled functions ===


def test_one_trace_serves_images_of_all_sizes():
    model = any_size(filters=(2, 3), strides=(2, 1))
    for height, width in itertools.product((7, 9, 12), (8, 11)):
        explanation = model.explain(pixels(2, (height, width, 2)))
        assert explanation.contributions.shape == (2, 1, height, width)
        assert_complete(explanation)
    assert compiled_explainer(model).traces == 1


def test_a_bounded_number_of_functions_is_kept(monkeypatch):
    monkeypatch.setattr(compiled, "_FUNCTIONS", 2)
    model, images = any_size(filters=(3,)), pixels(1, (9, 9, 2))
    for top_k in (1, 2, 3, 1, 1):  # of a network of one layer, which is traced quickly
        model.explain(images, top_k=top_k)
    explainer = compiled_explainer(model)
    assert len(explainer._functions) == 2  # noqa: SLF001
    assert explainer.traces == 4  # the first was made again


def test_more_sizes_than_xla_may_compile_are_explained_without_it(monkeypatch):
    monkeypatch.setattr(compiled, "_FUNCTIONS", 1)
    model = any_size(filters=(3,))
    for size in (6, 7, 6):
        images = pixels(1, (size, size, 2))
        fast, plain = (model.explain(images, jit_compile=jit_compile) for jit_compile in (True, False))
        np.testing.assert_allclose(fast.contributions, plain.contributions, atol=1e-7)
    assert compiled_explainer(model).traces == 2  # of 6x6 with XLA, and of all sizes without


def test_images_that_are_too_small_are_refused_before_anything_is_compiled():
    model = any_size(filters=(3, 3), kernel_sizes=4)
    for size in ((1, 9), (9, 1), (2, 2)):
        with pytest.raises(ValueError, match="padded input must be at least as large"):
            model.explain(pixels(1, (*size, 2)))
    assert compiled_explainer(model).traces == 0
