"""Labels are checked as training reads them, whatever they are read from.

The compiled training step cannot raise an error on every backend: for wrong labels it could only return NaN.
"""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_coda.models.losses import soft_labels
from keras_coda.utils.checks import to_numpy
from keras_coda.utils.errors import InvalidLabelsError
from keras_coda.utils.labels import check_multi_hot, check_training_labels, is_index


class LabelGuard:
    """Checks the labels of arrays at once, and those of data sets batch by batch.

    Args:
        num_classes: number of classes.
        strict: whether labels must be what :class:`~keras_coda.OneVsAllCrossentropy` takes. False, for other losses:
            only integer class indices are checked.
        multi_label: whether labels must be ``(batch, num_classes)`` of 0 and 1.
    """

    def __init__(self, num_classes: int, strict: bool = True, multi_label: bool = False):
        self._num_classes, self._strict = num_classes, strict
        self._check = check_multi_hot if multi_label else check_training_labels
        self._failure: InvalidLabelsError | None = None

    def check(self, labels) -> None:
        """Raise :class:`~keras_coda.utils.errors.InvalidLabelsError` for labels that are no classes of the model."""
        is_array = hasattr(labels, "dtype") and hasattr(labels, "shape")
        if is_array and (self._strict or is_index(to_numpy(labels))):
            try:
                self._check(labels, self._num_classes)
            except InvalidLabelsError as error:
                self._failure = error
                raise

    def watch(self, data: Any) -> Any:
        """Return a data set, ``PyDataset`` or generator whose labels are checked when they are read; others as is."""
        if isinstance(data, keras.utils.PyDataset):
            return _Watched(data, self._checked)
        if hasattr(data, "element_spec"):
            return self._watch_dataset(data)
        return (self._checked(batch) for batch in data) if inspect.isgenerator(data) else data

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Raise the error of a wrong label itself, rather than what a data pipeline makes of it."""
        try:
            yield
        except Exception:
            if self._failure is not None:
                raise self._failure from None
            raise

    def _checked(self, batch):
        if isinstance(batch, (tuple, list)) and len(batch) > 1:
            self.check(batch[1])
        return batch

    def _watch_dataset(self, dataset):
        import tensorflow as tf

        spec = dataset.element_spec
        if not (isinstance(spec, tuple) and len(spec) > 1 and isinstance(spec[1], tf.TensorSpec)):
            return dataset
        shape = spec[1].shape
        is_known = shape.rank is not None and (shape.rank == 1 or shape[-1] is not None)

        def check(labels):
            self.check(labels)
            return np.array(True)

        def soft(labels):
            self.check(labels)
            return keras.ops.convert_to_numpy(soft_labels(labels, self._num_classes))

        def checked(images, labels, *rest):
            if self._strict and not is_known:  # the loss tells the forms of labels by their static shape
                labels = tf.ensure_shape(tf.numpy_function(soft, [labels], tf.float32), (None, self._num_classes))
                return images, labels, *rest
            with tf.control_dependencies([tf.numpy_function(check, [labels], tf.bool)]):
                return images, tf.identity(labels), *rest

        return dataset.map(checked)


class _Watched(keras.utils.PyDataset):
    """The batches of another ``PyDataset``, each checked."""

    def __init__(self, inner, check):
        super().__init__(inner.workers, inner.use_multiprocessing, inner.max_queue_size)
        self._inner, self._check = inner, check

    def __getitem__(self, index):
        return self._check(self._inner[index])

    @property
    def num_batches(self):
        return self._inner.num_batches

    def on_epoch_begin(self):
        self._inner.on_epoch_begin()

    def on_epoch_end(self):
        self._inner.on_epoch_end()
