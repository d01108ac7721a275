"""SavedModels that predict and explain: a folder that TensorFlow, and TF Serving, load without this package."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_coda import explanations
from keras_coda.anatomy import Anatomy
from keras_coda.files import new_folder
from keras_coda.validation import check_int

# Runs in a process of its own: a SavedModel needs nothing but TensorFlow.
_BARE_TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf

folder, images, results = sys.argv[1:]
images = tf.constant(np.load(images))
signatures = tf.saved_model.load(folder).signatures
outputs = {**signatures["serving_default"](images=images), **signatures["contributions"](images=images)}
assert "keras_coda" not in sys.modules
np.savez(results, **{name: tensor.numpy() for name, tensor in outputs.items()})
"""


def export_saved_model(model: keras.Model, path: str | os.PathLike, *, top_k: int = 1, verbose: bool = False) -> None:
    """Write a SavedModel with predictions and contribution maps, whole or not at all.

    Signatures (all float32 but ``classes``; the batch size is free):

    - ``serving_default``: ``images (batch, H, W, c)``, pixels in [0, 255], to ``logits`` and ``probabilities``
      ``(batch, C)``;
    - ``contributions``: ``images`` to these plus, for the ``top_k`` largest logits, ``classes (batch, K)`` int32,
      ``contributions (batch, K, H, W)`` and ``residual (batch, K)``, the completeness error
      ``|Σ contributions + bias - logit|``.

    Both run in float32 whatever the model's dtype policy, so that they agree with ``explain``.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`.
        path: the folder to be; for TF Serving ``<base>/<integer version>``. It must not exist.
        top_k: number of classes explained per image.
        verbose: whether Keras prints the signatures.

    Raises:
        FileExistsError: if ``path`` exists.
        ValueError: if ``top_k`` is not in [1, classes], or the model is not explainable.
        RuntimeError: on a backend other than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "Export needs the TensorFlow backend. Received: "
            f"backend={keras.backend.backend()!r}. Save the model (`model.save('model.keras')`), load and "
            "export it in a process with KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf

    anatomy = Anatomy.of(model)
    if check_int("top_k", top_k) > anatomy.num_classes:
        raise ValueError(f"`top_k` must not exceed the {anatomy.num_classes} classes. Received: top_k={top_k}")

    def predict(images):
        logits = anatomy.logits(images)
        return {"logits": logits, "probabilities": ops.sigmoid(logits)}

    def explain(images):
        results = anatomy.explain(images, top_k=top_k)
        logits = results["logits"]
        chosen = ops.take_along_axis(logits, results["classes"], axis=1)
        total = ops.sum(results["contributions"], axis=(2, 3)) + anatomy.bias
        return {**results, "probabilities": ops.sigmoid(logits), "residual": ops.abs(total - chosen)}

    signature = [tf.TensorSpec((None, *anatomy.input_shape), tf.float32, name="images")]
    with new_folder(path) as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", predict, input_signature=signature)
        archive.add_endpoint("contributions", explain, input_signature=signature)
        archive.write_out(str(folder), verbose=verbose)


def compare_saved_model(model, folder: str | os.PathLike, images: np.ndarray | None = None) -> float:
    """Run a SavedModel in a process that knows TensorFlow but not this package, and compare it with Keras.

    Args:
        model: the network that was exported.
        folder: what :meth:`CoDANet.export` wrote.
        images: ``(N, H, W, c)``, pixels in [0, 255]; None for four random ones.

    Returns:
        The largest absolute difference of logits, probabilities and contributions.

    Raises:
        RuntimeError: if the SavedModel does not run, or differs by more than float rounding explains.
    """
    if images is None:
        shape = [side or 64 for side in model.input.shape[1:]]
        images = np.random.default_rng(0).integers(0, 256, (4, *shape))
    images = np.asarray(images, "float32")
    with tempfile.TemporaryDirectory() as scratch:
        given, results = Path(scratch, "images.npy"), Path(scratch, "results.npz")
        np.save(given, images)
        command = [sys.executable, "-c", _BARE_TENSORFLOW, os.fspath(folder), given, results]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"The SavedModel must run in bare TensorFlow. Received: '{folder}' ({reason})")
        with np.load(results) as file:
            outputs = dict(file)
    explanation = explanations.explain(model, images, outputs["classes"])
    names = ("logits", "probabilities", "contributions")
    difference = max(float(np.abs(outputs[name] - getattr(explanation, name)).max()) for name in names)
    if not difference <= 1e-4 * max(1.0, float(np.abs(explanation.logits).max())):
        raise RuntimeError(f"The SavedModel must agree with Keras. Received: '{folder}', which differs by {difference}")
    return difference
