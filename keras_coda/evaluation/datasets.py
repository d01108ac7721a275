"""Labeled data sets: read in batches of limited size, and checked."""

from collections.abc import Iterable, Iterator

import keras
import numpy as np

from keras_coda.explanations.compiled import default_batch_size
from keras_coda.utils.checks import check_images, num_classes_of, require, to_numpy
from keras_coda.utils.labels import check_multi_hot, class_labels
from keras_coda.utils.progress import is_infinite


def check_dataset(dataset: Iterable, *, infinite: bool = False) -> None:
    """Raise ``ValueError`` if a data set cannot be iterated over, or is infinite.

    Args:
        dataset: yields (images, labels).
        infinite: whether it may be infinite.
    """
    fix = "Pass `data.validation`" if hasattr(dataset, "validation") else "Batch arrays: `[(images, labels)]`"
    is_iterable = hasattr(dataset, "__iter__") and not isinstance(dataset, (str, dict))
    require(is_iterable, "`dataset` must yield (images, labels)", fix, dataset=type(dataset).__name__)
    is_fit = infinite or not is_infinite(dataset)
    require(is_fit, "`dataset` must come to an end", "Use `dataset.take(...)`", cardinality="infinite")


def require_one_label(model: keras.Model, what: str) -> None:
    """Raise ``ValueError`` for networks with several labels, ``compile(multi_label=True)``.

    Args:
        model: the network.
        what: which metric needs images with one label each.
    """
    multi_label = getattr(model, "multi_label", False)
    fix = "Use `keras_coda.evaluation.pointing_game`, with boxes or masks, and `pixel_removal`"
    require(not multi_label, f"{what} needs images with one label each", fix, multi_label=multi_label)


def labeled_batches(
    dataset: Iterable, model: keras.Model, batch_size: int | None = None, limit: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield checked ``(images, labels)``: images in their own dtype ``(batch, H, W, c)``, labels int32 ``(batch,)``.

    Of a network with several labels (``compile(multi_label=True)``) each image comes once for each label that it has.

    Args:
        dataset: yields (images, labels): a batched ``tf.data.Dataset``, or any iterable. Labels as for
            :func:`~keras_coda.utils.labels.class_labels`; of a network with several labels ``(batch, classes)`` of 0
            and 1.
        model: for the channels, the size, the number of classes and the kind of labels that the data must fit.
        batch_size: larger batches are split; None: chosen from the image size, at most 32.
        limit: stop after this many images; None for all.

    Raises:
        ValueError: for unlabeled data, labels that are not classes of the model, images that differ in size or do not
            fit the model, and a data set without images.
        TypeError: if the images' dtype is not real.
    """
    num_classes, (height, width, channels) = num_classes_of(model), model.input_shape[1:]
    multi_label = getattr(model, "multi_label", False)
    seen, size = 0, (height, width)
    for batch in dataset:
        images, labels = check_batch(batch, num_classes, multi_label=multi_label)
        sizes = images.shape[1:3]
        check_images(images, channels, (height, width))
        require(not seen or sizes == size, "All images must be of one size", sizes=[size, sizes])
        if multi_label:
            places, labels = (index.astype("int32") for index in np.nonzero(labels))
            images = images[places]
        size, step = sizes, batch_size or default_batch_size(*sizes)
        stop = len(images) if limit is None else min(len(images), limit - seen)
        for start in range(0, stop, step):
            part = slice(start, min(stop, start + step))
            seen += part.stop - part.start
            yield images[part], labels[part]
        if seen == limit:
            return
    rule = f"`dataset` must yield images{' with labels' if multi_label else ''}"
    require(seen, rule, "A generator can be used only once", images=0)


def check_batch(batch, num_classes: int, *, multi_label: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(images, labels)`` of a batch: images as they are, ``(batch, ...)``, and labels int32 ``(batch,)``.

    With ``multi_label``, labels are bool ``(batch, num_classes)``.

    Raises:
        ValueError: for a batch without labels.
        InvalidLabelsError: a ``ValueError``, see :func:`~keras_coda.utils.labels.class_labels`.
    """
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    rule = "`dataset` must yield (images, labels): this metric needs to know the true classes"
    kinds = [type(part).__name__ for part in parts]
    require(len(parts) > 1 and parts[1] is not None, rule, "For arrays, pass `[(images, labels)]`", batch=kinds[:3])
    images = to_numpy(parts[0])
    if multi_label:
        labels = check_multi_hot(parts[1], num_classes)
        fits = len(labels) == len(images)
        require(fits, "There must be labels for each image of a batch", images=len(images), labels=len(labels))
        return images, labels
    return images, class_labels(parts[1], num_classes, len(images))
