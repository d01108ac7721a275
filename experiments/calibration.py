"""Expected calibration error of the shipped CIFAR-10 networks, before and after calibration.

    python -m experiments.calibration VALIDATION

VALIDATION is a folder with one folder per class: the 5,000 images that the networks were not trained on. The
calibration is fitted to a random half of them and measured on the other half.

Machine: 2 CPU cores, shared with other work.
Hours: 0.5.
Result: experiments/results/calibration.json, a section of docs/results.md, and docs/results/NETWORK-calibration.png.
"""

import argparse
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path

from benchmarks import records
from keras_coda.utils.tables import markdown_table

NETWORKS = ("coda_xs_cifar10", "coda_s_cifar10")
RESULTS, PICTURES = Path(__file__).parent / "results", Path(__file__).parents[1] / "docs" / "results"
PART = "calibration"


def measure(network: str, folder: Path) -> dict:
    """Calibrate one network by one half of the images, and return figures of the other half; draw the diagram."""
    from keras_coda import CoDANet
    from keras_coda.auditing.recorder import AuditedImages, Recorder
    from keras_coda.evaluation import calibration
    from keras_coda.visualization import plot_reliability, save_picture

    model = CoDANet.from_preset(network)
    recorder = Recorder(model, AuditedImages.of(folder, model.class_names))
    labels, logits = calibration.labels_and_logits(model, recorder.labeled_batches(), verbose=False)
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


def section(record: dict) -> str:
    """Return the section of the page of results."""
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
    """Measure all networks, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    args = parser.parse_args()
    start, contents = time.monotonic(), records.described("experiments.calibration", quick=False)
    contents["command"] = "python -m experiments.calibration VALIDATION"
    contents["results"] = [measure(network, args.folder) for network in args.networks]
    records.write(PART, {**contents, "seconds": round(time.monotonic() - start)}, RESULTS)
    print(contents["results"], file=sys.stderr)


if __name__ == "__main__":
    main()
