"""The demo: train on digits, explain, export, and check it all; and explanations of image files."""

import difflib
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from keras_coda import training, visualization
from keras_coda.data import load

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")

# Runs in a process of its own: a SavedModel needs nothing but TensorFlow.
_BARE_TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf

folder, images, results = sys.argv[1:]
images = tf.constant(np.load(images))
signatures = tf.saved_model.load(folder).signatures
outputs = {**signatures["serving_default"](images=images), **signatures["contributions"](images=images)}
assert "keras_coda" not in sys.modules
np.savez(results, **{name: tensor.numpy() for name, tensor in outputs.items()})
"""


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
    evaluation = training.evaluate(model, data.validation, num_images=data.num_validation, verbose=bool(verbose))
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
        "largest_residual": evaluation["largest_residual"],
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
    certain, uncertain = best[::2][:5], by_certainty[::-1][:5]
    inner = f"dau_{max(1, len(model.filters) - 1)}"
    figures = {
        "certain": model.explain(images[certain], top_k=3).plot(labels[certain]),
        "uncertain": model.explain(images[uncertain], top_k=2).plot(labels[uncertain]),
        "all_classes": model.explain(images[uncertain[:1]], np.arange(model.num_classes)[None]).plot(),
        "inner_layer": model.explain(images[certain], top_k=3, wrt=inner).plot(labels[certain]),
        "linear_map": _linear_map_figure(model.explain(images[certain], top_k=2, linear_map=True), labels[certain]),
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        visualization.save_picture(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]


def compare_saved_model(model, folder: str | os.PathLike, images: np.ndarray | None = None) -> float:
    """Run a SavedModel in a process that knows TensorFlow but not this package, and compare it with Keras.

    Args:
        model: the network that was exported.
        folder: what :meth:`CoDANet.export` wrote.
        images: ``(N, H, W, c)``, pixels in [0, 255]; None for four random ones.

    Returns:
        The largest absolute difference of logits, probabilities and contributions.

    Raises:
        RuntimeError: if the SavedModel does not run, or differs by more than float rounding explains.
    """
    if images is None:
        shape = [side or 64 for side in model.input.shape[1:]]
        images = np.random.default_rng(0).integers(0, 256, (4, *shape))
    images = np.asarray(images, "float32")
    with tempfile.TemporaryDirectory() as scratch:
        given, results = Path(scratch, "images.npy"), Path(scratch, "results.npz")
        np.save(given, images)
        command = [sys.executable, "-c", _BARE_TENSORFLOW, os.fspath(folder), given, results]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"The SavedModel must run in bare TensorFlow. Received: '{folder}' ({reason})")
        with np.load(results) as file:
            outputs = dict(file)
    explanation = model.explain(images, outputs["classes"])
    names = ("logits", "probabilities", "contributions")
    difference = max(float(np.abs(outputs[name] - getattr(explanation, name)).max()) for name in names)
    if not difference <= 1e-4 * max(1.0, float(np.abs(explanation.logits).max())):
        raise RuntimeError(f"The SavedModel must agree with Keras. Received: '{folder}', which differs by {difference}")
    return difference


# === Image files ===


def explain_files(
    model,
    paths: Iterable[str | os.PathLike],
    out: str | os.PathLike,
    *,
    classes: Iterable[str | int] | None = None,
    top_k: int | None = None,
    wrt: str | None = None,
    linear_map: bool = False,
    overwrite: bool = False,
    batch_size: int = 32,
) -> list[tuple[str, str, str, str]]:
    """Explain image files: for every one a picture ``NAME.png`` and the numbers, ``NAME.npz``.

    Images get the network's channels and, if that is fixed, its size, as :func:`keras_coda.data.load` does it. All
    are read before anything is written.

    Args:
        model: a trained :class:`~keras_coda.CoDANet` for images of one or three channels.
        paths: image files, and folders that are searched for them.
        out: folder for the results. Files of equal names get their folders' names in front.
        classes: names or indices of the classes to explain, None for the predicted one.
        top_k: the most probable classes instead.
        wrt: see :func:`keras_coda.explain`.
        linear_map: whether to compute it too, and to draw it as ``NAME.linear_map.png``.
        overwrite: whether results that exist are replaced.
        batch_size: images explained at a time.

    Returns:
        A row ``(file, class, probability, residual)`` of strings for every image and class.

    Raises:
        ValueError: for files that are missing or unreadable (they are named), unknown classes, a model of other
            channels.
        FileExistsError: if results exist and ``overwrite`` is False.
    """
    out = Path(out).expanduser()
    classes = None if classes is None else _indices(classes, model)
    files = _find(paths, out)
    *size, channels = model.input.shape[1:]
    if channels not in (1, 3):
        raise ValueError(f"Image files have 1 or 3 channels. Received: a network for {channels}. Use `model.explain`.")
    for file in files:
        _read(file, channels)
    names = _unique_names(files)
    endings = (".png", ".npz", ".linear_map.png")[: 3 if linear_map and wrt is None else 2]
    existing = [path for name in names for ending in endings if (path := out / f"{name}{ending}").exists()]
    destroyed = {path.resolve() for path in existing} & set(files)
    if destroyed or (existing and not overwrite):
        shown = ", ".join(f"'{path}'" for path in (destroyed or existing[:5]))
        fix = "Choose another folder." if destroyed else "Choose another folder, or replace them: --overwrite."
        raise FileExistsError(
            f"Results must not replace {'images' if destroyed else 'files'}. Received: {shown}. {fix}"
        )

    fixed = None not in size
    resize = keras.layers.Resizing(*size, crop_to_aspect_ratio=True, dtype="float32") if fixed else np.asarray
    rows, bar = [], keras.utils.Progbar(len(files), unit_name="image")
    step = batch_size if fixed else 1
    for start in range(0, len(files), step):
        chosen = slice(start, start + step)
        images = np.stack([np.asarray(resize(_read(file, channels))) for file in files[chosen]])
        wanted = None if classes is None else np.tile(classes, (len(images), 1))
        explanation = model.explain(images, wanted, top_k=top_k, wrt=wrt, linear_map=linear_map)
        out.mkdir(parents=True, exist_ok=True)
        for index, (file, name) in enumerate(zip(files[chosen], names[chosen], strict=True)):
            one = explanation[index]
            visualization.save_picture(one.plot(), out / f"{name}.png")
            if linear_map and wrt is None:
                visualization.save_picture(_linear_map_figure(one), out / f"{name}.linear_map.png")
            one.save(out / f"{name}.npz")
            for k, label in enumerate(one.classes[0]):
                called = one.class_names[label] if one.class_names else str(label)
                rows.append((str(file), called, f"{one.probabilities[0, label]:.1%}", f"{one.residual[0, k]:.1e}"))
            bar.add(1)
    return rows


def _find(paths, out):
    """Return the image files among paths and in folders, each once; results in ``out`` are not among them."""
    files = []
    for path in map(Path, paths):
        path = path.expanduser().resolve()
        if not path.exists():
            raise ValueError(f"Paths must be image files or folders. Received: '{path}', which does not exist.")
        found = [path]
        if path.is_dir():
            found = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in EXTENSIONS and file.is_file()]
            found = [file for file in found if file.name[0] != "." and out.resolve() not in file.parents]
            if not found:
                raise ValueError(f"A folder must hold images ({', '.join(EXTENSIONS)}). Received: '{path}', without.")
        files += found
    return list(dict.fromkeys(files))


def _read(path, channels):
    """Return an image file as ``(H, W, channels)``, uint8, or raise the ``ValueError`` that names it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if getattr(image, "is_animated", False):
                raise ValueError("animated")
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
            array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except Exception as error:
        raise ValueError(f"Every image must be readable. Received: '{path}' ({error})") from error
    return array.reshape(*array.shape[:2], channels)


