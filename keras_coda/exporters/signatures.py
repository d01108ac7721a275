"""What an exported network offers: its signatures as functions of tensors, with names, shapes and units.

| signature | inputs | outputs |
|---|---|---|
| `serving_default` | `images` | predictions |
| `contributions` | `images` | predictions and maps of the K most probable classes |
| `contributions_for_classes` | `images`, `classes` | predictions and maps of K classes of the caller's choice |
| these with `_bytes` behind | `image_bytes`, not `images` | the same; with maps also `images`, what was explained |

Every input and output has a leading batch dimension, K and the image size are fixed, all numbers are float32 but for
classes (int32) and names (strings): what TF Serving's batching and REST API ask for.
"""

import dataclasses
from collections.abc import Callable, Sequence

import keras
from keras import ops

from keras_coda.explanations.decomposition import Decomposition
from keras_coda.utils.checks import check_int, check_pair, require

PREDICT, EXPLAIN, EXPLAIN_CLASSES, BYTES = "serving_default", "contributions", "contributions_for_classes", "_bytes"


@dataclasses.dataclass(frozen=True)
class Signatures:
    """The functions behind the signatures of one network.

    Attributes:
        decomposition: of the network.
        class_names: one name per class.
        top_k: K, the number of classes of which there are maps.
        image_size: ``(height, width)`` that the network gets; None entries: any, see :attr:`takes_files`.
        linear_map: whether maps come with ``linear_map``.
    """

    decomposition: Decomposition
    class_names: tuple[str, ...]
    top_k: int
    image_size: tuple[int | None, int | None]
    linear_map: bool

    @classmethod
    def of(
        cls,
        model,
        *,
        top_k: int = 1,
        image_size: int | Sequence[int] | None = None,
        linear_map: bool = False,
    ) -> "Signatures":
        """Check the arguments of an export.

        Args:
            model: an explainable model, see :func:`keras_coda.explain`.
            top_k: number of classes with maps.
            image_size: int or ``(height, width)``; None for the network's own.
            linear_map: whether to return the linear map, too.

        Raises:
            ValueError: if the model is not explainable, ``top_k`` not in [1, classes], or the size not the network's.
        """
        decomposition = Decomposition.of(model)
        count = decomposition.num_classes
        require(check_int("top_k", top_k) <= count, f"`top_k` must not exceed the {count} classes", top_k=top_k)
        own = decomposition.input_shape[:2]
        size = own if image_size is None else check_pair("image_size", image_size)
        fits = all(want in (None, got) for want, got in zip(own, size, strict=True))
        require(fits, f"`image_size` must be the network's, {own}", "Leave it out", image_size=image_size)
        names = getattr(model, "class_names", None) or map(str, range(count))
        return cls(decomposition, tuple(names), top_k, size, bool(linear_map))

    @property
    def has_size(self) -> bool:
        """Whether all images have one size."""
        return None not in self.image_size

    @property
    def takes_files(self) -> bool:
        """Whether there are ``_bytes`` twins: files are gray or RGB, and resized to the one size."""
        return self.has_size and self.decomposition.input_shape[2] in (1, 3)

    # === Functions of tensors, with keras.ops only: they convert to other formats, too ===

    def predict(self, images) -> dict:
        """Return ``logits`` and ``probabilities`` (B, C), float32."""
        logits = self.decomposition.logits(images)
        return {"logits": logits, "probabilities": ops.sigmoid(logits)}

    def explain(self, images, classes=None) -> dict:
        """Return predictions, ``classes`` (B, K), ``contributions`` (B, K, H, W), ``residual`` (B, K), ``bias`` (B,).

        Args:
            images: (B, H, W, c) float32.
            classes: (B, K) int32, or None for the most probable.
        """
        results = self.decomposition.explain(images, classes, top_k=self.top_k, linear_map=self.linear_map)
        logits = results["logits"]
        chosen = ops.take_along_axis(logits, results["classes"], axis=1)
        total = ops.sum(results["contributions"], axis=(2, 3)) + self.decomposition.bias
        bias = ops.zeros_like(logits[:, 0]) + self.decomposition.bias
        residual = ops.abs(total - chosen)
        return {**results, "probabilities": ops.sigmoid(logits), "residual": residual, "bias": bias}

    # === Signatures of a SavedModel ===

    def serving(self) -> dict[str, tuple[Callable, list]]:
        """Return ``(function, input signature)`` by name, for ``tf.function``; they refuse bad input with an error."""
        import tensorflow as tf

        images = tf.TensorSpec((None, *self.image_size, self.decomposition.input_shape[2]), tf.float32, name="images")
        encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
        classes = tf.TensorSpec((None, self.top_k), tf.int32, name="classes")
        found = {
            PREDICT: (self._serve_predict, [images]),
            EXPLAIN: (self._serve_explain, [images]),
            EXPLAIN_CLASSES: (self._serve_explain, [images, classes]),
        }
        if self.takes_files:
            for name, (function, (_, *rest)) in list(found.items()):
                found[name + BYTES] = (self._of_bytes(function, with_images=name != PREDICT), [encoded, *rest])
        return found

    def _serve_predict(self, images):
        results = self.predict(_checked_pixels(images))
        probabilities, top = ops.top_k(results["probabilities"], self.top_k)
        top = ops.cast(top, "int32")
        return {**results, "top_classes": top, "top_probabilities": probabilities, "top_class_names": self._names(top)}

    def _serve_explain(self, images, classes=None):
        if classes is not None:
            classes = self._checked_classes(classes)
        results = self.explain(_checked_pixels(images), classes)
        return {**results, "class_names": self._names(results["classes"])}

    def _of_bytes(self, function, with_images):
        import tensorflow as tf

        from keras_coda.exporters.decoding import decode  # which imports TensorFlow

        def serve(image_bytes, *rest):
            shape = (*self.image_size, self.decomposition.input_shape[2])
            spec = tf.TensorSpec(shape, tf.float32)
            images = tf.map_fn(lambda data: decode(data, shape), image_bytes, fn_output_signature=spec)
            results = function(images, *rest)
            return {**results, "images": images} if with_images else results

        return serve

    def _names(self, classes):
        import tensorflow as tf

        return tf.gather(tf.constant(self.class_names), classes)

    def _checked_classes(self, classes):
        import tensorflow as tf

        count = self.decomposition.num_classes
        fits = tf.reduce_all((classes >= 0) & (classes < count))
        message = f"`classes` must be in [0, {count}). Received:"
        with tf.control_dependencies([tf.debugging.Assert(fits, [message, classes], summarize=20)]):
            return tf.identity(classes)


def require_tensorflow() -> None:
    """Raise ``RuntimeError`` on another backend: what is exported are TensorFlow's functions."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "Export needs the TensorFlow backend. Received: "
            f"backend={keras.backend.backend()!r}. Save the model (`model.save('model.keras')`), load and "
            "export it in a process with KERAS_BACKEND=tensorflow."
        )


def _checked_pixels(images):
    """Return the images, or fail: NaN would go on into the answer, and pixels out of range mean another image."""
    import tensorflow as tf

    fits = tf.reduce_all((images >= 0.0) & (images <= 255.0))  # false for NaN
    message = "`images` must be finite, pixels in [0, 255]. Received, least and largest:"
    values = [message, tf.reduce_min(images), tf.reduce_max(images)]
    with tf.control_dependencies([tf.debugging.Assert(fits, values)]):
        return tf.identity(images)
