"""Check the deployment folder without Docker: ``make serve-check``, or ``python -m export.check``.

All files are parsed and compared with each other. Then every model of ``models.config`` that has a preset is exported
to the folder where the server would look for it, linted, run in bare TensorFlow, and called with and without batching.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from export import batching, config_files, consistency, signature_table
from keras_coda import CoDANet
from keras_coda.exporters import Check, checks_table, verify_saved_model, warmup

PRESETS = {"digits": "coda_digits"}  # the network that is small enough for a check
TOP_K = 3


def main() -> int:
    """Print a row per check; return 1 if one failed."""
    rows = check_files()
    if all(row.passed for row in rows):
        rows += check_models(config_files.read())
    print(checks_table(rows))
    return 0 if all(row.passed for row in rows) else 1


def check_files(folder: Path = config_files.FOLDER) -> list[Check]:
    """Parse the files of a deployment folder and compare them with one another."""
    try:
        deployment = config_files.read(folder)
    except (ImportError, OSError, ValueError) as error:
        return [Check("files parse", False, str(error))]
    names = ", ".join(model.name for model in deployment.models)
    found = consistency.problems(deployment)
    return [Check("files parse", True, f"models {names}"), Check("files agree", not found, " ".join(found) or "yes")]


def check_models(deployment) -> list[Check]:
    """Export networks under the layout of ``models.config`` to a temporary folder, and check them there."""
    rows = []
    with tempfile.TemporaryDirectory() as root:
        for config in deployment.models:
            if config.name in PRESETS:
                for version in config.model_version_policy.specific.versions:
                    folder = Path(root, config.base_path.lstrip("/"), str(version))
                    rows += check_model(PRESETS[config.name], folder, list(deployment.batching.allowed_batch_sizes))
    return rows


def check_model(preset: str, folder: Path, allowed_sizes: list[int]) -> list[Check]:
    """Export a shipped network and check what a server will load."""
    model = CoDANet.from_preset(preset)
    model.export(folder, top_k=TOP_K, warmup=True)
    difference = batching_difference(folder, allowed_sizes)
    rows = verify_saved_model(folder, model)
    rows.append(Check("batches as requests", difference <= 1e-3, f"largest difference {difference:.1e}"))
    up_to_date = signature_table.is_up_to_date(folder)
    detail = "yes" if up_to_date else "run `python -m export.signature_table`"
    rows.append(Check("table of the README", up_to_date, detail))
    return [Check(f"{preset}: {row.name}", row.passed, row.detail) for row in rows]


def batching_difference(folder: Path, allowed_sizes: list[int]) -> float:
    """Return the largest difference that batching makes to an answer of any signature."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    largest = 0.0
    for name, run in loaded.signatures.items():
        requests = [vary(inputs, seed) for seed, inputs in enumerate(examples(folder, name))]

        def answer(inputs, run=run):
            return {key: value.numpy() for key, value in run(**{k: tf.constant(v) for k, v in inputs.items()}).items()}

        largest = max(largest, batching.largest_difference(answer, requests, allowed_sizes))
    return largest


def examples(folder: Path, signature: str) -> list[dict[str, np.ndarray]]:
    """Return requests of one, two and three rows."""
    return [inputs for name, inputs in warmup.example_requests(folder, batch_sizes=(1, 2, 3)) if name == signature]


def vary(inputs: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Replace gray images by noise, so that a row returned to another request would be noticed."""
    random = np.random.default_rng(seed)
    noise = {key: random.uniform(0, 255, value.shape) for key, value in inputs.items() if value.dtype == np.float32}
    return {key: noise.get(key, value).astype(value.dtype) for key, value in inputs.items()}


if __name__ == "__main__":
    sys.exit(main())
