"""Run signatures of a SavedModel with TensorFlow alone. A program of its own: no other module imports this file.

``python -P bare_script.py FOLDER NAMES INPUTS OUTPUTS``: NAMES is a JSON list of signatures, one per call; INPUTS and
OUTPUTS are ``.npz`` files whose arrays are called ``<number of the call>/<name of the input or output>``.
"""

import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf  # noqa: TID253 - only processes of its own run this file


def main(folder: str, names: str, inputs: str, outputs: str) -> None:
    """Run one signature after the other, and write all outputs."""
    signatures = tf.saved_model.load(folder).signatures
    results: dict[str, Any] = {}
    with np.load(inputs, allow_pickle=True) as given:
        for number, name in enumerate(json.loads(names)):
            arrays = {key.partition("/")[2]: given[key] for key in given.files if key.startswith(f"{number}/")}
            answer = signatures[name](**{key: tf.constant(array) for key, array in arrays.items()})
            results |= {f"{number}/{key}": value.numpy() for key, value in answer.items()}
    if "keras_coda" in sys.modules:
        sys.exit("keras_coda must not be imported: the SavedModel has to work without it")
    np.savez(outputs, **results)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # its message may have several lines; the caller shows the last line of all
        sys.exit(f"{type(error).__name__}: {error}".replace("\n", " "))
