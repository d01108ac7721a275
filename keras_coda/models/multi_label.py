"""The metrics of networks whose images may have any number of labels: Keras' own, on logits."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_coda")
class LabelAccuracy(keras.metrics.BinaryAccuracy):
    """Share of all labels, image by image and class by class, that are right if 0.5 is the threshold of every class.

    It is ``keras.metrics.BinaryAccuracy`` for logits. Where most labels are 0, a network that finds none is good by it:
    see the other metrics of :func:`multi_label_metrics`, too.

    Args:
        name: of the metric in the logs.
        dtype: of the result.

    Call arguments:
        y_true: ``(batch, classes)`` of 0 and 1.
        y_pred: logits ``(batch, classes)``.
    """

    def __init__(self, name="binary_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count the labels of a batch."""
        return super().update_state(y_true, ops.sigmoid(y_pred), sample_weight)

    def get_config(self):
        """Return the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}


def multi_label_metrics(num_classes: int) -> list[keras.metrics.Metric]:
    """Return what is measured of a network with several labels; each metric takes logits.

    Args:
        num_classes: number of classes.

    Returns:
        ``binary_accuracy``, see :class:`LabelAccuracy`; ``auroc``, the area under the ROC curve; and
        ``mean_average_precision``, the area under the precision-recall curve. The latter two are means over classes,
        each computed by Keras from 200 thresholds.
    """
    areas = [("ROC", "auroc"), ("PR", "mean_average_precision")]
    options = {"multi_label": True, "num_labels": num_classes, "from_logits": True}
    return [LabelAccuracy(), *(keras.metrics.AUC(curve=curve, name=name, **options) for curve, name in areas)]
