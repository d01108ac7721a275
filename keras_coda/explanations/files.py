"""Explanations of image files: for each a picture and a file of numbers."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_coda.data.images import image_size, read_image
from keras_coda.data.listing import EXTENSIONS, Images
from keras_coda.data.preparation import Preparation
from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.explanations.explain import class_names_of, explain, preparation_of, window_of
from keras_coda.explanations.inputs import pixel_reader
from keras_coda.utils.atomic import check_writable
from keras_coda.utils.checks import check_int
from keras_coda.utils.class_names import class_indices
from keras_coda.utils.errors import ImagesLeftOutWarning, ImagesReducedWarning
from keras_coda.utils.progress import Progress
from keras_coda.visualization.figure import save_picture


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
    max_side: int | None = None,
) -> list[tuple[str, str, str, str]]:
    """Explain image files: write a picture ``NAME.png`` and the numbers, ``NAME.npz``, for each.

    Images are converted to the network's channels and, if that is fixed, to its size, as :func:`keras_coda.data.load`
    does it, or as the network's ``preparation`` says; see :func:`keras_coda.data.read_image`. All are read before
    anything is written.

    Args:
        model: a trained model, as for :func:`keras_coda.explain`, for images of one or three channels.
        paths: image files, and folders that are searched for them. Hidden files and folders in a folder, and those that
            other programs add (``@eaDir``, ``__MACOSX``), are left out.
        out: folder for the results. If files have equal names, results are named after their folders too.
        classes: names or indices of the classes to explain, None for the predicted one.
        top_k: explain so many of the most probable classes instead.
        wrt: see :func:`keras_coda.explain`.
        linear_map: whether to compute the linear map as well and draw it as ``NAME.linear_map.png``.
        overwrite: whether to replace existing results.
        batch_size: images explained at a time.
        max_side: if the network takes images of any size, those with a longer side are reduced to so many pixels on
            it; None: images keep their size.

    Returns:
        A row ``(file, class, probability, residual)`` of strings for each image and class.

    Raises:
        ValueError: for missing, unreadable and animated files (they are named), unknown classes, and a model for other
            channels.
        FileExistsError: if results exist and ``overwrite`` is False.

    Warns:
        ImagesLeftOutWarning: if images of a folder are left out.
        ImagesReducedWarning: if images are reduced to ``max_side``.
    """
    out = Path(out).expanduser()
    max_side = None if max_side is None else check_int("max_side", max_side)
    decomposition = compiled_explainer(model).decomposition
    if classes is not None:
        classes = class_indices(classes, class_names_of(model), decomposition.num_classes)
    files = find_images(paths, out)
    draws_linear_map = linear_map and wrt is None and decomposition.features is None  # colors are those of pixels
    names = _check_targets(files, out, draws_linear_map, overwrite)
    read, fixed = reader(decomposition.input_shape, files, max_side, window_of(model), preparation_of(model))
    for file in files:  # unreadable ones are found before anything is written
        read([file])

    def explain_chosen(chosen):
        images = read(chosen)
        wanted = None if classes is None else np.tile(classes, (len(images), 1))
        return explain(model, images, wanted, top_k=top_k, wrt=wrt, linear_map=linear_map, verbose=False)

    return _explain_and_write(files, names, out, explain_chosen, batch_size if fixed else 1, draws_linear_map)


def explain_files_on_server(
    client,
    paths: Iterable[str | os.PathLike],
    out: str | os.PathLike,
    *,
    classes: Iterable[str | int] | None = None,
    overwrite: bool = False,
    batch_size: int = 8,
) -> list[tuple[str, str, str, str]]:
    """Explain image files with a model on a server, which decodes and resizes them; write as :func:`explain_files`.

    Args:
        client: a :class:`keras_coda.serving.RestClient` or ``GrpcClient``.
        paths: as for :func:`explain_files`, like ``out`` and ``overwrite``.
        out: folder for the results.
        classes: indices of as many classes as the model was exported for, or names if the client knows them; None for
            the most probable.
        overwrite: whether to replace existing results.
        batch_size: files in a request.

    Returns:
        Rows as :func:`explain_files`.

    Raises:
        ServingError: if the server gives no valid answer. Results of files before were written.
        ValueError, FileExistsError: as :func:`explain_files`.
    """
    out = Path(out).expanduser()
    indices = None if classes is None else class_indices(classes, client.class_names)
    files = find_images(paths, out)
    names = _check_targets(files, out, False, overwrite)
    for file in files:
        read_image(file, 3, animated=False)

    def explain_chosen(chosen):
        return client.explain(list(chosen), None if indices is None else np.tile(indices, (len(chosen), 1)))

    return _explain_and_write(files, names, out, explain_chosen, batch_size, False)


def _check_targets(files, out, draws_linear_map, overwrite):
    """Return the names of results, without their endings, if all of them can be written."""
    names = _unique_names(files)
    endings = (".png", ".npz", ".linear_map.png")[: 3 if draws_linear_map else 2]
    existing = [path for name in names for ending in endings if (path := out / f"{name}{ending}").exists()]
    destroyed = {path.resolve() for path in existing} & set(files)
    if destroyed or (existing and not overwrite):
        shown = ", ".join(f"'{path}'" for path in (destroyed or existing[:5]))
        fix = "Choose another folder." if destroyed else "Choose another folder, or replace them: --overwrite."
        raise FileExistsError(
            f"Results must not replace {'images' if destroyed else 'files'}. Received: {shown}. {fix}"
        )
    longest = max(names, key=lambda name: len(os.fsencode(name)))
    check_writable(out / f"{longest}{endings[-1]}", "out")
    return names


def _explain_and_write(files, names, out, explain, batch_size, draws_linear_map):
    """Explain files in batches, write a picture and the numbers for each, and return the rows."""
    rows = []
    with Progress(len(files), "image") as progress:
        for start in range(0, len(files), batch_size):
            chosen = slice(start, start + batch_size)
            explanation = explain(files[chosen])
            out.mkdir(parents=True, exist_ok=True)
            for index, (file, name) in enumerate(zip(files[chosen], names[chosen], strict=True)):
                one = explanation[index]
                save_picture(one.plot(), out / f"{name}.png")
                if draws_linear_map:
                    save_picture(one.plot_linear_map(), out / f"{name}.linear_map.png")
                one.save(out / f"{name}.npz")
                rows += _rows(file, one)
                progress.add(1)
    return rows


def _warn_of_reduced(files, max_side):
    sizes = {file: image_size(file) for file in files}
    larger = [file for file in files if max(sizes[file]) > max_side]
    if larger:
        height, width = sizes[larger[0]]
        warnings.warn(
            f"Images are reduced to at most {max_side} pixels per side: {len(larger)} of {len(files)}, for instance "
            f"'{larger[0]}' of {height}x{width}. Another `max_side` (--max-side) changes this.",
            ImagesReducedWarning,
            stacklevel=4,
        )


def _rows(file, explanation):
    """Yield a row ``(file, class, probability, residual)`` for each class of the explanation of one image."""
    shortest = shortest_path(file)
    for k, label in enumerate(explanation.classes[0]):
        called = explanation.class_names[label] if explanation.class_names else str(label)
        yield shortest, called, f"{explanation.probabilities[0, label]:.1%}", f"{explanation.residual[0, k]:.1e}"


def reader(
    input_shape,
    files: list[Path],
    max_side: int | None,
    window: tuple[float, float] | None = None,
    preparation: Preparation | None = None,
) -> tuple[Callable[[Sequence[Path]], np.ndarray], bool]:
    """Return the function that reads image files as a network takes them, and whether that has a fixed image size.

    Args:
        input_shape: ``(H, W, c)`` of the network; H and W may be None.
        files: all that will be read, for the warning.
        max_side: see :func:`explain_files`.
        window: of files with 16 bits per channel, see :func:`~keras_coda.data.read_image`.
        preparation: how images are brought to the network's size; None: as usual.

    Returns:
        ``(read, is_fixed)``: ``read`` takes files and returns ``(B, H, W, c)`` float32; if the size is not fixed, the
        files must have one size.

    Warns:
        ImagesReducedWarning: if files will be reduced to ``max_side``.
    """
    read, is_fixed = pixel_reader(input_shape, max_side, window, preparation)
    if not is_fixed and max_side is not None:
        _warn_of_reduced(files, max_side)
    return lambda chosen: np.stack([read(file) for file in chosen]), is_fixed


def find_images(paths: Iterable[str | os.PathLike], out: Path | None = None) -> list[Path]:
    """Return the image files among paths and in folders, each once, without the results in the folder ``out``.

    Raises:
        ValueError: for paths that do not exist, and folders without images.

    Warns:
        ImagesLeftOutWarning: if images of a folder are left out.
    """
    without = None if out is None else out.resolve()
    files: list[Path] = []
    for path in map(Path, paths):
        path = path.expanduser().resolve()
        if not path.exists():
            raise ValueError(f"Paths must be image files or folders. Received: '{path}', which does not exist.")
        found = [path]
        if path.is_dir():
            images = Images.of(path)
            found = [file for file in map(Path, images.paths) if file.is_file() and without not in file.parents]
            left_out = images.left_out()
            if not found:
                raise ValueError(" ".join([
                    f"A folder must hold images ({', '.join(EXTENSIONS)}). Received: '{path}', without.", *left_out
                ]))  # fmt: skip
            for sentence in left_out:
                warnings.warn(sentence, ImagesLeftOutWarning, stacklevel=3)
        files += found
    return list(dict.fromkeys(files))


def shortest_path(file: Path) -> str:
    """Return the absolute path of a file or the one from the working folder, whichever is shorter."""
    return min(str(file), os.path.relpath(file), key=len)


def _unique_names(files):
    """Name results after files: by the stem; if several share it, by folders too, then by the ending too."""
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
