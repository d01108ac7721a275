"""Labels in every form that training takes: checked, and as class indices for what compares them with predictions."""

import numpy as np

from keras_coda.utils.checks import is_float, require, to_numpy
from keras_coda.utils.errors import InvalidLabelsError

_FORMS = "class indices, (batch,) or (batch, 1), or one-hot, (batch, {})"


def class_labels(labels, num_classes: int | None, batch: int) -> np.ndarray:
    """Return the classes that labels name.

    Args:
        labels: class indices ``(batch,)`` or ``(batch, 1)``, integers or floats without a fraction; or one-hot
            ``(batch, num_classes)``, any real dtype.
        num_classes: number of classes; None if it is not known.
        batch: number of images.

    Returns:
        int32, ``(batch,)``.

    Raises:
        InvalidLabelsError: a ``ValueError``, for another shape or dtype, classes that do not exist, fractions, and rows
            that are not one-hot: soft labels, and labels of several classes, name no single class.
    """
    array = _numbers(labels)
    columns = "classes" if num_classes is None else num_classes
    rule = f"Labels must be integers, one for each image of the batch: {_FORMS.format(columns)}"
    fix = "For single images, batch the data set"
    is_one_hot = array.ndim == 2 and array.shape[1] != 1
    fits = array.ndim in (1, 2) and len(array) == batch
    fits = fits and (not is_one_hot or num_classes in (None, array.shape[1]))
    _require(fits, rule, fix, dtype=str(array.dtype), shape=array.shape, images=batch)
    if not is_one_hot:
        return _indices(array.reshape(batch), num_classes).astype("int32")
    is_row = ((array == 0) | (array == 1)).all(axis=1) & (array.sum(axis=1) == 1)
    rows = np.flatnonzero(~is_row)[:10].tolist()
    fix = "If the largest entry of a row is the true class, take the argmax"
    _require(not rows, "Rows of one-hot labels must have a single 1, and zeros", fix, rows_that_differ=rows)
    return array.argmax(axis=1).astype("int32")


def check_training_labels(labels, num_classes: int) -> None:
    """Check labels for :class:`~keras_coda.OneVsAllCrossentropy`, which takes soft labels, too.

    Args:
        labels: class indices as for :func:`class_labels`, or ``(batch, num_classes)``, entries in [0, 1].
        num_classes: number of classes.

    Raises:
        InvalidLabelsError: a ``ValueError``, for anything else.
    """
    array = _numbers(labels)
    is_index = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1 and num_classes > 1)
    fits = is_index or (array.ndim == 2 and array.shape[1] == num_classes)
    rule = f"Labels must be {_FORMS.format(num_classes)}"
    _require(fits, rule, "Does `num_classes` fit the data?", dtype=str(array.dtype), shape=array.shape)
    if is_index:
        _indices(array.reshape(-1), num_classes)
        return
    is_share = (array >= 0) & (array <= 1)  # false for NaN
    wrong = np.unique(array[~is_share])[:10].tolist()
    _require(not wrong, "Entries of one-hot or soft labels must be in [0, 1]", "", labels=wrong)


def check_multi_hot(labels, num_classes: int) -> np.ndarray:
    """Return the labels of images that may have any number of labels: bool ``(batch, num_classes)``.

    Args:
        labels: ``(batch, num_classes)`` of 0 and 1, any real dtype.
        num_classes: number of classes.

    Raises:
        InvalidLabelsError: a ``ValueError``, for another shape, for class indices, and for other values than 0 and 1.
    """
    array = _numbers(labels)
    rule = f"Labels of images with several labels must be (batch, {num_classes}): 0 or 1 for each class"
    fix = "For class indices: `keras.utils.to_categorical`, or compile(multi_label=False)"
    fits = array.ndim == 2 and array.shape[1] == num_classes
    _require(fits, rule, fix, dtype=str(array.dtype), shape=array.shape)
    wrong = np.unique(array[(array != 0) & (array != 1)])[:10].tolist()  # NaN differs from both
    _require(not wrong, rule, "", labels=wrong)
    return array.astype(bool)


def is_index(labels) -> bool:
    """Return whether an array holds integers, one per image: class indices under every loss."""
    shape, dtype = tuple(labels.shape), np.dtype(labels.dtype)
    return np.issubdtype(dtype, np.integer) and (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1))


def _numbers(labels):
    array = to_numpy(labels)
    is_real = array.dtype == bool or np.issubdtype(array.dtype, np.integer) or is_float(array.dtype)
    rule = "Labels must be numbers"
    _require(is_real, rule, "Number the classes from 0", dtype=str(array.dtype), shape=array.shape)
    return array.astype("float64") if is_float(array.dtype) else array


def _indices(array, num_classes):
    """Return class indices, or raise for fractions and for classes that do not exist."""
    fractions = array[~np.isfinite(array) | (array != np.floor(array))] if is_float(array.dtype) else array[:0]
    shown = np.unique(fractions)[:10].tolist()
    fix = "Regression targets and probabilities name no class"
    _require(not shown, "Labels must be integers: class indices have no fraction", fix, labels=shown)
    end = 2**31 if num_classes is None else num_classes
    wrong = np.unique(array[(array < 0) | (array >= end)])[:10].astype("int64").tolist()
    if wrong:
        raise InvalidLabelsError(
            f"Labels must be in [0, {end - 1}]. Received: labels from {int(array.min())} to {int(array.max())}, "
            f"wrong ones {wrong}. Number the classes from 0, or use data with the classes of the model."
        )
    return array


def _require(condition, rule, fix, **received):
    try:
        require(condition, rule, fix, **received)
    except ValueError as error:
        raise InvalidLabelsError(str(error)) from None
