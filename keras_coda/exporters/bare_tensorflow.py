"""Run a SavedModel as a stranger would: in a process that has TensorFlow but does not import this package."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_SCRIPT = Path(__file__).with_name("bare_script.py")


class SavedModelRunError(RuntimeError):
    """A SavedModel did not load, or one of its signatures failed.

    Attributes:
        folder: of the SavedModel.
        reason: the last line that the process wrote, which names the error.
    """

    def __init__(self, folder: str | os.PathLike, reason: str):
        super().__init__(f"The SavedModel must run in bare TensorFlow. Received: '{os.fspath(folder)}' ({reason})")
        self.folder, self.reason = os.fspath(folder), reason


def run_signatures(
    folder: str | os.PathLike, calls: Iterable[tuple[str, Mapping[str, np.ndarray]]]
) -> list[dict[str, np.ndarray]]:
    """Run signatures of a SavedModel in a process of its own.

    Args:
        folder: of the SavedModel.
        calls: name of the signature, and arrays by the name of the input; strings are object arrays of bytes.

    Returns:
        The outputs of each call by name; strings are object arrays of bytes.

    Raises:
        SavedModelRunError: if the SavedModel does not load, or a call fails.
    """
    calls = list(calls)
    names = json.dumps([name for name, _ in calls])
    arrays: dict[str, Any] = {
        f"{number}/{key}": array for number, (_, inputs) in enumerate(calls) for key, array in inputs.items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        given, results = Path(scratch, "inputs.npz"), Path(scratch, "outputs.npz")
        np.savez(given, **arrays)
        # -P: the folder of the script has modules of other packages' names (onnx), and must not be searched for them
        command = [sys.executable, "-P", str(_SCRIPT), os.fspath(folder), names, str(given), str(results)]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            raise SavedModelRunError(folder, (process.stderr.strip().splitlines() or ["no message"])[-1])
        found: list[dict[str, np.ndarray]] = [{} for _ in calls]
        with np.load(results, allow_pickle=True) as file:  # written by the process just now
            for key in file.files:
                number, _, name = key.partition("/")
                found[int(number)][name] = file[key]
    return found
