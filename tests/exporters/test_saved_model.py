import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_coda import CoDANet
from keras_coda.exporters import export_saved_model
from keras_coda.exporters.bare_tensorflow import SavedModelRunError, run_signatures
from keras_coda.exporters.protos import read_signatures
from keras_coda.layers import factored
from keras_coda.utils import atomic
from tests.helpers.graphs import of_all_kinds
from tests.helpers.networks import assert_complete, pixels, small
from tests.helpers.serving_helpers import encoded

pytestmark = pytest.mark.slow

RGB = (8, 7, 3)
PREDICTIONS = {"logits", "probabilities"}
MAPS = PREDICTIONS | {"classes", "class_names", "contributions", "residual", "bias"}
TOP = PREDICTIONS | {"top_classes", "top_class_names", "top_probabilities"}


def served_by_bare_tensorflow(folder, images, classes):
    """All outputs of all signatures, computed by a process without this package."""
    files = np.array([encoded(image) for image in images], dtype=object)
    given = {"images": images.astype("float32"), "image_bytes": files, "classes": classes}
    found = read_signatures(folder)
    calls = [(name, {key: given[key] for key in signature.inputs}) for name, signature in found.items()]
    answers = zip(found, run_signatures(folder, calls), strict=True)
    return {f"{name}/{key}": value for name, outputs in answers for key, value in outputs.items()}


@pytest.mark.parametrize(("policy", "top_k", "batch"), [("float32", 2, 5), ("mixed_bfloat16", 3, 1)])
def test_bare_tensorflow_serves_what_keras_explains_from_every_signature(tmp_path, policy, top_k, batch):
    model = small(input_shape=RGB, dtype=policy, class_names=("cat", "dog", "öl"))
    model.fit(pixels(8, RGB), np.arange(8) % 3, verbose=0)
    model.export(tmp_path / "coda" / "1", top_k=top_k)
    images = pixels(batch, RGB, seed=1)
    classes = np.arange(batch * top_k, dtype="int32").reshape(batch, top_k) % 3
    served = served_by_bare_tensorflow(tmp_path / "coda" / "1", images, classes)
    by_rank, chosen = model.explain(images, top_k=top_k), model.explain(images, classes)
    expected = {"serving_default": (by_rank, TOP), "contributions": (by_rank, MAPS)}
    expected["contributions_for_classes"] = (chosen, MAPS)
    found = {name: {key.split("/")[1] for key in served if key.split("/")[0] == name} for name in
             {key.split("/")[0] for key in served}}  # fmt: skip
    twins = {f"{name}_bytes": keys | ({"images"} if keys is MAPS else set()) for name, (_, keys) in expected.items()}
    assert found == {name: keys for name, (_, keys) in expected.items()} | twins
    for name, (explanation, keys) in expected.items():
        for twin in (name, f"{name}_bytes"):
            for key in keys & {"logits", "probabilities", "classes", "contributions", "residual"}:
                array, value = served[f"{twin}/{key}"], getattr(explanation, key)
                assert array.dtype == value.dtype
                np.testing.assert_allclose(array, value, atol=1e-6)
            if keys is MAPS:
                assert_names(served[f"{twin}/class_names"], explanation.classes, model)
                total = served[f"{twin}/contributions"].sum((2, 3)) + served[f"{twin}/bias"][:, None]
                np.testing.assert_allclose(total, explanation.explained_logits, rtol=1e-5, atol=1e-5)
            else:
                np.testing.assert_array_equal(served[f"{twin}/top_classes"], by_rank.classes)
                assert_names(served[f"{twin}/top_class_names"], by_rank.classes, model)
                best = np.take_along_axis(by_rank.probabilities, by_rank.classes, axis=1)
                np.testing.assert_allclose(served[f"{twin}/top_probabilities"], best, atol=1e-6)
    np.testing.assert_array_equal(served["contributions_bytes/images"], images)


def test_bare_tensorflow_serves_networks_with_branches(tmp_path):
    model, shape = of_all_kinds(), (9, 7, 3)
    model.export(tmp_path / "1", top_k=2)
    images = pixels(3, shape)
    explanation = model.explain(images, top_k=2)
    (served,) = run_signatures(tmp_path / "1", [("contributions", {"images": images.astype("float32")})])
    for key in ("logits", "contributions", "offsets"):
        np.testing.assert_allclose(served[key], getattr(explanation, key), atol=1e-5 * np.abs(served[key]).max())
    total = served["contributions"].sum((2, 3)) + served["bias"][:, None] + served["offsets"]
    np.testing.assert_allclose(total, explanation.explained_logits, rtol=1e-5, atol=1e-5)


