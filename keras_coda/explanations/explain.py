"""Exact contribution maps of any Keras model that ends in a chain of dynamic-linear layers."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_coda.explanations.compiled import compiled_explainer
from keras_coda.explanations.explanation import Explanation, sigmoid
from keras_coda.utils.checks import check_classes, check_images, check_int, to_numpy
from keras_coda.utils.progress import track


def explain(
    model: keras.Model,
    images,
    classes=None,
    *,
    top_k: int | None = None,
    wrt: str | None = None,
    linear_map: bool = False,
    batch_size: int | None = None,
    verbose: bool | str = "auto",
    jit_compile: bool | None = None,
    class_names: Sequence[str] | None = None,
) -> Explanation:
    """Explain a batch of images exactly.

    Args:
        model: a functional or sequential Keras model: layers that encode the images, then a chain of
            :class:`~keras_coda.layers.dynamic_linear.DynamicLinear` layers up to the logits.
        images: ``(B, H, W, c)``, any real dtype, pixels in [0, 255].
        classes: which classes to explain: None for the predicted one, an int for all images, ``(B,)`` for one per
            image, or ``(B, K)``.
        top_k: explain the classes of the ``top_k`` largest logits, largest first, instead.
        wrt: name of an inner layer to whose output the contributions refer; None for the pixels.
        linear_map: whether to return the linear map as well (2c times the memory of a map).
        batch_size: images explained at a time; memory grows with it. None: up to 32, fewer if they are large (one at
            a time from 512x512 on).
        verbose: True for a progress bar, False for none, ``"auto"`` for one if it takes longer than two seconds.
        jit_compile: whether to use XLA; None: as the model was compiled.
        class_names: one name per class, for pictures.

    Returns:
        An :class:`Explanation`; always float32, whatever the model's dtype policy.

    Raises:
        TypeError: if the images' or classes' dtype is wrong.
        ValueError: for images of the wrong shape, NaN or infinite pixels, classes out of range, an unknown ``wrt``,
            and models of another structure.

    Warns:
        UserWarning: if pixels look scaled to [0, 1] or lie outside [0, 255].

    Reference:
        CVPR 2021, equations 6 to 8.
    """
    explainer = compiled_explainer(model)
    decomposition = explainer.decomposition
    images = check_images(images, decomposition.input_shape[-1], decomposition.input_shape[:2])
    classes, top_k = check_classes(classes, top_k, len(images), decomposition.num_classes)
    fields = explainer(
        images,
        classes,
        top_k,
        batch_size=None if batch_size is None else check_int("batch_size", batch_size),
        verbose=verbose,
        depth=decomposition.depth(wrt),
        linear_map=bool(linear_map),
        jit_compile=bool(getattr(model, "jit_compile", False) if jit_compile is None else jit_compile),
    )
    logits = fields["logits"]
    explained = np.take_along_axis(logits, fields["classes"], axis=1)
    total = fields["contributions"].sum(axis=(2, 3), dtype="float64") + decomposition.bias
    return Explanation(
        images=images,
        probabilities=sigmoid(logits),
        residual=np.abs(total - explained).astype("float32"),
        bias=decomposition.bias,
        wrt=wrt,
        class_names=None if class_names is None else tuple(class_names),
        **fields,
    )


def explain_batches(model: keras.Model, dataset: Iterable, **options: Any) -> Iterator[Explanation]:
    """Explain a data set of any length, a batch at a time: memory does not grow with the number of images.

    Args:
        model: as for :func:`explain`.
        dataset: yields images ``(B, H, W, c)`` or ``(images, labels)`` with int labels ``(B,)``: a batched
            ``tf.data.Dataset``, or any iterable.
        **options: as for :func:`explain`, except that ``classes`` must be None or an int. ``verbose=False`` hides the
            progress bar over batches.

    Yields:
        An :class:`Explanation` for each batch, with ``labels`` if the data set has them.

    Raises:
        ValueError: as :func:`explain`, once the wrong batch is read.

    Example:
        >>> data = keras_coda.data.load("digits")
        >>> model = keras_coda.CoDANet.from_preset("coda_digits", load_weights=False)
        >>> sum(len(e) for e in keras_coda.explain_batches(model, data.validation, verbose=False))
        360
    """
    if np.ndim(options.get("classes", 0)) != 0:
        raise ValueError(f"`classes` must be None or an int here. Received: classes={options['classes']!r}")
    for batch in track(dataset, show=options.pop("verbose", True)):
        images, labels = batch[:2] if isinstance(batch, (tuple, list)) else (batch, None)
        explanation = explain(model, images, verbose=False, **options)
        if labels is not None:
            explanation = dataclasses.replace(explanation, labels=to_numpy(labels))
        yield explanation
