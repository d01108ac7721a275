"""`keras-coda demo`: train on digits, explain, draw, export, and check the export."""

import argparse
from pathlib import Path

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Train on 1,797 scanned digits, explain, export and check the export; it takes about a minute. It writes pictures, "
    "the trained network and a SavedModel."
)
EXAMPLE = "keras-coda demo --out demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--out",
        default="demo",
        metavar="FOLDER",
        help="folder for the results; those of an earlier demo are replaced, but a SavedModel becomes the next version",
    )
    parser.add_argument("--epochs", type=common.positive, default=20, help="passes over the training images")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, validation split and order of images")


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    checks.require_range(args, "--seed", 0, 2**32, "[)")
    checks.check_out_folder(args.out)


def run(args: argparse.Namespace) -> None:
    """Train the preset ``coda_digits``, explain, draw, export, compare the export with Keras, and print a table."""
    import keras
    import numpy as np

    from keras_coda import evaluation, training
    from keras_coda.data.load import load

    out = Path(args.out).expanduser()
    keras.utils.set_random_seed(args.seed)
    data = load("digits", seed=args.seed)
    model, _ = training.network("coda_digits", data)
    print(f"Training on {data.num_train} digits, {model.count_params():,} parameters")
    figures = training.train(model, data, out / "training", epochs=args.epochs, restart=True)
    print(f"Explaining {data.num_validation} others")
    measured = evaluation.evaluate(model, data.validation, num_images=data.num_validation)
    images, labels = (np.concatenate(parts) for parts in zip(*data.validation.as_numpy_iterator(), strict=True))
    print("Drawing")
    _draw(model, images, labels, out / "pictures")
    common.print_table([
        ("validation accuracy", f"{figures['validation_accuracy']:.2%}"),
        ("largest completeness residual", f"{measured['largest_residual']:.1e}"),
        ("time per epoch", f"{figures['seconds_per_epoch']:.2f} s"),
        ("pictures", out / "pictures"),
        ("model", out / "training" / training.MODEL),
        *_export(model, images, out / "saved_model"),
    ])  # fmt: skip


def _export(model, images, folder):
    """Export, compare the SavedModel with Keras, and return rows about it."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return [("saved model", "none: export needs KERAS_BACKEND=tensorflow")]
    from keras_coda.exporters.saved_model import compare_saved_model

    print("Exporting, and loading the SavedModel in bare TensorFlow")
    served = _next_version(folder)
    model.export(served, top_k=3)
    difference = compare_saved_model(model, served, images)
    return [("SavedModel against Keras", f"{difference:.1e} (largest difference)"), ("saved model", served)]


def _next_version(folder):
    """Return the subfolder for the next version, as TF Serving numbers them."""
    versions = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
    return folder / str(max(versions, default=0) + 1)


def _draw(model, images, labels, folder):
    """Draw explanations of certain and uncertain predictions, all classes, an inner layer and the linear map.

    Args:
        model: a trained :class:`~keras_coda.CoDANet`.
        images: ``(N, H, W, c)``, pixels in [0, 255].
        labels: int ``(N,)``, the true classes.
        folder: created if it does not exist; pictures of the same names are replaced.
    """
    import numpy as np

    from keras_coda.visualization.figure import save_picture

    explanation = model.explain(images, top_k=2)
    margins = explanation.explained_logits[:, 0] - explanation.explained_logits[:, 1]  # (N,)
    is_right = explanation.classes[:, 0] == labels
    by_certainty = np.lexsort((-margins, ~is_right))  # correct predictions by margin, then wrong ones
    best = [next((i for i in by_certainty if labels[i] == label), 0) for label in range(model.num_classes)]
    certain, uncertain = best[::2][:5], by_certainty[::-1][:3]
    inner = f"dau_{max(1, len(model.filters) - 1)}"
    figures = {
        "certain": model.explain(images[certain], top_k=3).plot(labels[certain]),
        "uncertain": model.explain(images[uncertain], top_k=3).plot(labels[uncertain]),
        "all_classes": model.explain(images[uncertain[:1]], np.arange(model.num_classes)[None]).plot(),
        "inner_layer": model.explain(images[certain], top_k=3, wrt=inner).plot(labels[certain]),
        "linear_map": model.explain(images[certain], top_k=2, linear_map=True).plot_linear_map(labels[certain]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        save_picture(figure, folder / f"{name}.png")
