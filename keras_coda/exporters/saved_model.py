"""SavedModels that predict and explain: a folder that TensorFlow, and TF Serving, load without this package."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_coda import explanations
from keras_coda.exporters.protos import read_meta_graph, signatures
from keras_coda.exporters.signatures import PREDICT, Signatures, require_tensorflow
from keras_coda.utils.atomic import new_folder
from keras_coda.utils.checks import require

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
np.savez(results, **{name: tensor.numpy() for name, tensor in outputs.items() if tensor.dtype != tf.string})
"""


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    top_k: int = 1,
    image_size: int | Sequence[int] | None = None,
    linear_map: bool = False,
    warmup: bool | None = None,
    verbose: bool = False,
) -> None:
    """Write a SavedModel with predictions and contribution maps, whole or not at all.

    Its signatures are those of :mod:`keras_coda.exporters.signatures`; the weights are stored once for all of them.
    All run in
    float32 whatever the model's dtype policy, so that they agree with ``explain``, and none needs XLA. Pixels that are
    not finite or outside [0, 255], classes out of range and files that are no images are refused with an error.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`.
        path: the folder to be; for TF Serving ``<base>/<integer version>``. It must not exist.
        top_k: K, the number of classes of which there are maps per image.
        image_size: int or ``(height, width)``, for a network that takes any size; None leaves it free, without the
            signatures for image files.
        linear_map: whether maps come with ``linear_map (B, K, H, W, 2c)``, the weights of the encoded image.
        warmup: whether to add requests that TF Serving runs when it loads the model, so that the first callers need
            not wait, see :mod:`keras_coda.exporters.warmup`; it needs the extra ``serving``. None: if that is
            installed and the
            image size is fixed.
        verbose: whether Keras prints the signatures.

    Raises:
        FileExistsError: if ``path`` exists.
        ImportError: for ``warmup=True`` without the extra.
        ValueError: if ``top_k`` is not in [1, classes], or the model is not explainable.
        RuntimeError: on a backend other than TensorFlow.
    """
    require_tensorflow()
    from keras_coda.exporters import warmup as warmups

    served = Signatures.of(model, top_k=top_k, image_size=image_size, linear_map=linear_map)
    if warmup is None:
        warmup = served.has_size and warmups.is_available()
    if warmup:
        warmups.require_serving_api()
        rule = "Warm-up requests need images of one size"
        require(served.has_size, rule, "Pass `image_size`", image_size=served.image_size)
    with new_folder(path) as folder:
        archive = keras.export.ExportArchive()  # not told to `track` the model, which would store weights twice
        for name, (function, specs) in served.serving().items():
            archive.add_endpoint(name, function, input_signature=specs)
        archive.write_out(str(folder), verbose=verbose)
        if warmup:
            warmups.write_warmup(folder)


def compare_saved_model(model, folder: str | os.PathLike, images: np.ndarray | None = None) -> float:
    """Run a SavedModel in a process that knows TensorFlow but not this package, and compare it with Keras.

    Args:
        model: the network that was exported.
        folder: what :meth:`CoDANet.export` wrote.
        images: ``(N, H, W, c)``, pixels in [0, 255]; None for four random ones of the size exported.

    Returns:
        The largest absolute difference of logits, probabilities and contributions.

    Raises:
        ValueError: if there is no SavedModel, or another's.
        RuntimeError: if the SavedModel does not run, or differs by more than float rounding explains.
    """
    if images is None:
        found = signatures(read_meta_graph(folder)).get(PREDICT)
        exported = found and found.inputs.get("images")  # the size may be fixed there only
        require(exported, f"A SavedModel must have a signature '{PREDICT}' of images", folder=os.fspath(folder))
        shape = [side or 64 for side in exported.shape[1:]]
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