def assert_names(served, classes, model):
    assert [[name.decode() for name in row] for row in served] == [
        [model.class_names[c] for c in row] for row in classes
    ]


def test_signatures_that_do_not_run_are_an_error_with_its_reason(color, tmp_path):
    images = np.full((1, *RGB), 256, "float32")
    for folder, inputs, reason in [
        (tmp_path / "nowhere", {}, "nowhere"),
        (color.folder, {"images": images}, "pixels in"),
        (color.folder, {"pictures": images}, "pictures"),
        (color.folder, {"images": images.astype("float64")}, "float"),
    ]:
        with pytest.raises(SavedModelRunError, match=r"must run in bare TensorFlow. Received: '.*") as caught:
            run_signatures(folder, [("serving_default", inputs)])
        assert (caught.value.folder, isinstance(caught.value, RuntimeError)) == (str(folder), True)
        assert reason in caught.value.reason


@pytest.fixture(scope="module")
def signatures(color_with_linear_map):
    return tf.saved_model.load(str(color_with_linear_map.folder)).signatures


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": np.nan}, "pixels in"),
        ({"images": np.inf}, "pixels in"),
        ({"images": 256.0}, "pixels in"),
        ({"images": -1.0}, "pixels in"),
        ({"classes": 3}, "`classes` must be in"),
        ({"classes": -1}, "`classes` must be in"),
        ({"image_bytes": b"no image"}, "no JPEG, PNG, BMP or GIF"),
        ({"image_bytes": encoded(np.zeros((40, 40, 3)), "JPEG")[:200]}, "(Invalid|Corrupt|Trying|premature|JPEG)"),
        ({"image_bytes": b""}, "(Unknown|image)"),
    ],
)
def test_bad_input_is_refused_by_the_graph_itself(signatures, changed, message):
    images = pixels(2, RGB).astype("float32")
    inputs = {"images": images, "classes": np.zeros((2, 2), "int32"), "image_bytes": [encoded(i) for i in images]}
    (name, bad), *_ = changed.items()
    if name == "image_bytes":
        inputs[name][1] = bad
    else:
        inputs[name].flat[3] = bad
    for signature in signatures.values():
        _, wanted = signature.structured_input_signature
        if name in wanted:
            arguments = {key: tf.constant(inputs[key], spec.dtype) for key, spec in wanted.items()}
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                signature(**arguments)


def test_gram_matrices_are_computed_once_for_all_signatures_and_never_served(tmp_path, monkeypatch):
    calls, gram_matrices = [], factored.gram_matrices
    monkeypatch.setattr(factored, "gram_matrices", lambda kernel: calls.append(kernel.shape) or gram_matrices(kernel))
    model = small(input_shape=RGB, filters=(4, 5, 3), ranks=(2, 60, 3))  # the second layer has none: d = 36 < R
    calls.clear()
    export_saved_model(model, tmp_path / "1", warmup=False)
    assert len(calls) == 3
    signatures = tf.saved_model.load(str(tmp_path / "1")).signatures
    images = pixels(2, RGB)
    served = signatures["contributions"](images=tf.constant(images, tf.float32))["contributions"]
    np.testing.assert_allclose(served, model.explain(images).contributions, rtol=1e-5, atol=1e-6)
    grams = {(R, f * R) for _, f, R in calls if R < 36}
    folded = {tuple(tensor.shape) for tensor in signatures["contributions"].graph.internal_captures}
    assert len(grams) == 2
    assert grams <= folded


