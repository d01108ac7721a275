"""The loss of a CoDA-Net, an independent yes or no for every class, and the accuracy; both take labels of any form."""

import keras
from keras import ops

from keras_coda.utils.errors import InvalidLabelsError


@keras.saving.register_keras_serializable("keras_coda")
class OneVsAllCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of every class logit against one-hot labels, averaged over classes.

    Args:
        **kwargs: ``name``, ``reduction``, ``dtype``.

    Call arguments:
        y_true: int labels ``(batch,)`` or ``(batch, 1)``, or one-hot (or soft) labels ``(batch, classes)``.
        y_pred: logits ``(batch, classes)``.

    Labels outside ``[0, classes)`` and labels with a fraction make the loss NaN; ``fit`` refuses them.

    Reference:
        CVPR 2021, equation 9.
    """

    def __init__(self, name="one_vs_all_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        """Return the loss of every image, ``(batch,)``."""
        y_true = soft_labels(y_true, y_pred.shape[-1], y_pred.dtype)
        return ops.mean(ops.binary_crossentropy(y_true, y_pred, from_logits=True), axis=-1)


@keras.saving.register_keras_serializable("keras_coda")
class ClassAccuracy(keras.metrics.MeanMetricWrapper):
    """Share of the images whose largest logit is that of the true class, for labels of any form.

    Keras' ``"accuracy"`` settles for the form of the first labels that it gets, and is wrong or fails for another.

    Args:
        name: of the metric in the logs.
        dtype: of the result.

    Call arguments:
        y_true: as for :class:`OneVsAllCrossentropy`; of soft labels the largest entry is the true class.
        y_pred: logits ``(batch, classes)``.
    """

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(_is_correct, name=name, dtype=dtype)
        self._direction = "up"  # what a tuner aims for

    def get_config(self):
        """Return the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}


def _is_correct(y_true, y_pred):
    """Return 1.0 for every image that is classified correctly, else 0.0: ``(batch,)``."""
    true = ops.argmax(soft_labels(y_true, y_pred.shape[-1]), axis=-1)
    return ops.cast(ops.equal(true, ops.argmax(y_pred, axis=-1)), keras.config.floatx())


def soft_labels(labels, num_classes: int, dtype="float32"):
    """Return labels of any form as floats ``(batch, classes)``; those out of range or with a fraction become NaN.

    Args:
        labels: int ``(batch,)`` or ``(batch, 1)``, or ``(batch, classes)``, one-hot or soft.
        num_classes: number of classes.
        dtype: dtype of the returned labels.

    Raises:
        InvalidLabelsError: a ``ValueError``, for another number of columns.
    """
    if len(labels.shape) == 1:
        labels = ops.expand_dims(labels, -1)
    if labels.shape[-1] == 1 and num_classes > 1:
        indices = ops.cast(labels, "int32")
        one_hot = ops.one_hot(indices[..., 0], num_classes, dtype=dtype)
        # Compiled functions cannot raise on every backend. Without this, a label out of range would mean "no class".
        is_class = ops.logical_and(indices >= 0, indices < num_classes)
        is_class = ops.logical_and(is_class, ops.equal(ops.cast(indices, labels.dtype), labels))
        labels = ops.where(is_class, one_hot, ops.full_like(one_hot, float("nan")))
    if labels.shape[-1] not in (None, num_classes):
        raise InvalidLabelsError(
            f"Labels must be class indices (batch,) or one-hot (batch, {num_classes}). "
            f"Received: labels of shape {tuple(labels.shape)}. Does `num_classes` fit the data?"
        )
    return ops.cast(labels, dtype)
