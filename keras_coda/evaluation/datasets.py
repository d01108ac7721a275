"""Data sets of labeled images, read and checked a bounded number of images at a time."""

from collections.abc import Iterable, Iterator

import keras
import numpy as np

from keras_coda.explanations.compiled import default_batch_size
from keras_coda.utils.checks import check_images, num_classes_of, require, to_numpy


def with_progress(dataset: Iterable, verbose: bool) -> Iterator:
    """Iterate over the batches of a data set with a progress bar."""
    bar = keras.utils.Progbar(_length(dataset), unit_name="batch") if verbose else None
    count = 0
    for count, batch in enumerate(dataset, 1):
        yield batch
        if bar:
            bar.update(count)
    if bar and count != bar.target:
        bar.update(count, finalize=True)


def check_dataset(dataset: Iterable, *, infinite: bool = False) -> None:
    """Raise ``ValueError`` if a data set cannot be iterated over, or never ends and is not allowed to."""
    fix = "Pass `data.validation`, say" if hasattr(dataset, "validation") else "Batch arrays: `[(images, labels)]`"
    is_iterable = hasattr(dataset, "__iter__") and not isinstance(dataset, (str, dict))
    require(is_iterable, "`dataset` must yield (images, labels)", fix, dataset=type(dataset).__name__)
    is_finite = infinite or not hasattr(dataset, "cardinality") or int(dataset.cardinality()) != -1  # TensorFlow's mark
    require(is_finite, "`dataset` must come to an end", "Use `dataset.take(...)`", cardinality="infinite")


def labeled_batches(
    dataset: Iterable, model: keras.Model, batch_size: int | None = None, limit: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield ``(images, labels)``, checked: images as they are stored ``(batch, H, W, c)``, labels int32 ``(batch,)``.

    Args:
        dataset: yields (images, labels): a batched ``tf.data.Dataset``, or any iterable.
        model: for the channels, the size and the number of classes that the data must fit.
        batch_size: larger batches are cut; None for as many images as memory should be given to.
        limit: stop after so many images.

    Raises:
        ValueError: for unlabeled data, labels that are not classes of the model, images that differ in size or do not
            fit the model, and a data set without images.
        TypeError: if the images' dtype is not real.
    """
    num_classes, (height, width, channels) = num_classes_of(model), model.input_shape[1:]
    seen, size = 0, (height, width)
    for batch in dataset:
        images, labels = _check_batch(batch, num_classes)
        sizes = images.shape[1:3]
        check_images(images, channels, (height, width))
        require(not seen or sizes == size, "All images must be of one size", sizes=[size, sizes])
        size, step = sizes, batch_size or default_batch_size(*sizes)
        stop = len(images) if limit is None else min(len(images), limit - seen)
        for start in range(0, stop, step):
            part = slice(start, min(stop, start + step))
            seen += part.stop - part.start
            yield images[part], labels[part]
        if seen == limit:
            return
    require(seen, "`dataset` must yield images", "A generator can be used only once", images=0)


def _check_batch(batch, num_classes):
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    rule = "`dataset` must yield (images, labels): this metric needs to know the true classes"
    kinds = [type(part).__name__ for part in parts]
    require(len(parts) > 1 and parts[1] is not None, rule, "For arrays, pass `[(images, labels)]`", batch=kinds[:3])
    images, labels = to_numpy(parts[0]), to_numpy(parts[1])
    is_int = np.issubdtype(labels.dtype, np.integer)
    fix = "For one-hot labels, take their argmax; for single images, batch the data set"
    rule = "Labels must be integers, one for each image of the batch"
    is_fit = is_int and labels.ndim == 1 and images.shape[:1] == labels.shape
    require(is_fit, rule, fix, dtype=str(labels.dtype), shape=labels.shape, images=images.shape)
    wrong = np.unique(labels[(labels < 0) | (labels >= num_classes)])[:10].tolist()
    fix = "Number the classes from 0, or use data whose classes are those of the model"
    require(not wrong, f"Labels must be in [0, {num_classes - 1}]", fix, labels=wrong)
    return images, labels.astype("int32")


def _length(dataset):
    """Return the number of batches, or None where it is not known."""
    count = int(dataset.cardinality()) if hasattr(dataset, "cardinality") else getattr(dataset, "__len__", int)()
    return count if count > 0 else None