def _unique_names(files):
    """Name results after files: by the stem, where several share it by folders too, then by the ending too."""
    top = Path(os.path.commonpath([file.parent for file in files]))
    names = [file.stem for file in files]
    for longer in (
        lambda file: "-".join(file.relative_to(top).with_suffix("").parts),
        lambda file: "-".join(file.relative_to(top).parts),
        lambda file: f"{file.name}-{files.index(file)}",
    ):
        counts = Counter(name.casefold() for name in names)
        names = [longer(f) if counts[name.casefold()] > 1 else name for f, name in zip(files, names, strict=True)]
    return names


def _indices(classes, model):
    """Return the indices of classes given as names or indices."""
    names = [name.casefold() for name in model.class_names or ()]
    indices = []
    for entry in map(str, classes):
        if entry.casefold() in names:
            indices.append(names.index(entry.casefold()))
        elif entry.isdigit() and int(entry) < model.num_classes:
            indices.append(int(entry))
        else:
            near = difflib.get_close_matches(entry.casefold(), names)
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Names: {', '.join(names) or 'none'}."
            raise ValueError(
                f"Classes are names, or indices in [0, {model.num_classes - 1}]. Received: {entry!r}. {hint}"
            )
    return indices


def _linear_map_figure(explanation, labels=None):
    return visualization.plot_linear_map(
        explanation.images,
        explanation.linear_map,
        explanation.classes,
        class_names=explanation.class_names,
        labels=labels,
    )
