"""The demo: train on digits, explain, export, and check it all."""

import os
from pathlib import Path

import keras
import numpy as np

from keras_coda import evaluation, training, visualization
from keras_coda.data.load import load
from keras_coda.exporters.saved_model import compare_saved_model


def run(out: str | os.PathLike = "demo", *, epochs: int = 20, seed: int = 0, verbose: int | str = "auto") -> dict:
    """Train the preset ``coda_digits``, explain, draw, export, and compare the export with Keras.

    Args:
        out: folder for the training, the pictures and SavedModels; an earlier demo there is replaced, but for its
            SavedModels: the new one gets the next version.
        epochs: int, passes over the training images.
        seed: int, of weights, split and order.
        verbose: as for ``keras.Model.fit``.

    Returns:
        dict of ``validation_accuracy``, ``largest_residual``, ``seconds_per_epoch``, ``saved_model_difference``,
        and the paths ``pictures``, ``model``, ``saved_model``.
    """
    out = Path(out).expanduser()
    keras.utils.set_random_seed(seed)
    data = load("digits", seed=seed)
    model, _ = training.network("coda_digits", data)
    print(f"Training on {data.num_train} digits, {model.count_params():,} parameters")
    figures = training.train(model, data, out / "training", epochs=epochs, restart=True, verbose=verbose)
    print(f"Explaining {data.num_validation} others")
    measured = evaluation.evaluate(model, data.validation, num_images=data.num_validation, verbose=bool(verbose))
    images, labels = (np.concatenate(parts) for parts in zip(*data.validation.as_numpy_iterator(), strict=True))
    print("Drawing")
    pictures = draw(model, images, labels, out / "pictures")
    print("Exporting, and loading the SavedModel in bare TensorFlow")
    served = out / "saved_model"
    versions = [int(path.name) for path in served.glob("*") if path.name.isdigit()]
    served = served / str(max(versions, default=0) + 1)
    model.export(served, top_k=3)
    return {
        "validation_accuracy": figures["validation_accuracy"],
        "largest_residual": measured["largest_residual"],
        "seconds_per_epoch": figures["seconds_per_epoch"],
        "saved_model_difference": compare_saved_model(model, served, images),
        "pictures": str(pictures[0].parent),
        "model": str(out / "training" / training.MODEL),
        "saved_model": str(served),
    }


def draw(model, images: np.ndarray, labels: np.ndarray, folder: str | os.PathLike) -> list[Path]:
    """Write pictures of explanations: certain and uncertain ones, all classes, an inner layer, the linear map.

    Args:
        model: a trained :class:`~keras_coda.CoDANet`.
        images: ``(N, H, W, c)``, pixels in [0, 255].
        labels: int ``(N,)``, the true classes.
        folder: created if it does not exist; pictures of the same names are replaced.

    Returns:
        The paths written.
    """
    explanation = model.explain(images, top_k=2)
    margins = explanation.explained_logits[:, 0] - explanation.explained_logits[:, 1]  # (N,)
    is_right = explanation.classes[:, 0] == labels
    by_certainty = np.lexsort((-margins, ~is_right))  # right ones by their margin, then wrong ones
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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        visualization.save_picture(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]
