"""Compiled functions of a model, made once for every size of image; gradients as tf-explain computes them."""

import weakref
from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.layers.dynamic_linear import linearize_chain
from keras_coda.utils.checks import require


def tf_explain():
    """Return ``tf_explain.core``; raise if it is missing or the backend is not its own."""
    backend = keras.backend.backend()
    require(backend == "tensorflow", "tf-explain's methods run on Keras' TensorFlow backend only", backend=backend)
    try:
        from tf_explain import core
    except ImportError as error:
        raise ImportError(
            "The post-hoc methods need tf-explain and OpenCV, which are an extra of this package. "
            f'Received: {error}. Install them: pip install "keras-coda[posthoc]"'
        ) from error
    return core


def chunks(images: np.ndarray, pixels: int, count: int | None = None) -> Iterator[slice]:
    """Yield slices of ``count`` images of a size (None: of all there are), so many pixels at a time."""
    count, step = count or len(images), max(1, pixels // (images.shape[1] * images.shape[2]))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def encoding(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Encode images ``(B, H, W, c)`` as the input of a model's dynamic-linear chain, ``(B, H, W, channels)``."""
    return np.asarray(_compiled(_make_encoding, model, images.shape[1:])(images))


def logits(model: keras.Model, inputs: np.ndarray, encoded: bool) -> np.ndarray:
    """Logits ``(B, classes)`` of images, or of encoded ones."""
    return np.asarray(_compiled(_make_logits, model, inputs.shape[1:], encoded)(inputs))


def gradients(model: keras.Model, inputs: np.ndarray, classes: np.ndarray, encoded: bool) -> np.ndarray:
    """Gradients, in the shape of ``inputs``, of the logit of each image's own class."""
    return np.asarray(_compiled(_make_gradients, model, inputs.shape[1:], encoded)(inputs, classes))


def cams(model: keras.Model, images: np.ndarray, classes: np.ndarray, layer: str) -> list[np.ndarray]:
    """Activations of a layer, weighted by the mean gradient of the logit of each image's own class: ``(h, w)`` each."""
    outputs, gradients = _compiled(_make_activations, model, images.shape[1:], layer)(images, classes)
    return [cam.numpy() for cam in tf_explain().GradCAM.generate_ponderated_output(outputs, gradients)]


_functions = weakref.WeakKeyDictionary()


def _compiled(make: Callable, model: keras.Model, *arguments):
    """Return ``make(model, *arguments)``, made at the first call and kept as long as the model lives."""
    of_model = _functions.setdefault(model, {})
    key = (make, *arguments)
    if key not in of_model:
        of_model[key] = make(model, *arguments)
    return of_model[key]


def _network(model, encoded):
    """Return a function from encoded images, or from images, to logits that does not keep the model alive."""
    if not encoded:
        return keras.Model(model.inputs, model.outputs[0])
    decomposition = compiled_explainer(model).decomposition
    return lambda inputs: linearize_chain(decomposition.chain, inputs)[0]


def _function(run, shape, *, with_classes=False):
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *shape), tf.float32)]
    if with_classes:
        signature.append(tf.TensorSpec((None,), tf.int32))
    return tf.function(run, input_signature=signature, autograph=False)


def _make_encoding(model, shape):
    return _function(compiled_explainer(model).decomposition.encode, shape)


def _make_logits(model, shape, encoded):
    return _function(_network(model, encoded), shape)


def _make_gradients(model, shape, encoded):
    import tensorflow as tf

    network = _network(model, encoded)
    compute = tf_explain().VanillaGradients.compute_gradients.python_function

    def gradients(points, classes):
        def own_logits(inputs):  # tf-explain differentiates one column for all images: here each one's own class
            return tf.gather(network(inputs), classes, batch_dims=1)[:, None]

        return compute(points, own_logits, 0)

    return _function(gradients, shape, with_classes=True)


def _make_activations(model, shape, layer):
    import tensorflow as tf

    network = keras.Model(model.inputs, [model.get_layer(layer).output, model.outputs[0]])

    def activations_and_gradients(images, classes):
        # tf-explain's is for one class, runs eagerly, and Keras 3 warns of the nested inputs of its model.
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs, logits = network(images)
            own_logits = tf.gather(logits, classes, batch_dims=1)
        return tf.cast(outputs, tf.float32), tf.cast(tape.gradient(own_logits, outputs), tf.float32)

    return _function(activations_and_gradients, shape, with_classes=True)
