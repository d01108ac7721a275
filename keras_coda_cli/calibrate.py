"""`keras-coda calibrate`: probabilities that are right as often as they say, fitted to validation images."""

import argparse

from keras_coda_cli import audit, checks, common

DESCRIPTION = (
    "Calibrate the probabilities of a network by validation images. It writes a preset folder with the same weights, "
    "whose exports and audits have calibrated probabilities beside the others, and prints the expected calibration "
    "error before and after: of a random half of the images, with the calibration of the other half."
)
EXAMPLE = "keras-coda calibrate --model runs/photos/model --data photos/validation --out calibrated"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    common.add_model(parser)
    audit.add_audited(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="new preset folder")
    parser.add_argument("--seed", type=int, default=0, help="seed of the halves")


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    audit.check_audited(args)
    checks.require_range(args, "--seed", 0, 2**32, "[)")
    checks.check_new_path(args.out)


def run(args: argparse.Namespace) -> None:
    """Fit and save the calibration, and print errors before and after."""
    from keras_coda.auditing.recorder import AuditedImages, Recorder
    from keras_coda.evaluation import calibration

    model = common.load_model(args.model)
    recorder = Recorder(model, AuditedImages.of(args.data, model.class_names))
    found = calibration.labels_and_logits(model, recorder.labeled_batches())
    halves = calibration.halves(*found, seed=args.seed)
    model.calibration = calibration.fit_calibration(*found)
    model.save_to_preset(args.out)
    head = ("probabilities", "accuracy", "mean confidence", "calibration error", "mean of classes")
    common.print_table([head, *calibration.table(halves)])
    count = len(found[0])
    print(
        f"Written to {args.out}, fitted to all {count} images. The figures above are of {count - count // 2} of them."
    )
