"""Predictions for image files, as a table."""

import csv
import io
import os
from collections.abc import Iterable

import numpy as np

from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.explanations.contrast import name_of_class
from keras_coda.explanations.explain import class_names_of, preparation_of, window_of
from keras_coda.explanations.explanation import sigmoid
from keras_coda.explanations.files import find_images, reader, shortest_path
from keras_coda.utils.atomic import new_file
from keras_coda.utils.checks import check_int, require
from keras_coda.utils.progress import Progress

COLUMNS = ("file", "class", "probability", "logit")


def predict_files(
    model,
    paths: Iterable[str | os.PathLike],
    out: str | os.PathLike | None = None,
    *,
    all_classes: bool = False,
    batch_size: int = 32,
    max_side: int | None = None,
    verbose: bool = True,
) -> str:
    """Predict the classes of image files; return a table in CSV, and write it to a file if ``out`` is given.

    Args:
        model: a trained model, as for :func:`keras_coda.explain`, for images of one or three channels.
        paths: image files, and folders that are searched for them, as for
            :func:`~keras_coda.explanations.explain_files`.
        out: a file, replaced if it exists. It appears whole or not at all.
        all_classes: whether to add a column ``probability of NAME`` for each class.
        batch_size: images predicted at a time.
        max_side: see :func:`~keras_coda.explanations.explain_files`.
        verbose: whether to show a progress bar.

    Returns:
        CSV with a line of names and one line for each image: ``file``; ``class``, ``probability`` and ``logit`` of the
        class with the largest logit. Probabilities are sigmoids of the logits: they need not sum to 1. Of a network
        with several labels: ``file`` and, for each class, 1 if the image has its label by the network's thresholds,
        else 0; these are the columns of the CSV files that :func:`keras_coda.data.load` takes.

    Raises:
        ValueError: for missing, unreadable and animated files (they are named), a model for other channels, and logits
            that are not finite.

    Warns:
        ImagesLeftOutWarning: if images of a folder are left out.
        ImagesReducedWarning: if images are reduced to ``max_side``.
    """
    max_side = None if max_side is None else check_int("max_side", max_side)
    files, decomposition = find_images(paths), compiled_explainer(model).decomposition
    read, is_fixed = reader(decomposition.input_shape, files, max_side, window_of(model), preparation_of(model))
    step = check_int("batch_size", batch_size) if is_fixed else 1
    names = [name_of_class(index, class_names_of(model)) for index in range(decomposition.num_classes)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    decide = model.decide if getattr(model, "multi_label", False) else None
    columns = COLUMNS if decide is None else (COLUMNS[0], *names)
    table.writerow([*columns, *(f"probability of {name}" for name in names if all_classes)])
    with Progress(len(files), "image", verbose) as progress:
        for start in range(0, len(files), step):
            chosen = files[start : start + step]
            logits = np.asarray(model.predict_on_batch(read(chosen)), "float32")  # (batch, classes)
            require(np.isfinite(logits).all(), "The model's logits must be finite", file=str(chosen[0]))
            for file, row, shares in zip(chosen, logits, sigmoid(logits), strict=True):
                best = row.argmax()
                more = [f"{share:.6g}" for share in shares] if all_classes else []
                found = [names[best], f"{shares[best]:.6g}", f"{row[best]:.6g}"]
                table.writerow([shortest_path(file), *(found if decide is None else decide(shares).astype(int)), *more])
            progress.add(len(chosen))
    if out is not None:
        with new_file(out) as temporary:  # names of files need not be text
            temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape", newline="")
    return text.getvalue()
