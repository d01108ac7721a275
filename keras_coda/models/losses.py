"""The loss of a CoDA-Net: an independent yes or no for every class."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_coda")
class OneVsAllCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of every class logit against one-hot labels, averaged over classes.

    Args:
        **kwargs: ``name``, ``reduction``, ``dtype``.

    Call arguments:
        y_true: int labels ``(batch,)`` or ``(batch, 1)``, or one-hot (or soft) labels ``(batch, classes)``.
        y_pred: logits ``(batch, classes)``.

    Labels outside ``[0, classes)`` make the loss NaN.

    Reference:
        CVPR 2021, equation 9.
    """

    def __init__(self, name="one_vs_all_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        """Return the loss of every image, ``(batch,)``."""
        y_true = soft_labels(y_true, y_pred.shape[-1], y_pred.dtype)
        return ops.mean(ops.binary_crossentropy(y_true, y_pred, from_logits=True), axis=-1)


def soft_labels(labels, num_classes: int, dtype="float32"):
    """Return labels of any form as floats ``(batch, classes)``; labels out of range become NaN.

    Args:
        labels: int ``(batch,)`` or ``(batch, 1)``, or ``(batch, classes)``, one-hot or soft.
        num_classes: number of classes.
        dtype: dtype of the returned labels.

    Raises:
        ValueError: for another number of columns.
    """
    if len(labels.shape) == 1:
        labels = ops.expand_dims(labels, -1)
    if labels.shape[-1] == 1 and num_classes > 1:
        labels = ops.cast(labels, "int32")
        one_hot = ops.one_hot(labels[..., 0], num_classes, dtype=dtype)
        # Compiled functions cannot raise on every backend. Without this, a label out of range would mean "no class".
        is_in_range = ops.logical_and(labels >= 0, labels < num_classes)
        labels = ops.where(is_in_range, one_hot, ops.full_like(one_hot, float("nan")))
    if labels.shape[-1] not in (None, num_classes):
        raise ValueError(
            f"Labels must be class indices (batch,) or one-hot (batch, {num_classes}). "
            f"Received: labels of shape {tuple(labels.shape)}. Does `num_classes` fit the data?"
        )
    return ops.cast(labels, dtype)
