"""LiteRT (TensorFlow Lite) files that predict and explain: three signatures per file, built-in operations only."""

import io
import json
import re
import tempfile
import zipfile

import numpy as np

from keras_coda.exporters.nan_guard import PortableNetwork
from keras_coda.utils.checks import require

LABELS, FACTS = "labels.txt", "coda.json"


def convert(network: PortableNetwork, *, classes: bool = False) -> bytes:
    """Convert a network with the converter that comes with TensorFlow.

    Args:
        network: to convert.
        classes: must be False: the file has the signature ``contributions_for_classes`` in any case.

    Returns:
        The file: signatures ``serving_default``, ``contributions`` and ``contributions_for_classes`` that share their
        weights and take a batch of any length. A ZIP archive is appended, which is where the format keeps metadata:
        ``labels.txt`` has the class names, one per line, ``coda.json`` has :meth:`PortableNetwork.facts`.

    Raises:
        ValueError: for ``classes=True``, and for a network with an operation that LiteRT does not have.
    """
    import keras
    import tensorflow as tf

    rule = "`classes` is for ONNX: a LiteRT file has the signature `contributions_for_classes` in any case"
    require(not classes, rule, "Leave it out", classes=classes)
    archive, serving = keras.export.ExportArchive(), network.serving()
    for name, (function, specs) in serving.items():
        archive.add_endpoint(name, function, input_signature=specs)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(serving))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = _converted(converter)
    return _with_files(
        content,
        {
            LABELS: "\n".join(network.signatures.class_names),
            FACTS: json.dumps(network.facts(), ensure_ascii=False, indent=1),
        },
    )


def run(content: bytes, inputs: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Run all signatures of a file in the LiteRT interpreter; return inputs and outputs by signature and name."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    answers = {}
    for signature, names in interpreter.get_signature_list().items():
        given = {name: inputs[name] for name in names["inputs"]}
        answers[signature] = {**given, **interpreter.get_signature_runner(signature)(**given)}
    return answers


def _converted(converter) -> bytes:
    try:
        return converter.convert()
    except Exception as error:  # its type is not public
        unknown = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", str(error))))
        rule, fix = (
            "Every operation of the network must exist in LiteRT",
            "Take a trunk without it, or export a SavedModel",
        )
        require(not unknown, rule, fix, operations=unknown)
        raise


def _with_files(content: bytes, files: dict[str, str]) -> bytes:
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # without the time, so that equal networks give equal files
    return stream.getvalue()
