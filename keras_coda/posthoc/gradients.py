"""Logits, encodings and gradients of a model, compiled once for all images; with JAX once for each size.

The functions take NumPy arrays or tensors. What they return stays on the device, so that one of them can use what
another one has computed.
"""

import weakref
from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras import ops

from keras_coda.explanations.compiled import compile_function, compiled_explainer
from keras_coda.layers.dynamic_linear import linearize_chain
from keras_coda.utils.checks import require
from keras_coda.utils.optional import import_optional

# Pixels per batch: with these the network coda_s_cifar10 needs less than about 2 GB. They are 64 and 256 images of
# 32x32 pixels, with which that network occupies a GPU for tens of milliseconds.
GRADIENT_PIXELS, LOGIT_PIXELS = 2**16, 2**18


def require_backend() -> None:
    """Raise ``ValueError`` on other backends of Keras than TensorFlow and JAX."""
    backend = keras.backend.backend()
    rule = "Post-hoc methods run on the backends TensorFlow and JAX of Keras"
    fix = "Compare contribution maps alone (methods=[], --methods none), or use KERAS_BACKEND=tensorflow"
    require(backend in ("tensorflow", "jax"), rule, fix, backend=backend)


def tf_explain():
    """Return ``tf_explain.core`` on the TensorFlow backend; None on JAX, since tf-explain needs TensorFlow.

    Raises:
        ImportError: on TensorFlow, if tf-explain or OpenCV are not installed.
        ValueError: on other backends than TensorFlow and JAX.
    """
    require_backend()
    if keras.backend.backend() == "jax":
        return None
    options = {"extra": "posthoc", "purpose": "A post-hoc method", "package": "tf-explain and OpenCV"}
    return import_optional("tf_explain.core", **options)


