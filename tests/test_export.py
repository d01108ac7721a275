import json
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_coda import CoDANet, files
from tests.test_model import assert_complete, pixels, small

BARE = """
import json, sys
import numpy as np
import tensorflow as tf
folder, images, out = sys.argv[1:]
model = tf.saved_model.load(folder)
images = tf.constant(np.load(images), tf.float32)
results = {name: signature(images=images) for name, signature in model.signatures.items()}
arrays = {f"{name}/{key}": value.numpy() for name, result in results.items() for key, value in result.items()}
np.savez(out, **arrays)
print(json.dumps([name for name in sys.modules if name.startswith("keras_coda")]))
"""


@pytest.mark.parametrize(("policy", "top_k"), [("float32", 2), ("mixed_bfloat16", 3)])
def test_bare_tensorflow_serves_what_keras_explains(tmp_path, policy, top_k):
    model = small(dtype=policy)
    model.fit(pixels(8), np.arange(8) % 3, verbose=0)
    model.export(tmp_path / "coda" / "1", top_k=top_k)
    images = pixels(5, seed=1)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", BARE, tmp_path / "coda" / "1", tmp_path / "images.npy", tmp_path / "out.npz"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []  # the package is not needed
    served = np.load(tmp_path / "out.npz")
    explanation = model.explain(images, top_k=top_k)
    assert set(served) == {
        *(f"serving_default/{key}" for key in ("logits", "probabilities")),
        *(f"contributions/{key}" for key in ("logits", "probabilities", "classes", "contributions", "residual")),
    }
    for key, array in served.items():
        expected = getattr(explanation, key.split("/")[1])
        assert array.dtype == expected.dtype
        np.testing.assert_allclose(array, expected, atol=1e-6)
    total = served["contributions/contributions"].sum((2, 3)) + explanation.bias
    np.testing.assert_allclose(total, explanation.explained_logits, rtol=1e-5, atol=1e-5)


def test_exported_model_takes_any_batch_and_any_image_size_if_the_network_does(tmp_path):
    model = CoDANet(3, input_shape=(None, None, 1))
    model.export(tmp_path / "1")
    contributions = tf.saved_model.load(str(tmp_path / "1")).signatures["contributions"]
    for shape in [(1, 9, 9, 1), (4, 12, 10, 1)]:
        images = pixels(shape[0], shape[1:])
        served = contributions(images=tf.constant(images, tf.float32))
        np.testing.assert_allclose(served["contributions"], model.explain(images).contributions, atol=1e-6)
        assert (served["residual"].numpy() <= 1e-5).all()


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


@pytest.mark.parametrize("arguments", [{"top_k": 4}, {"top_k": 0}, {"format": "tflite"}])
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
    with pytest.raises(FileExistsError, match=re.escape(str(tmp_path / "x"))), files.new_folder(tmp_path / "x"):
        (tmp_path / "x").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
