"""Logits, encodings and gradients of a model, compiled once for all image sizes."""

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
    """Return the gradients ``(B, K, H, W, channels)`` of the logits of ``classes (B, K)``."""
    return np.asarray(_compiled(_make_gradients, model, encoded, classes.shape[1])(inputs, classes))


def class_activation_maps(model: keras.Model, images: np.ndarray, classes: np.ndarray, layer: str) -> np.ndarray:
    """Return the sum of a layer's activations, weighted by the mean gradient of a logit.

    Args:
        model: functional or sequential.
        images: ``(B, H, W, c)`` float32.
        classes: ``(B, K)`` int32.
        layer: name of a layer with an output ``(B, h, w, channels)``.

    Returns:
        ``(B, K, h, w)`` float32.
    """
    outputs, gradients = _compiled(_make_activations, model, layer, classes.shape[1])(images, classes)
    weighted = tf_explain().GradCAM.ponderate_output
    pairs = zip(outputs, gradients, strict=True)
    return np.stack([[weighted(output, own).numpy() for own in of_classes] for output, of_classes in pairs])


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


def _function(run, model, encoded=False, *, num_targets=None):
    """Compile a function of images, or of encoded images, of every size that the model takes.

    With ``num_targets`` its second argument is the classes ``(B, num_targets)``.
    """
    import tensorflow as tf

    shape = (compiled_explainer(model).decomposition.encoder.output_shape if encoded else model.input_shape)[1:]
    signature = [tf.TensorSpec((None, *shape), tf.float32)]
    if num_targets:
        signature.append(tf.TensorSpec((None, num_targets), tf.int32))
    return tf.function(run, input_signature=signature, autograph=False)


def _make_encoding(model):
    return _function(compiled_explainer(model).decomposition.encode, model)


def _make_logits(model, encoded):
    return _function(_network(model, encoded), model, encoded)


def _make_gradients(model, encoded, num_targets):
    network = _network(model, encoded)

    def gradients(points, classes):
        return _target_gradients(lambda: (network(points), points), points, classes, num_targets)[1]

    return _function(gradients, model, encoded, num_targets=num_targets)


def _make_activations(model, layer, num_targets):
    network = keras.Model(model.inputs, [model.outputs[0], model.get_layer(layer).output])

    def activations_and_gradients(images, classes):
        return _target_gradients(lambda: network(images), images, classes, num_targets)

    return _function(activations_and_gradients, model, num_targets=num_targets)


def _target_gradients(run, watched, classes, num_targets):
    """Return ``activations`` and the gradients ``(B, K, ...)`` of K logits with respect to them, from one forward pass.

    tf-explain's own function takes one class for all images and predicts anew for every class.

    Args:
        run: a function without arguments that computes ``(logits, activations)``.
        watched: the tensor that ``run`` begins with.
        classes: ``(B, K)`` int32.
        num_targets: K.
    """
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(watched)
        logits, activations = run()
        targets = tf.unstack(tf.gather(logits, classes, batch_dims=1), num_targets, axis=1)
    found: list = []
    for target in targets:
        with tf.control_dependencies(found[-1:]):  # one after another: side by side they would take K times the memory
            found.append(tf.cast(tape.gradient(target, activations), tf.float32))
    return tf.cast(activations, tf.float32), tf.stack(found, axis=1)
