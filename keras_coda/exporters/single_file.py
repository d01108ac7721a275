"""Networks as one file that predicts and explains, for runtimes that need neither Keras nor this package.

| format | runtimes | contents |
|---|---|---|
| ``"onnx"`` | ONNX Runtime, OpenVINO and others | one graph: ``contributions``, or the same for chosen classes |
| ``"litert"`` | LiteRT (TensorFlow Lite) | three signatures: predictions, ``contributions``, and for chosen classes |

Names, shapes and dtypes are those of :mod:`keras_coda.exporters.schema`, except that class names, which are strings,
are metadata of the file. The batch has any length. Bad input gives NaN, see :mod:`keras_coda.exporters.nan_guard`.
"""

import contextlib
import importlib
import os
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_coda.exporters.formats import FORMATS
from keras_coda.exporters.nan_guard import PortableNetwork
from keras_coda.exporters.signatures import Signatures, require_tensorflow
from keras_coda.utils.atomic import check_new, new_file, refuse_existing
from keras_coda.utils.checks import require, require_finite_network, to_numpy
from keras_coda.utils.optional import import_optional
from keras_coda.utils.silence import hush

TOLERANCE = 1e-4  # of the largest value
_ANY_SIZE = 64  # height and width of the images to compare, if the network takes any


def convert(
    model: keras.Model,
    filepath: str | os.PathLike,
    format: str,
    *,
    top_k: int = 1,
    image_size: int | Sequence[int] | None = None,
    linear_map: bool = False,
    classes: bool = False,
    verbose: bool = False,
) -> None:
    """Write a network with predictions and contribution maps as one file, whole or not at all.

    Before the file gets its name it is run in its runtime, on two random images, and must agree with Keras.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`.
        filepath: the file to write, usually ``*.onnx`` or ``*.tflite``. It must not exist; missing folders are created.
        format: a key of :data:`keras_coda.exporters.formats.FORMATS`: ``"onnx"`` or ``"litert"``.
        top_k: K, the number of classes per image that have maps.
        image_size: int or ``(height, width)``, for a network that takes any size; None leaves it free.
        linear_map: whether maps come with ``linear_map`` (B, K, H, W, 2c).
        classes: ONNX only: whether the file explains classes that the caller chooses, rather than the most probable
            ones. Then ``classes`` (B, K) int32 is a second input instead of an output. A LiteRT file does both.
        verbose: whether to show the messages of the converters.

    Raises:
        FileExistsError: if ``filepath`` exists.
        ImportError: without the extra, ``onnx`` or ``litert``.
        ValueError: for another format, ``classes`` with LiteRT, ``top_k`` not in [1, classes], an ``image_size`` that
            is not the network's, or a model that is not explainable.
        NonFiniteNetworkError: a ``ValueError``, if the network's logits or maps are NaN or infinite.
        RuntimeError: on a backend other than TensorFlow, or if the converted network does not agree with Keras.
    """
    require(format in FORMATS, f"`format` must be {' or '.join(map(repr, FORMATS))}", format=format)
    path = check_new(filepath, "file", "filepath")
    require_tensorflow()
    for package in FORMATS[format].required:
        import_optional(package, extra=format, purpose=f'Format "{format}"')
    module = importlib.import_module(FORMATS[format].module)
    signatures = Signatures.of(model, top_k=top_k, image_size=image_size, linear_map=linear_map)
    require_finite_maps(model, signatures)
    with contextlib.nullcontext() if verbose else hush():
        content = module.convert(PortableNetwork(signatures), classes=classes)
        for name, arrays in module.run(content, example_inputs(signatures)).items():
            check_agreement(signatures, f"{format} ({name})", arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        temporary.write_bytes(content)
        refuse_existing(path, "file", "filepath")  # renaming would replace a file that was written in the meantime


def example_inputs(signatures: Signatures) -> dict[str, np.ndarray]:
    """Return two random ``images`` (2, H, W, c), float32, and ``classes`` (2, K), int32."""
    random = np.random.default_rng(0)
    shape = (2, *(side or _ANY_SIZE for side in signatures.image_shape))
    classes = random.integers(0, signatures.decomposition.num_classes, (2, signatures.top_k), dtype="int32")
    return {"images": random.integers(0, 256, shape).astype("float32"), "classes": classes}


def require_finite_maps(model: keras.Model, signatures: Signatures) -> None:
    """Explain a random image, and raise ``NonFiniteNetworkError`` if logits or maps are NaN or infinite."""
    results = signatures.explain(ops.convert_to_tensor(example_inputs(signatures)["images"][:1]))
    require_finite_network(model, **{name: to_numpy(results[name]) for name in ("logits", "contributions")})


def check_agreement(signatures: Signatures, runtime: str, arrays: dict[str, np.ndarray]) -> None:
    """Compare the outputs of a converted network with Keras.

    Args:
        signatures: of the network.
        runtime: name of the runtime, for the error.
        arrays: its inputs and outputs by name; without ``classes`` only predictions are compared.

    Raises:
        RuntimeError: if residuals, or differences of logits or maps, exceed ``TOLERANCE`` times the largest value (for
            logits and residuals: at least ``TOLERANCE`` itself).
    """
    import tensorflow as tf

    with tf.device("CPU:0"):  # GPUs round more coarsely
        if "classes" in arrays:  # those of the runtime: at near ties, rounding decides which come first
            expected = signatures.explain(arrays["images"], ops.convert_to_tensor(arrays["classes"]))
        else:
            expected = signatures.predict(arrays["images"])
    expected = {name: to_numpy(value) for name, value in expected.items()}
    scale = {name: max(1e-6, _largest(expected[name])) for name in {"contributions", "linear_map"} & set(expected)}
    scale["logits"] = scale["residual"] = max(1.0, _largest(expected["logits"]))
    found = {name: arrays[name] - expected[name] for name in set(scale) & set(arrays) - {"residual"}}
    found |= {"residual": arrays["residual"]} if "residual" in arrays else {}
    differences = {name: _largest(value) / scale[name] for name, value in found.items()}
    if not all(difference <= TOLERANCE for difference in differences.values()):  # NaN is refused, too
        raise RuntimeError(
            f"The converted network must agree with Keras. Received: relative differences {differences} in {runtime}. "
            "Another version of the converter may do better; a SavedModel needs none."
        )


def _largest(values) -> float:
    return float(np.abs(values).max())
