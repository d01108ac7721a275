"""Logits, encodings and gradients of a model, compiled once for all image sizes. tf-explain computes gradients."""

import weakref
from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.layers.dynamic_linear import linearize_chain
from keras_coda.utils.checks import require
from keras_coda.utils.optional import import_optional

# Pixels per batch: with these the network coda_s_cifar10 needs less than about 2 GB.
GRADIENT_PIXELS, LOGIT_PIXELS = 2**16, 2**18


def require_tensorflow() -> None:
    """Raise ``ValueError`` on another backend of Keras."""
    backend = keras.backend.backend()
    rule = "tf-explain's methods run on the TensorFlow backend of Keras only"
    fix = "Compare contribution maps alone (methods=[], --methods none), or use KERAS_BACKEND=tensorflow"
    require(backend == "tensorflow", rule, fix, backend=backend)


def tf_explain():
    """Return ``tf_explain.core``.

    Raises:
        ImportError: if tf-explain or OpenCV are not installed.
        ValueError: if the backend is not TensorFlow.
    """
    require_tensorflow()
    options = {"extra": "posthoc", "purpose": "A post-hoc method", "package": "tf-explain and OpenCV"}
    return import_optional("tf_explain.core", **options)


def chunks(images: np.ndarray, pixels: int, count: int | None = None) -> Iterator[slice]:
    """Yield slices of a batch that have at most ``pixels`` pixels, but at least one image.

    Args:
        images: ``(B, H, W, ...)``, for the size of one image.
        pixels: int.
        count: int, number of images to divide into slices; None for ``B``.
    """
    count, step = count or len(images), max(1, pixels // (images.shape[1] * images.shape[2]))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def encode_images(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return images ``(B, H, W, c)`` as the input of a model's dynamic-linear chain, ``(B, H, W, channels)``."""
    return np.asarray(_compiled(_make_encoding, model)(images))


def predict_logits(model: keras.Model, inputs: np.ndarray, encoded: bool) -> np.ndarray:
    """Return the logits ``(B, classes)`` of images, or of encoded images if ``encoded``."""
    return np.asarray(_compiled(_make_logits, model, encoded)(inputs))


def logit_gradients(model: keras.Model, inputs: np.ndarray, classes: np.ndarray, encoded: bool) -> np.ndarray:
    """Return the gradients, in the shape of ``inputs``, of one logit per image: that of its entry in ``classes``."""
    return np.asarray(_compiled(_make_gradients, model, encoded)(inputs, classes))


def class_activation_maps(model: keras.Model, images: np.ndarray, classes: np.ndarray, layer: str) -> list[np.ndarray]:
    """Return the sum of a layer's activations, weighted by the mean gradient of one logit: ``(h, w)`` per image."""
    outputs, gradients = _compiled(_make_activations, model, layer)(images, classes)
    return [cam.numpy() for cam in tf_explain().GradCAM.generate_ponderated_output(outputs, gradients)]


_functions: weakref.WeakKeyDictionary[keras.Model, dict[tuple, Callable]] = weakref.WeakKeyDictionary()


def _compiled(make: Callable, model: keras.Model, *arguments):
    """Return ``make(model, *arguments)``, which is called once and kept as long as the model exists."""
    of_model = _functions.setdefault(model, {})
    key = (make, *arguments)
    if key not in of_model:
        of_model[key] = make(model, *arguments)
    return of_model[key]


def _network(model, encoded):
    """Return a function from images (encoded or not) to logits. It holds no reference to the model itself."""
    if not encoded:
        return keras.Model(model.inputs, model.outputs[0])
    decomposition = compiled_explainer(model).decomposition
    return lambda inputs: linearize_chain(decomposition.chain, inputs)[0]


def _function(run, model, encoded=False, *, with_classes=False):
    """Compile a function of images, or of encoded images, of every size that the model takes."""
    import tensorflow as tf

    shape = (compiled_explainer(model).decomposition.encoder.output_shape if encoded else model.input_shape)[1:]
    signature = [tf.TensorSpec((None, *shape), tf.float32)]
    if with_classes:
        signature.append(tf.TensorSpec((None,), tf.int32))
    return tf.function(run, input_signature=signature, autograph=False)


def _make_encoding(model):
    return _function(compiled_explainer(model).decomposition.encode, model)


def _make_logits(model, encoded):
    return _function(_network(model, encoded), model, encoded)


def _make_gradients(model, encoded):
    import tensorflow as tf

    network = _network(model, encoded)
    compute = tf_explain().VanillaGradients.compute_gradients.python_function

    def gradients(points, classes):
        def own_logits(
            inputs,
        ):  # tf-explain explains the same column for all images; a column of chosen logits allows a class per image
            return tf.gather(network(inputs), classes, batch_dims=1)[:, None]

        return compute(points, own_logits, 0)

    return _function(gradients, model, encoded, with_classes=True)


def _make_activations(model, layer):
    import tensorflow as tf

    network = keras.Model(model.inputs, [model.get_layer(layer).output, model.outputs[0]])

    def activations_and_gradients(images, classes):
        # tf-explain's own function takes one class for all images, runs eagerly, and makes Keras 3 warn.
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs, logits = network(images)
            own_logits = tf.gather(logits, classes, batch_dims=1)
        return tf.cast(outputs, tf.float32), tf.cast(tape.gradient(own_logits, outputs), tf.float32)

    return _function(activations_and_gradients, model, with_classes=True)
