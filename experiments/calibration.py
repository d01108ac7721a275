"""Expected calibration error of the shipped CIFAR-10 networks, before and after calibration.

    python -m experiments.calibration NETWORK=SOURCE [NETWORK=SOURCE ...]

SOURCE has the 5,000 images that the networks were not trained on: a folder with one folder per class; or an audit of
them by that network (``keras-coda audit``), whose logits are then used. The calibration is fitted to a random half of
the images and measured on the other half. Results of other networks stay as they are.

Machine: 2 CPU cores, shared with other work.
Hours: 0.5; seconds from audits.
Result: experiments/results/calibration.json, a section of docs/results.md, and docs/results/NETWORK-calibration.png.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path

import numpy as np

from benchmarks import records
from keras_coda.utils.tables import markdown_table

RESULTS, PICTURES = Path(__file__).parent / "results", Path(__file__).parents[1] / "docs" / "results"
PART = "calibration"


def labels_and_logits(network: str, source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return which classes each image has, ``(N, C)`` bool, and its logits ``(N, C)``."""
    from keras_coda import CoDANet
    from keras_coda.auditing.recorder import AuditedImages, Recorder
    from keras_coda.auditing.writing import ROWS
    from keras_coda.evaluation import calibration
    from keras_coda.utils.hashing import digest_of_model
    from tests.helpers.audits import rows_of

    model = CoDANet.from_preset(network)
    if not (source / ROWS).is_dir():
        recorder = Recorder(model, AuditedImages.of(source, model.class_names))
        return calibration.labels_and_logits(model, recorder.labeled_batches(), verbose=False)
    rows = rows_of(source)
    if {row["model_hash"] for row in rows} != {digest_of_model(model)}:
        raise SystemExit(f"{source} must be an audit of {network}")
    logits = np.array([row["logits"] for row in rows], "float32")
    return np.arange(logits.shape[1]) == np.array([row["labels"][0] for row in rows])[:, None], logits


def measure(network: str, source: Path) -> dict:
    """Calibrate one network by one half of the images, and return figures of the other half; draw the diagram."""
    from keras_coda.evaluation import calibration
    from keras_coda.visualization import plot_reliability, save_picture

    labels, logits = labels_and_logits(network, source)
    found = calibration.halves(labels, logits)
    save_picture(plot_reliability(found), PICTURES / f"{network}-calibration.png")
    return {"network": network, "images": len(found[0].confidences), **{
        name: {
            "accuracy": float(each.is_right.mean()),
            "confidence": float(each.confidences.mean()),
            "error": each.error,
            "class_error": each.class_error,
        }
        for name, each in zip(("before", "after"), found, strict=True)
    }}  # fmt: skip


def section(folder: Path) -> str:
    """Return the section of the page of results, "" without any."""
    record = records.read(PART, folder)
    if record is None:
        return ""
    rows = [
        (f"`{each['network']}`", name, *(f"{each[name][key]:.2%}" for key in ("confidence", "error", "class_error")))
        for each in record["results"]
        for name in ("before", "after")
    ]
    head = ("network", "calibration", "mean confidence", "calibration error", "mean error of classes")
    accuracies = ", ".join(f"{each['before']['accuracy']:.2%} (`{each['network']}`)" for each in record["results"])
    pictures = "".join(
        f"![Reliability of {each['network']} before and after calibration](results/{each['network']}-calibration.png)\n"
        for each in record["results"]
    )
    return (
        "## Calibration\n\n"
        "Expected calibration error in 15 bins, of the probability of the predicted class and as a mean over the "
        "classes' own probabilities. Calibration fits a sigmoid of its logit for each class "
        "(`keras-coda calibrate`) to a random half of the 5,000 held-out images; the figures are of the "
        f"{record['results'][0]['images']:,} others, which are classified as before: {accuracies}.\n\n"
        f"{markdown_table(head, rows, right=(2, 3, 4))}\n\n{pictures}\n"
        f"`{record['command']}`, {record['date']}, {record['cores']} cores, {record['cpu']}.\n\n"
    )


def main() -> None:
    """Measure the networks, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="NETWORK=SOURCE")
    sources = dict(each.split("=", 1) for each in parser.parse_args().sources)
    start, contents = time.monotonic(), records.described("experiments.calibration", quick=False)
    contents["command"] = f"python -m experiments.calibration {' '.join(f'{name}=SOURCE' for name in sources)}"
    before = (records.read(PART, RESULTS) or {"results": []})["results"]
    results = {each["network"]: each for each in before}
    results |= {network: measure(network, Path(source)) for network, source in sources.items()}
    contents["results"] = list(results.values())
    records.write(PART, {**contents, "seconds": round(time.monotonic() - start)}, RESULTS)


if __name__ == "__main__":
    main()
