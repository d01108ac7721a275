"""Other formats than SavedModel: one file that predicts and explains, for runtimes that know neither Keras nor this.

| format | runtimes | contents |
|---|---|---|
| ``"onnx"`` | ONNX Runtime, OpenVINO and others | one graph: ``contributions``, or that for chosen classes |
| ``"litert"`` | LiteRT (TensorFlow Lite) | three signatures: predictions, ``contributions``, and for chosen classes |

Names, shapes and dtypes are those of :mod:`keras_coda.exporters.signatures`, but that class names, which are strings,
are
metadata of the file. The batch has any length. Bad input gives NaN, see :mod:`keras_coda.exporters.nan_guard`.
"""

import contextlib
import importlib
import os
from collections.abc import Sequence
from pathlib import Path

import keras

from keras_coda.exporters import agreement
from keras_coda.exporters import litert as litert_format
from keras_coda.exporters import onnx as onnx_format
from keras_coda.exporters.nan_guard import PortableNetwork
from keras_coda.exporters.signatures import Signatures, require_tensorflow
from keras_coda.utils.atomic import new_file, refuse_existing
from keras_coda.utils.checks import require
from keras_coda.utils.silence import hush

FORMATS = ("onnx", "litert")


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
        filepath: the file to be, usually ``*.onnx`` or ``*.tflite``. It must not exist; missing folders are created.
        format: ``"onnx"`` or ``"litert"``.
        top_k: K, the number of classes of which there are maps per image.
        image_size: int or ``(height, width)``, to fix that of a network that takes any; None leaves it free.
        linear_map: whether maps come with ``linear_map`` (B, K, H, W, 2c).
        classes: ONNX only: whether the file explains classes of the caller's choice, a second input ``classes`` (B, K)
            int32 instead of an output, rather than the most probable ones. A LiteRT file does both.
        verbose: whether to show what the converters report.

    Raises:
        FileExistsError: if ``filepath`` exists.
        ImportError: without the extra, ``onnx`` or ``litert``.
        ValueError: for another format, ``classes`` with LiteRT, ``top_k`` not in [1, classes], an ``image_size`` that
            is not the network's, or a model that is not explainable.
        RuntimeError: on a backend other than TensorFlow, or if the converted network does not agree with Keras.
    """
    require(format in FORMATS, f"`format` must be {' or '.join(map(repr, FORMATS))}", format=format)
    rule = "`classes` is for ONNX: a LiteRT file has the signature `contributions_for_classes` in any case"
    require(format == "onnx" or not classes, rule, "Leave it out", classes=classes)
    path = Path(filepath).expanduser().resolve()
    refuse_existing(path, "file", "filepath")
    require_tensorflow()
    module = {"onnx": onnx_format, "litert": litert_format}[format]
    _require_installed(format, module.REQUIRED)
    signatures = Signatures.of(model, top_k=top_k, image_size=image_size, linear_map=linear_map)
    network = PortableNetwork(signatures)
    with contextlib.nullcontext() if verbose else hush():
        if format == "onnx":
            content, run = onnx_format.to_onnx(network, classes=classes), onnx_format.run_onnx
        else:
            content, run = litert_format.to_litert(network), litert_format.run_litert
        for name, answer in run(content, agreement.example(signatures)).items():
            agreement.check(signatures, f"{format} ({name})", answer)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        temporary.write_bytes(content)
        refuse_existing(path, "file", "filepath")  # renaming would replace a file that came up meanwhile


def _require_installed(extra: str, modules: Sequence[str]) -> None:
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(
                f'Format "{extra}" needs {module}. Received: {error}. Install it: pip install "keras-coda[{extra}]"'
            ) from error
