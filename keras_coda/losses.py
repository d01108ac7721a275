"""The loss of a CoDA-Net: every class decided for itself."""

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
        num_classes = y_pred.shape[-1]
        if len(y_true.shape) == len(y_pred.shape) - 1:
            y_true = ops.expand_dims(y_true, -1)
        if y_true.shape[-1] == 1 and num_classes > 1:
            labels = ops.cast(y_true[..., 0], "int32")
            y_true = ops.one_hot(labels, num_classes, dtype=y_pred.dtype)
            # A graph cannot raise on every backend; without this, a label that does not exist means "none of them".
            exists = ops.expand_dims(ops.logical_and(labels >= 0, labels < num_classes), -1)
            y_true = ops.where(exists, y_true, ops.full_like(y_true, float("nan")))
        if y_true.shape[-1] not in (None, num_classes):
            raise ValueError(
                f"Labels must be class indices (batch,) or one-hot (batch, {num_classes}). "
                f"Received: labels of shape {tuple(y_true.shape)}. Does `num_classes` fit the data?"
            )
        return ops.mean(ops.binary_crossentropy(ops.cast(y_true, y_pred.dtype), y_pred, from_logits=True), axis=-1)
