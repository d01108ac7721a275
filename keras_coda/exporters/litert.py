"""LiteRT (TensorFlow Lite) files that predict and explain: three signatures in one file, built-in operations only."""

import io
import json
import tempfile
import zipfile

import numpy as np

from keras_coda.exporters.nan_guard import PortableNetwork

REQUIRED = ("ai_edge_litert",)
LABELS, FACTS = "labels.txt", "coda.json"


def to_litert(network: PortableNetwork) -> bytes:
    """Convert a network, with the converter that comes with TensorFlow.

    Args:
        network: to convert.

    Returns:
        The file: signatures ``serving_default``, ``contributions`` and ``contributions_for_classes`` that share their
        weights and take a batch of any length. As other metadata of the format, a ZIP archive is appended, in which
        ``labels.txt`` has the class names, one a line, and ``coda.json`` :meth:`PortableNetwork.facts`.
    """
    import keras
    import tensorflow as tf

    archive, serving = keras.export.ExportArchive(), network.serving()
    for name, (function, specs) in serving.items():
        archive.add_endpoint(name, function, input_signature=specs)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(serving))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = converter.convert()
    return _with_files(
        content,
        {
            LABELS: "\n".join(network.signatures.class_names),
            FACTS: json.dumps(network.facts(), ensure_ascii=False, indent=1),
        },
    )


def run_litert(content: bytes, inputs: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Run all signatures of a file in the LiteRT interpreter; return inputs and outputs by signature and name."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    answers = {}
    for signature, names in interpreter.get_signature_list().items():
        given = {name: inputs[name] for name in names["inputs"]}
        answers[signature] = {**given, **interpreter.get_signature_runner(signature)(**given)}
    return answers


def _with_files(content: bytes, files: dict[str, str]) -> bytes:
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # without the time: equal networks, equal files
    return stream.getvalue()