def test_a_served_network_can_be_differentiated_as_in_keras(color_with_linear_map):
    loaded = tf.saved_model.load(str(color_with_linear_map.folder))  # kept: gradients need its variables

    def gradient(logits_of):
        x = tf.constant(pixels(2, RGB), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(logits_of(x)[:, 1])
        return tape.gradient(total, x)

    served = gradient(lambda x: loaded.signatures["serving_default"](images=x)["logits"])
    np.testing.assert_allclose(served, gradient(color_with_linear_map.model), rtol=1e-4, atol=1e-7)


def test_an_empty_batch_gives_an_empty_answer(signatures):
    results = signatures["contributions_bytes"](image_bytes=tf.zeros((0,), tf.string))
    assert results["contributions"].shape == (0, 2, *RGB[:2])


def test_files_of_another_size_are_resized_as_image_folders_are(signatures):
    picture = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype="uint8")
    height, width, channels = RGB
    expected = keras.layers.Resizing(height, width, crop_to_aspect_ratio=True)(picture[None].astype("float32"))
    results = signatures["contributions_bytes"](image_bytes=tf.constant([encoded(picture)]))
    np.testing.assert_allclose(results["images"], expected, atol=1e-3)
    assert results["linear_map"].shape == (1, 2, height, width, 2 * channels)
    pulled = results["images"].numpy() / 255
    total = np.einsum("bkhwc,bhwc->bk", results["linear_map"], np.concatenate([pulled, 1 - pulled], -1))
    np.testing.assert_allclose(total, results["contributions"].numpy().sum((2, 3)), atol=1e-4)


def test_images_of_other_channels_than_files_have_are_served_as_arrays_only(two_channels):
    names = set(tf.saved_model.load(str(two_channels.folder)).signatures)
    assert names == {"serving_default", "contributions", "contributions_for_classes"}


def test_weights_are_stored_once_for_all_signatures(tmp_path):
    model = CoDANet(10, input_shape=(8, 8, 3), filters=(32, 64, 10), ranks=16)
    model.export(tmp_path / "1")
    stored = sum(path.stat().st_size for path in (tmp_path / "1" / "variables").iterdir())
    assert stored < 1.1 * 4 * model.count_params() + 10_000


def test_exported_model_takes_any_batch_and_any_image_size_if_the_network_does(any_size):
    model = any_size.model
    served = tf.saved_model.load(str(any_size.folder)).signatures
    assert set(served) == {"serving_default", "contributions", "contributions_for_classes"}
    for shape in [(1, 9, 9, 1), (4, 12, 10, 1)]:
        images = pixels(shape[0], shape[1:])
        results = served["contributions"](images=tf.constant(images, tf.float32))
        np.testing.assert_allclose(results["contributions"], model.explain(images).contributions, atol=1e-6)
        assert (results["residual"].numpy() <= 1e-5).all()


def test_a_size_chosen_at_export_fixes_that_of_a_network_for_any(tmp_path):
    model = CoDANet(3, input_shape=(None, None, 3))
    model.export(tmp_path / "1", image_size=(10, 12))
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    results = served["contributions_bytes"](image_bytes=tf.constant([encoded(np.zeros((50, 50, 3)))]))
    assert results["contributions"].shape == (1, 1, 10, 12)
    with pytest.raises(ValueError, match="`image_size` must be the network's"):
        small().export(tmp_path / "2", image_size=100)


def test_export_is_loadable_without_xla(tmp_path):
    # TF Serving refuses functions that must be compiled.
    model = small()
    model.compile(jit_compile=True)
    model.fit(pixels(), np.array([0, 1]), verbose=0)
    assert_complete(model.explain(pixels()))
    model.export(tmp_path / "1")
    saved = tf.saved_model.load(str(tmp_path / "1"))
    for signature in saved.signatures.values():
        for function in signature.graph.as_graph_def().library.function:
            assert not function.attr["_XlaMustCompile"].b


def test_an_existing_folder_is_refused_and_kept(tmp_path):
    model = small()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "precious").write_text("data")
    for write in (model.export, model.save_to_preset):
        with pytest.raises(FileExistsError, match="must not exist yet. Received: path='.*/1'"):
            write(tmp_path / "1")
    assert [path.name for path in tmp_path.rglob("*")] == ["1", "precious"]


@pytest.mark.parametrize("arguments", [{"top_k": 4}, {"top_k": 0}, {"format": "torch"}])
def test_wrong_export_arguments_leave_nothing_behind(tmp_path, arguments):
    with pytest.raises(ValueError, match="`(top_k|format)` must .* Received: "):
        small().export(tmp_path / "deep" / "1", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_export_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(self, path, **kwargs):
        with open(f"{path}/saved_model.pb", "w") as file:
            file.write("half")
        raise OSError("No space left on device")

    monkeypatch.setattr(type(keras.export.ExportArchive()), "write_out", fail)
    with pytest.raises(OSError, match="No space left"):
        small().export(tmp_path / "base" / "1")
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_never_replaces_one_that_came_up_meanwhile(tmp_path):
    with pytest.raises(FileExistsError, match=re.escape(str(tmp_path / "x"))), atomic.new_folder(tmp_path / "x"):
        (tmp_path / "x").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
