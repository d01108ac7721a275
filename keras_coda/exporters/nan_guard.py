"""Networks as functions without strings and errors, for runtimes other than TensorFlow; bad input is answered with NaN.

Graphs in these formats cannot refuse input with an error. To keep them from returning a wrong map unnoticed, all floats
of an image are NaN if its pixels are not finite or lie outside [0, 255], if its classes do not exist, or if its logits
or maps overflow. The other images of the batch are not affected.
"""

import dataclasses
import json
import math
from collections.abc import Callable

from keras import ops

from keras_coda.exporters.schema import EXPLAIN, EXPLAIN_CLASSES, PREDICT, SIGNATURES
from keras_coda.exporters.signatures import Signatures

OUTPUTS = tuple(name for name, tensor in SIGNATURES[EXPLAIN].outputs.items() if tensor.dtype != "string")
COMPLETENESS = (
    "The sum of contributions[b, k] over height and width, plus bias[b], is logits[b, classes[b, k]]; "
    "residual[b, k] is by how much it is not (float32 rounding). If there are offsets[b, k], they belong to the sum."
)


_LARGEST = 3.4e38  # of float32


@dataclasses.dataclass(frozen=True)
class PortableNetwork:
    """A network as functions of tensors that convert to other formats."""

    signatures: Signatures

    def serving(self) -> dict[str, tuple[Callable, list]]:
        """Return function and input signature by name, for ``tf.function``."""
        functions = {PREDICT: self.predict, EXPLAIN: self.explain, EXPLAIN_CLASSES: self.explain}
        return {name: (each, self.signatures.specs(SIGNATURES[name].inputs)) for name, each in functions.items()}

    def predict(self, images) -> dict:
        """Return the outputs of :meth:`Signatures.predict`, with NaN for images that are not valid."""
        fits = _are_pixels(images)
        return _answer(self.signatures.predict(_or_zero(images, fits)), fits)

    def explain(self, images, classes=None) -> dict:
        """Return the outputs of :meth:`Signatures.explain`, with NaN for images or classes that are not valid."""
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
        """Return what users of the file must know: class names (as JSON), pixel convention, bias, completeness."""
        from keras_coda.version import __version__

        layer = self.signatures.decomposition.features
        return {
            "class_names": json.dumps(self.signatures.class_names, ensure_ascii=False),
            "pixels": "float32 in [0, 255], (batch, height, width, channels); the network itself scales and encodes "
            "them. An image whose pixels are no such numbers, or whose classes do not exist, is answered with NaN.",
            "bias": repr(self.signatures.decomposition.bias),
            "completeness": COMPLETENESS,
            **({} if layer is None else {"wrt": layer}),  # the layer from whose output on maps are exact
            "top_k": str(self.signatures.top_k),
            "producer": f"keras-coda {__version__}",
        }


def _are_pixels(images):
    """Tell for each image whether all pixels are in [0, 255], which is false for NaN: (B,)."""
    return ops.all(ops.logical_and(images >= 0.0, images <= 255.0), axis=(1, 2, 3))


def _or_zero(values, fits):
    """Return the values of rows that fit, zeros elsewhere: the network never computes with NaN or an invalid index."""
    return ops.where(_like(fits, values), values, ops.zeros_like(values))


def _answer(results, fits):
    """Return the results in the order of the schema, with NaN in every float of rows that do not fit or overflow."""
    for name in ("logits", "residual"):  # a residual is not finite wherever a contribution is not
        if name in results:
            is_finite = ops.abs(results[name]) <= _LARGEST  # false for NaN; LiteRT has no IsFinite
            fits = ops.logical_and(fits, ops.all(is_finite, axis=1))
    penalty = ops.where(fits, 0.0, math.nan)
    named = {name: results[name] for name in OUTPUTS if name in results}
    return {name: value if name == "classes" else value + _like(penalty, value) for name, value in named.items()}


def _like(row, values):
    return ops.reshape(row, (-1, *(1,) * (len(values.shape) - 1)))
