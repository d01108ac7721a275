"""The signatures of an exported network as functions of tensors.

| signature | inputs | outputs |
|---|---|---|
| `serving_default` | `images` | predictions |
| `contributions` | `images` | predictions, and maps of the K most probable classes |
| `contributions_for_classes` | `images`, `classes` | predictions, and maps of K classes that the caller chooses |
| the same names with `_bytes` at the end | `image_bytes` in place of `images` | the same; with maps also `images` |

Dtypes, axes and units of all tensors are in :mod:`keras_coda.exporters.schema`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
from keras import ops

from keras_coda.data.preparation import Preparation
from keras_coda.explanations.calibration import Calibration
from keras_coda.explanations.decomposition import Decomposition
from keras_coda.explanations.explain import calibration_of, preparation_of, thresholds_of, window_of
from keras_coda.exporters import schema
from keras_coda.layers.factored import Gram, fixed_weights
from keras_coda.utils.checks import check_int, check_pair, require


@dataclasses.dataclass(frozen=True)
class Signatures:
    """The functions behind the signatures of one network.

    For every entry of :data:`keras_coda.exporters.schema.SIGNATURES` there is a method of the same name. It takes the
    inputs of the entry, already checked, and returns its outputs by name.

    Attributes:
        decomposition: of the network.
        class_names: one name per class.
        top_k: K, the number of classes that have maps.
        image_size: ``(height, width)`` of the images; None entries: any size.
        linear_map: whether maps come with ``linear_map``.
        thresholds: one probability for each class of a network with several labels, from which on an image has its
            label; None for a network with one label per image.
        window: of files with 16 bits per channel, see :func:`keras_coda.data.read_image`.
        preparation: how image files are brought to ``image_size``; None: as usual.
        calibration: how logits become calibrated probabilities; None: there are none.
    """

    decomposition: Decomposition
    class_names: tuple[str, ...]
    top_k: int
    image_size: tuple[int | None, int | None]
    linear_map: bool
    thresholds: tuple[float, ...] | None = None
    window: tuple[float, float] | None = None
    preparation: Preparation | None = None
    calibration: Calibration | None = None

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
            linear_map: whether to also return the linear map.

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
        prepared = preparation_of(model)
        fits = prepared is None or None in size or size == (prepared.crop, prepared.crop)
        rule = "`image_size` must be that of the images that the network's preparation makes"
        require(fits, rule, "Set model.preparation = None", image_size=image_size, preparation=prepared)
        names = getattr(model, "class_names", None) or map(str, range(count))
        facts = thresholds_of(model, count), window_of(model), prepared, calibration_of(model)
        return cls(decomposition, tuple(names), top_k, size, bool(linear_map), *facts)

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        """Height, width and channels of the images, None where the size is free."""
        return (*self.image_size, self.decomposition.input_shape[2])

    @property
    def has_size(self) -> bool:
        """Whether all images have one size."""
        return None not in self.image_size

    # === Predictions and maps, with keras.ops only: these functions convert to other formats, too ===

    def predict(self, images) -> dict:
        """Return ``logits`` and ``probabilities`` (B, C), float32, and calibrated ones if there is a calibration."""
        return self._predictions(self.decomposition.logits(images))

    def _predictions(self, logits):
        found = {"logits": logits, "probabilities": ops.sigmoid(logits)}
        if self.calibration is None:
            return found
        slopes, intercepts = (
            ops.array(values, "float32") for values in (self.calibration.slopes, self.calibration.intercepts)
        )
        return {**found, "calibrated_probabilities": ops.sigmoid(logits * slopes + intercepts)}

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
        total = total + results["offsets"] if "offsets" in results else total
        bias = ops.zeros_like(logits[:, 0]) + self.decomposition.bias
        residual = ops.abs(total - chosen)
        return {**results, **self._predictions(logits), "residual": residual, "bias": bias}

    # === One method per signature of a SavedModel, see `schema` ===

    def serving_default(self, images) -> dict:
        """Return predictions, and the K most probable classes with their probabilities and names."""
        results = self.predict(images)
        probabilities, top = ops.top_k(results["probabilities"], self.top_k)
        top = ops.cast(top, "int32")
        if self.thresholds is not None:
            results["decisions"] = ops.cast(results["probabilities"] >= ops.array(self.thresholds, "float32"), "int32")
        return {**results, "top_classes": top, "top_probabilities": probabilities, "top_class_names": self._names(top)}

    def contributions(self, images) -> dict:
        """Return predictions, and maps of the K most probable classes."""
        return self.contributions_for_classes(images, None)

    def contributions_for_classes(self, images, classes) -> dict:
        """Return predictions, and maps of the given classes (B, K)."""
        results = self.explain(images, classes)
        return {**results, "class_names": self._names(results["classes"]), **self._layer(images)}

    # === How they become signatures ===

    def serving(self) -> dict[str, tuple[Callable, list]]:
        """Return function and input signature of every signature by name, for ``tf.function``.

        The functions refuse bad input with an error: pixels that are not finite or outside [0, 255], classes that do
        not exist, and files that are no images. They also fail rather than answer with logits or maps that are not
        finite.
        """
        import tensorflow as tf

        takes_files = schema.takes_files(self.image_shape)
        offered = schema.signatures(takes_files)
        # A signature and its variant for files, and all variants for files, share graphs. Each is traced here, once: a
        # `tf.function` that several others call would be traced by its first and again by its second caller.
        shared, stored_gram = {}, _StoredGrams()
        for name in (name for name in offered if not name.endswith(schema.BYTES)):
            function = tf.function(getattr(self, name), autograph=False)
            with fixed_weights(stored_gram):
                shared[name] = function.get_concrete_function(*self.specs(offered[name].inputs))
        files = [tf.TensorSpec([None], tf.string, "image_bytes")]
        decode = tf.function(self._decoded, autograph=False).get_concrete_function(*files) if takes_files else None
        return {
            name: (self._function(each, shared[name.removesuffix(schema.BYTES)], decode), self.specs(each.inputs))
            for name, each in offered.items()
        }

    def specs(self, inputs: Mapping[str, schema.Tensor]) -> list:
        """Return one ``tf.TensorSpec`` per input, with the sizes of this network."""
        import tensorflow as tf

        height, width, channels = self.image_shape
        sizes = {
            "B": None, "C": self.decomposition.num_classes, "K": self.top_k, "H": height, "W": width, "c": channels
        }  # fmt: skip
        return [tf.TensorSpec([sizes[axis] for axis in each.axes], each.dtype, name) for name, each in inputs.items()]

    def _function(self, signature: schema.Signature, method: Callable, decode: Callable | None) -> Callable:
        def serve(*tensors):
            given = dict(zip(signature.inputs, tensors, strict=True))
            if decode is not None and "image_bytes" in given:
                given["images"] = decode(given.pop("image_bytes"))
            given["images"] = _checked_pixels(given["images"])
            if "classes" in given:
                given["classes"] = self._checked_classes(given["classes"])
            results = _checked_results(method(**given))
            return {**results, "images": given["images"]} if "images" in signature.outputs else results

        return serve

    def _decoded(self, image_bytes):
        import tensorflow as tf

        from keras_coda.exporters.decoding import decode  # which imports TensorFlow

        spec = tf.TensorSpec(self.image_shape, tf.float32)
        return tf.map_fn(
            lambda data: decode(data, self.image_shape, self.window, self.preparation),
            image_bytes,
            fn_output_signature=spec,
        )

    def _names(self, classes):
        import tensorflow as tf

        return tf.gather(tf.constant(self.class_names), classes)

    def _layer(self, images):
        """Return the name of the layer from which on maps are exact, if these are not the pixels."""
        import tensorflow as tf

        name = self.decomposition.features
        return {} if name is None else {"wrt": tf.fill(tf.shape(images)[:1], name)}

    def _checked_classes(self, classes):
        import tensorflow as tf

        count = self.decomposition.num_classes
        fits = tf.reduce_all((classes >= 0) & (classes < count))
        message = f"`classes` must be in [0, {count}). Received:"
        with tf.control_dependencies([tf.debugging.Assert(fits, [message, classes], summarize=20)]):
            return tf.identity(classes)


class _StoredGrams:
    """The Gram matrices of layers as constants, each computed once for all signatures."""

    def __init__(self) -> None:
        self._by_layer: dict[int, Gram | None] = {}

    def __call__(self, layer) -> Gram | None:
        import tensorflow as tf

        if id(layer) not in self._by_layer:
            with tf.init_scope():  # outside of the function that is being traced
                self._by_layer[id(layer)] = layer.gram()
        return self._by_layer[id(layer)]


def require_tensorflow() -> None:
    """Raise ``RuntimeError`` on another backend: only TensorFlow's functions can be exported."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "Export needs the TensorFlow backend. Received: "
            f"backend={keras.backend.backend()!r}. Save the model (`model.save('model.keras')`), load and "
            "export it in a process with KERAS_BACKEND=tensorflow."
        )


def _checked_pixels(images):
    """Return the images, or fail: NaN would spread to the answer, and other pixels would mean another image."""
    import tensorflow as tf

    fits = tf.reduce_all((images >= 0.0) & (images <= 255.0))  # false for NaN
    message = "`images` must be finite, pixels in [0, 255]. Received, least and largest:"
    values = [message, tf.reduce_min(images), tf.reduce_max(images)]
    with tf.control_dependencies([tf.debugging.Assert(fits, values)]):
        return tf.identity(images)


def _checked_results(results: dict) -> dict:
    """Return the results, or fail: a map of NaN explains nothing."""
    import tensorflow as tf

    # A residual is not finite wherever a contribution or a weight of its map is not, and it is much smaller than maps.
    covered = {"contributions", "linear_map"} if "residual" in results else set()
    floats = [value for name, value in results.items() if value.dtype.is_floating and name not in covered]
    fits = tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in floats])
    message = "The network's logits and maps must be finite; its weights are too large for float32. Received:"
    with tf.control_dependencies([tf.debugging.Assert(fits, [message, *floats[:1]], summarize=10)]):
        return {name: tf.identity(value) for name, value in results.items()}
