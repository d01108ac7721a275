"""What files for other runtimes offer: the signatures without strings, where bad input is answered with NaN.

Graphs in these formats cannot refuse input with an error. So that none leads to a wrong map in silence, every float of
an image is NaN whose pixels are not finite or lie outside [0, 255], or whose classes do not exist; the other images of
the batch are answered as ever.
"""

import dataclasses
import json
import math
from collections.abc import Callable

from keras import ops

from keras_coda.exporters.signatures import EXPLAIN, EXPLAIN_CLASSES, PREDICT, Signatures

OUTPUTS = ("logits", "probabilities", "classes", "contributions", "residual", "bias", "linear_map")
COMPLETENESS = (
    "The sum of contributions[b, k] over height and width, plus bias[b], is logits[b, classes[b, k]]; "
    "residual[b, k] is by how much it is not (float32 rounding)."
)


@dataclasses.dataclass(frozen=True)
class PortableNetwork:
    """A network as functions of tensors that convert to other formats."""

    signatures: Signatures

    def serving(self) -> dict[str, tuple[Callable, list]]:
        """Return ``(function, input signature)`` by name of the signature, for ``tf.function``."""
        import tensorflow as tf

        size, channels = self.signatures.image_size, self.signatures.decomposition.input_shape[2]
        images = tf.TensorSpec((None, *size, channels), tf.float32, name="images")
        classes = tf.TensorSpec((None, self.signatures.top_k), tf.int32, name="classes")
        return {
            PREDICT: (self.predict, [images]),
            EXPLAIN: (self.explain, [images]),
            EXPLAIN_CLASSES: (self.explain, [images, classes]),
        }

    def predict(self, images) -> dict:
        """Return what :meth:`Signatures.predict` does, NaN for images that are none."""
        fits = _are_pixels(images)
        return _answer(self.signatures.predict(_or_zero(images, fits)), fits)

    def explain(self, images, classes=None) -> dict:
        """Return what :meth:`Signatures.explain` does, NaN for images that are none and classes that do not exist."""
        fits, given = _are_pixels(images), classes
        if classes is not None:
            exist = ops.logical_and(classes >= 0, classes < self.signatures.decomposition.num_classes)
            fits = ops.logical_and(fits, ops.all(exist, axis=1))
            classes = _or_zero(classes, fits)
        results = self.signatures.explain(_or_zero(images, fits), classes)
        if given is not None:
            results["classes"] = given
        return _answer(results, fits)

    def facts(self) -> dict[str, str]:
        """Return what the file's users must know: class names (as JSON), pixel convention, bias, promise."""
        from keras_coda.version import __version__

        return {
            "class_names": json.dumps(self.signatures.class_names, ensure_ascii=False),
            "pixels": "float32 in [0, 255], (batch, height, width, channels); the network itself scales and encodes "
            "them. An image whose pixels are no such numbers, or whose classes do not exist, is answered with NaN.",
            "bias": repr(self.signatures.decomposition.bias),
            "completeness": COMPLETENESS,
            "top_k": str(self.signatures.top_k),
            "producer": f"keras-coda {__version__}",
        }


def _are_pixels(images):
    """Whether all pixels of each image are in [0, 255], which NaN is not: (B,)."""
    return ops.all(ops.logical_and(images >= 0.0, images <= 255.0), axis=(1, 2, 3))


def _or_zero(values, fits):
    """The values of rows that fit, zeros elsewhere: nothing in between meets NaN or leaves an array."""
    return ops.where(_like(fits, values), values, ops.zeros_like(values))


def _answer(results, fits):
    """The results in their order, NaN in every float of rows that do not fit."""
    penalty = ops.where(fits, 0.0, math.nan)
    named = {name: results[name] for name in OUTPUTS if name in results}
    return {name: value if name == "classes" else value + _like(penalty, value) for name, value in named.items()}


def _like(row, values):
    return ops.reshape(row, (-1, *(1,) * (len(values.shape) - 1)))