def chunks(count: int, size: tuple[int, ...], pixels: int) -> Iterator[np.ndarray]:
    """Yield indices of images in parts of equal length, so that JAX compiles for one length only.

    Args:
        count: int, number of images.
        size: ``(height, width)`` of an image.
        pixels: int. A part has at most so many, but at least one image.

    Yields:
        int arrays. The last one repeats the last index where images are missing; leave out what exceeds ``count``.
    """
    parts = -(-count // max(1, pixels // (size[0] * size[1])))
    length = -(-count // max(1, parts))
    for start in range(0, count, length):
        yield np.minimum(np.arange(start, start + length), count - 1)


def encode_images(model: keras.Model, images):
    """Return images ``(B, H, W, c)`` as the input of a model's dynamic-linear chain, ``(B, H, W, channels)``."""
    return _compiled(_make_encoding, model)(images)


def logit_gradients(model: keras.Model, inputs, classes: np.ndarray, encoded: bool):
    """Return the gradients ``(B, K, H, W, channels)`` of the logits of ``classes (B, K)``.

    Args:
        model: a model.
        inputs: ``(B, H, W, channels)`` float32, images, or encoded images if ``encoded``.
        classes: ``(B, K)`` int32.
        encoded: bool.
    """
    return _compiled(_make_gradients, model, encoded, classes.shape[1])(inputs, classes)


def class_activation_maps(model: keras.Model, images: np.ndarray, classes: np.ndarray, layer: str) -> np.ndarray:
    """Return the sum of a layer's activations, weighted by the mean gradient of a logit, enlarged bilinearly.

    Args:
        model: functional or sequential.
        images: ``(B, H, W, c)`` float32.
        classes: ``(B, K)`` int32.
        layer: name of a layer with an output ``(B, h, w, channels)``.

    Returns:
        ``(B, K, H, W)`` float32.
    """
    outputs, gradients = _compiled(_make_activations, model, layer, classes.shape[1])(images, classes)
    core = tf_explain()
    if core:
        weighted, pairs = core.GradCAM.ponderate_output, zip(outputs, gradients, strict=True)
        maps = ops.stack([ops.stack([weighted(output, own) for own in of_classes]) for output, of_classes in pairs])
    else:
        maps = ops.einsum("bhwc,bkc->bkhw", outputs, ops.mean(gradients, axis=(2, 3)))
    maps = ops.image.resize(
        ops.transpose(maps, (0, 2, 3, 1)), images.shape[1:3], interpolation="bilinear", data_format="channels_last"
    )
    return np.asarray(maps).transpose(0, 3, 1, 2)


def covered_logits(
    model: keras.Model, inputs, places: np.ndarray, classes: np.ndarray, *, size: int, fill: float | None
) -> np.ndarray:
    """Return logits of images, each with a window that is covered.

    Args:
        model: a model.
        inputs: ``(B, H, W, channels)`` float32, see :func:`covered`.
        places: ``(n, 3)`` int32: an image's number, and the first row and column of its window, which may lie outside.
        classes: ``(B, K)`` int32, for each image.
        size: int, side of the window.
        fill: see :func:`covered`.

    Returns:
        ``(n, K)`` float32.
    """
    return np.asarray(_compiled(_make_covered, model, size, fill, classes.shape[1])(inputs, places, classes))


def masked_probabilities(
    model: keras.Model, inputs, masks, classes: np.ndarray, *, fill: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of classes if an image is multiplied by masks, and the sum of the masks with them.

    Args:
        model: a model.
        inputs: ``(1, H, W, channels)`` float32, see :func:`covered`.
        masks: ``(n, H, W)`` float32, the shares that remain.
        classes: ``(1, K)`` int32.
        fill: see :func:`covered`.

    Returns:
        ``(n, K)`` and ``(K, H, W)`` float32.
    """
    probabilities, total = _compiled(_make_masked, model, fill, classes.shape[1])(inputs, masks, classes)
    return np.asarray(probabilities), np.asarray(total)


def covered(inputs, keep, fill: float | None):
    """Return inputs of which the shares ``keep`` remain.

    Args:
        inputs: ``(n, H, W, channels)`` float32. Encoded images if ``fill`` is None, else images.
        keep: ``(n, H, W, 1)`` float32 in [0, 1].
        fill: None: the rest is zero, in the encoding. A float: the value of covered pixels.
    """
    return inputs * keep if fill is None else inputs * keep + fill * (1 - keep)


# === Compiled functions ===

_functions: weakref.WeakKeyDictionary[keras.Model, dict[tuple, Callable]] = weakref.WeakKeyDictionary()


def _compiled(make: Callable, model: keras.Model, *arguments):
    """Return ``make(model, *arguments)``, which is called once and kept as long as the model exists."""
    of_model = _functions.setdefault(model, {})
    key = (make, *arguments)
    if key not in of_model:
        of_model[key] = make(model, *arguments)
    return of_model[key]


def _function(run, model, encoded, *further):
    """Compile a function of images, or of encoded images, of every size that the model takes.

    Args:
        run: a function of tensors. It must hold no reference to the model itself.
        model: a model.
        encoded: whether the first argument is encoded images.
        *further: the shape and the dtype of each further argument.
    """
    shape = (compiled_explainer(model).decomposition.encoder.output_shape if encoded else model.input_shape)[1:]
    sizes, dtypes = zip(((None, *shape), "float32"), *further, strict=True)
    return compile_function(run, sizes, dtypes, False, model.variables).call


def _network(model, encoded):
    """Return a function from images (encoded or not) to float32 logits. It holds no reference to the model itself."""
    if not encoded:
        (images,) = model.inputs
        network = keras.Model(images, model.outputs[0])
        return lambda inputs: ops.cast(network(inputs, training=False), "float32")
    chain = compiled_explainer(model).decomposition.chain
    return lambda inputs: ops.cast(linearize_chain(chain, inputs)[0], "float32")


def _make_encoding(model):
    return _function(compiled_explainer(model).decomposition.encode, model, False)


def _make_gradients(model, encoded, num_targets):
    network = _network(model, encoded)
    return _function(_gradients_of(network, num_targets), model, encoded, ((None, num_targets), "int32"))


def _make_activations(model, layer, num_targets):
    (images,), output = model.inputs, model.get_layer(layer).output
    first, rest = keras.Model(images, output), keras.Model([output, images], model.outputs[0])

    def activations_and_gradients(images, classes):
        activations = first(images, training=False)

        def network(activations):  # other paths around the layer begin at the image
            return ops.cast(rest([activations, images], training=False), "float32")

        gradients = _gradients_of(network, num_targets)(activations, classes)
        return ops.cast(activations, "float32"), gradients

    return _function(activations_and_gradients, model, False, ((None, num_targets), "int32"))


def _make_covered(model, size, fill, num_targets):
    network = _network(model, fill is None)

    def logits(inputs, places, classes):
        sides = zip(ops.shape(inputs)[1:3], (places[:, 1:2], places[:, 2:3]), strict=True)
        rows, columns = (_between(ops.arange(side, dtype="int32"), first, first + size) for side, first in sides)
        keep = 1 - rows[:, :, None, None] * columns[:, None, :, None]
        found = network(covered(ops.take(inputs, places[:, 0], axis=0), keep, fill))
        return ops.take_along_axis(found, ops.take(classes, places[:, 0], axis=0), axis=1)

    return _function(logits, model, fill is None, ((None, 3), "int32"), ((None, num_targets), "int32"))


def _between(values, first, end):
    return ops.cast(ops.logical_and(values >= first, values < end), "float32")


def _make_masked(model, fill, num_targets):
    network = _network(model, fill is None)

    def probabilities_and_total(inputs, masks, classes):
        logits = network(covered(inputs, masks[..., None], fill))
        probabilities = ops.sigmoid(ops.take(logits, classes[0], axis=1))
        return probabilities, ops.einsum("nk,nhw->khw", probabilities, masks)

    masks, classes = ((None, None, None), "float32"), ((1, num_targets), "int32")
    return _function(probabilities_and_total, model, fill is None, masks, classes)


# === Gradients ===


def _gradients_of(network, num_targets):
    """Return a function of ``points`` and ``classes (B, K)``: the gradients ``(B, K, ...)`` of K logits, float32.

    All come from one forward pass, and are computed one after another: side by side they would take K times the memory.
    tf-explain's own function takes one class for all images and predicts anew for every class.

    Args:
        network: a function from points to logits ``(B, classes)``.
        num_targets: K.
    """
    of_backend = _gradients_jax if keras.backend.backend() == "jax" else _gradients_tensorflow
    return lambda points, classes: of_backend(network, points, classes, num_targets)


def _gradients_jax(network, points, classes, num_targets):
    import jax

    logits, pull = jax.vjp(network, points)
    targets = jax.nn.one_hot(classes.T, logits.shape[1], dtype=logits.dtype)  # (K, B, classes)
    found = jax.lax.map(lambda target: pull(target)[0].astype("float32"), targets)
    return found.swapaxes(0, 1)


def _gradients_tensorflow(network, points, classes, num_targets):
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(points)
        targets = tf.unstack(tf.gather(network(points), classes, batch_dims=1), num_targets, axis=1)
    found: list = []
    for target in targets:
        with tf.control_dependencies(found[-1:]):
            found.append(tf.cast(tape.gradient(target, points), tf.float32))
    return tf.stack(found, axis=1)
