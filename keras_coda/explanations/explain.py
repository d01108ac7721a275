"""Exact contribution maps of any Keras model that ends in a chain of dynamic-linear layers."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_coda.data.preparation import Preparation
from keras_coda.explanations.calibration import Calibration
from keras_coda.explanations.compiled import compiled_explainer, default_batch_size
from keras_coda.explanations.explanation import Explanation, sigmoid
from keras_coda.explanations.inputs import as_batch, file_names
from keras_coda.utils.checks import (
    check_class_names,
    check_classes,
    check_images,
    check_int,
    require,
    require_finite_network,
    to_numpy,
)
from keras_coda.utils.class_names import replace_names
from keras_coda.utils.labels import check_multi_hot, class_labels
from keras_coda.utils.progress import track


def explain(
    model: keras.Model,
    images,
    classes=None,
    *,
    top_k: int | None = None,
    wrt: str | None = None,
    linear_map: bool = False,
    batch_size: int | None = None,
    verbose: bool | str = "auto",
    jit_compile: bool | None = None,
    class_names: Sequence[str] | None = None,
) -> Explanation:
    """Explain a batch of images exactly.

    Args:
        model: a functional or sequential Keras model: layers that encode the images, then a chain of
            :class:`~keras_coda.layers.dynamic_linear.DynamicLinear` layers up to the logits. Its last layer may also be
            such a model, for example after layers that augment images in training.
        images: ``(B, H, W, c)``, any real dtype, pixels in [0, 255]; or one image: ``(H, W, c)``, the path of a file
            (see :func:`keras_coda.data.read_image`) or an image of Pillow; or a list of such images. Files and images
            of Pillow get the size of the network as :func:`keras_coda.data.load` does it, or as the network's
            ``preparation`` says, and are turned upright.
        classes: which classes to explain: None for the predicted one, an index or a name for all images, ``(B,)`` for
            one per image, or ``(B, K)``; ``(K,)`` for one image without a batch axis.
        top_k: explain the classes of the ``top_k`` largest logits, largest first, instead.
        wrt: name of an inner layer to whose output the contributions refer; None for the pixels, or for the features
            if a conventional network precedes the dynamic-linear layers: maps are exact from there on, and the
            explanation's ``wrt`` names the layer.
        linear_map: whether to return the linear map as well (2c times the memory of a map).
        batch_size: images explained at a time; memory grows with it. None: up to 32, as many as need about 1 GB. A
            single image that needs more is explained in tiles, with the same result.
        verbose: True for a progress bar, False for none, ``"auto"`` for one if it takes longer than two seconds.
        jit_compile: whether to use XLA; None: as the model was compiled.
        class_names: one name per class, for pictures and ``classes``; None for those of the model, if it has any.

    Returns:
        An :class:`Explanation`; always float32, whatever the model's dtype policy.

    Raises:
        TypeError: if the images' or classes' dtype is wrong, and for data sets, see :func:`explain_batches`.
        UnreadableImageError: for files that cannot be read; it is a ``ValueError``.
        ValueError: for images of the wrong shape, NaN or infinite pixels, unknown classes, an unknown ``wrt``, and
            models of another structure.
        NotEnoughMemoryError: a ``ValueError``, if less memory is free than the explanation needs.
        NonFiniteNetworkError: a ``ValueError``, if logits or maps are NaN or infinite.

    Warns:
        PixelRangeWarning: a ``UserWarning``, if pixels look scaled to [0, 1] or lie outside [0, 255].

    Reference:
        CVPR 2021, equations 6 to 8.
    """
    explainer = compiled_explainer(model)
    decomposition = explainer.decomposition
    names = file_names(images)
    images, is_one_image = as_batch(images, decomposition.input_shape, window_of(model), preparation_of(model))
    images = check_images(images, decomposition.input_shape[-1], decomposition.input_shape[:2])
    class_names = class_names_of(model) if class_names is None else class_names
    class_names = check_class_names(class_names, decomposition.num_classes)
    classes = replace_names(classes, class_names, decomposition.num_classes)
    if is_one_image and np.ndim(classes) == 1:
        classes = [classes]
    classes, top_k = check_classes(classes, top_k, len(images), decomposition.num_classes)
    fields = explainer(
        images,
        classes,
        top_k,
        batch_size=None if batch_size is None else check_int("batch_size", batch_size),
        verbose=verbose,
        depth=decomposition.depth(wrt),
        linear_map=bool(linear_map),
        jit_compile=bool(getattr(model, "jit_compile", False) if jit_compile is None else jit_compile),
    )
    found = _explanation(model, decomposition, images, fields, class_names, wrt)
    return dataclasses.replace(found, names=names)


def explain_without(model: keras.Model, explanation: Explanation, removed: np.ndarray) -> Explanation:
    """Explain the images of an explanation again, for the same classes, with some pixels removed.

    A pixel is removed by setting all its encoded channels to zero: both halves of ``[x, 1-x]``. Of features of a
    conventional network the share of their pixels that is kept is left.

    Args:
        model: the network that ``explanation`` is of.
        explanation: of pixels, as :func:`explain` returns it without ``wrt``.
        removed: ``(B, H, W)`` bool, True for the pixels to remove.

    Returns:
        An :class:`Explanation` of the network's answer to what is left, with the linear map if ``explanation`` has it.

    Raises:
        ValueError: if ``removed`` does not have the size of the images.
    """
    explainer = compiled_explainer(model)
    images, classes, removed = explanation.images, explanation.classes, np.asarray(removed, bool)
    rule = "`removed` must have the number, height and width of the images"
    require(removed.shape == images.shape[:3], rule, removed=removed.shape, images=images.shape)
    keep = np.where(removed, 0, 1).astype("float32")[..., None]
    decomposition = explainer.decomposition
    fixed = [(None, *decomposition.input_shape), (None, classes.shape[1]), (None, *decomposition.input_shape[:2], 1)]
    options = {"top_k": None, "depth": 0, "linear_map": explanation.linear_map is not None}
    jit_compile = bool(getattr(model, "jit_compile", False))
    fields = explainer.run(decomposition.explain, [images, classes, keep], fixed, jit_compile, **options)
    found = _explanation(model, decomposition, images, fields, explanation.class_names, None)
    return dataclasses.replace(found, labels=explanation.labels, names=explanation.names)


def _explanation(model, decomposition, images, fields, class_names, wrt):
    """Return the outputs of :meth:`Decomposition.explain` as an :class:`Explanation`."""
    maps = {name: fields[name] for name in ("contributions", "linear_map") if name in fields}
    require_finite_network(model, logits=fields["logits"], **maps)
    logits = fields["logits"]
    explained = np.take_along_axis(logits, fields["classes"], axis=1)
    total = fields["contributions"].sum(axis=(2, 3), dtype="float64") + decomposition.bias
    total = total + fields.get("offsets", 0)
    return Explanation(
        images=images,
        probabilities=sigmoid(logits),
        residual=np.abs(total - explained).astype("float32"),
        bias=decomposition.bias,
        wrt=decomposition.features if wrt is None else wrt,
        class_names=class_names,
        **fields,
    )


def class_names_of(model) -> tuple[str, ...] | None:
    """Return the class names of a model, or of the network that is its last layer; None if it has none."""
    names = _of_network(model, "class_names")
    return tuple(names) if names else None


def window_of(model) -> tuple[float, float] | None:
    """Return the window with which image files of 16 bits are read for a model, or the network that is its last layer.

    See :func:`keras_coda.data.read_image`.
    """
    return _of_network(model, "window")


def calibration_of(model) -> Calibration | None:
    """Return the calibration of a model, or of the network that is its last layer; None if it has none."""
    return _of_network(model, "calibration")


def thresholds_of(model, num_classes: int) -> tuple[float, ...] | None:
    """Return from which probability on an image has each of several labels; None if images have one label each."""
    if not getattr(model, "multi_label", False):
        return None
    return getattr(model, "thresholds", None) or (0.5,) * num_classes


def preparation_of(model) -> Preparation | None:
    """Return how photos are prepared for a model, or the network that is its last layer; None: as usual."""
    return _of_network(model, "preparation")


def _of_network(model, name):
    layers = getattr(model, "layers", None) or [None]
    return getattr(model, name, None) or getattr(layers[-1], name, None)


def explain_batches(model: keras.Model, dataset: Iterable, **options: Any) -> Iterator[Explanation]:
    """Explain a data set of any length, a batch at a time: memory does not grow with the number of images.

    Args:
        model: as for :func:`explain`.
        dataset: yields images ``(B, H, W, c)`` or ``(images, labels)``, with labels ``(B,)``, ``(B, 1)`` or one-hot
            ``(B, C)``: a batched ``tf.data.Dataset``, or any iterable. An array ``(N, H, W, c)`` is divided into
            batches of ``batch_size``.
        **options: as for :func:`explain`, except that ``classes`` must be None, an int or a name. ``verbose=False``
            hides the progress bar over batches.

    Yields:
        An :class:`Explanation` for each batch, with ``labels`` if the data set has one for each image.

    Raises:
        TypeError: if ``dataset`` cannot be iterated over, or is a path.
        ValueError: as :func:`explain`, once the wrong batch is read.
        InvalidLabelsError: a ``ValueError``, for labels that are no classes of the model.

    Example:
        >>> data = keras_coda.data.load("digits")
        >>> model = keras_coda.CoDANet.from_preset("coda_digits", load_weights=False)
        >>> sum(len(e) for e in keras_coda.explain_batches(model, data.validation, verbose=False))
        360
    """
    if np.ndim(options.get("classes", 0)) != 0:
        raise ValueError(f"`classes` must be None, an int or a name here. Received: classes={options['classes']!r}")
    for batch in track(_batches(dataset, options.get("batch_size")), show=options.pop("verbose", True)):
        images, labels = batch[:2] if isinstance(batch, (tuple, list)) else (batch, None)
        explanation = explain(model, images, verbose=False, **options)
        if labels is not None:
            labels, num_classes = np.atleast_1d(to_numpy(labels)), explanation.logits.shape[1]
            if getattr(model, "multi_label", False):
                check_multi_hot(labels, num_classes)
            else:
                labels = class_labels(labels, num_classes, len(explanation))
                explanation = dataclasses.replace(explanation, labels=labels)
        yield explanation


def _batches(dataset, batch_size):
    """Return an array divided into batches, and anything else as it is."""
    if hasattr(dataset, "dtype") and hasattr(dataset, "shape"):
        if len(dataset.shape) != 4:
            return [dataset]
        step = default_batch_size(*dataset.shape[1:3]) if batch_size is None else check_int("batch_size", batch_size)
        return [dataset[start : start + step] for start in range(0, len(dataset), step)]
    if isinstance(dataset, (str, os.PathLike)) or not _is_iterable(dataset):
        fix = "Pass `data.validation`" if hasattr(dataset, "validation") else "For files: `explanations.explain_files`"
        raise TypeError(
            f"`dataset` must yield images, or images and labels. Received: {type(dataset).__name__}. {fix}."
        )
    return dataset


def _is_iterable(dataset):
    return hasattr(dataset, "__iter__") or hasattr(dataset, "__getitem__")  # the latter: keras.utils.PyDataset
