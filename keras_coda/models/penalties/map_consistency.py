"""MapConsistency: the map of an image should predict how its logit changes when pixels are removed.

A contribution map is exact for the image as it is. When pixels are removed, ``W(x)`` changes, and the contributions of
the remaining pixels no longer sum to the new logit. Training can make that difference small. In every step some pixels
of every image are removed, and two probabilities of one class are compared: the one that the network computes for the
remaining pixels, and the one that the map of the whole image predicts, ``σ(b + Σ contributions of remaining pixels)``.
Their divergence is added to the loss. It changes both sides: the maps, and the network's output on images with removed
pixels.

The divergence is small, and teaches little, where the network is very sure, as it is about most of its training images.
So about every other image is a mixture of two (Zhang et al., "mixup", arXiv 1710.09412), for which its probabilities
are moderate, as for an unclear image.

Cost: a second forward pass and, for one class, a differentiated pass along the frozen network. All of it is computed in
float32 under any dtype policy, as explanations are.
"""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from keras_coda.explanations.decomposition import Decomposition
from keras_coda.layers.dynamic_linear import linearize_chain
from keras_coda.models.losses import soft_labels
from keras_coda.models.penalties.penalty import Batch, Penalty

_LEAST_WEIGHT, _LARGEST_WEIGHT = 0.5, 0.9  # of the first image in a mixture
_OTHER_CLASS = 0.4  # share of the mixtures that are explained for the class of the second image
_LARGEST_SHARE = 0.28  # of pixels removed in the order of the map; the papers' pixel-removal metric goes to 0.25
_WINDOWS = 8  # largest number of removed windows
_EDGES = (3 / 32, 5 / 32, 7 / 32, 9 / 32)  # of a window, as a share of the image's height
_MASKED = 0.25  # weight of the classification loss on images with removed pixels; whole images have 1


@keras.saving.register_keras_serializable("keras_coda")
@dataclasses.dataclass(frozen=True)
class MapConsistency(Penalty):
    """How far maps are from predicting the logit without some pixels, :func:`whole_and_masked`, times a weight.

    The classification loss is that of the mixtures, with all and with some of their pixels. The loss function must
    accept soft labels, as the default one does.

    Args:
        weight: float >= 0, μ.

    Example:
        >>> model = keras_coda.CoDANet.from_preset("coda_digits")
        >>> model.compile(penalties=[keras_coda.models.MapConsistency(0.5)])
    """

    logged: ClassVar[str] = "inconsistency"

    def measure(self, decomposition, batch, seed):
        """Return the mixtures with all and with some of their pixels, and the inconsistency of their maps."""
        found = whole_and_masked(decomposition, batch.images, batch.labels, batch.sample_weight, seed)
        labels, logits, sample_weight, inconsistency = found
        return Batch(batch.images, labels, logits, sample_weight), inconsistency

    def describe(self):
        """Say in a few words what is added to the loss."""
        return f"{self.weight:g} times the inconsistency of maps in the loss, half of the images mixed"


def whole_and_masked(decomposition: Decomposition, images, labels, sample_weight, seed: keras.random.SeedGenerator):
    """Mix images, remove pixels, and compare the new logits with those that the maps predict; differentiable.

    The network's own pixel dropout is not applied: this function chooses which pixels are removed.

    Args:
        decomposition: of the model.
        images: ``(batch, H, W, c)``, any real dtype, pixels in [0, 255].
        labels: int ``(batch,)`` or ``(batch, 1)``, or ``(batch, classes)``, one-hot or soft.
        sample_weight: ``(batch,)``, or None for ones.
        seed: for the choice of mixtures, classes and masks.

    Returns:
        ``(labels, logits, sample_weight, inconsistency)``. The first two have shape ``(2 batch, classes)``: first the
        mixtures with all their pixels, then without the removed ones. ``sample_weight`` ``(2 batch,)`` makes the mean
        loss of both that of the former plus a quarter of that of the latter. ``inconsistency``, a scalar, is the mean
        of Jeffreys' divergence ``(p - q)(logit p - logit q)`` between the probability p of one class without the
        removed pixels and the predicted one, q.
    """
    images, labels = ops.cast(images, "float32"), soft_labels(labels, decomposition.num_classes)
    images, labels, classes = mix(images, labels, seed)
    whole = decomposition.explain(images, classes[:, None])
    contributions = whole["contributions"][:, 0]  # (batch, H, W)
    keep = masks(contributions, seed)
    masked, _ = linearize_chain(decomposition.chain, decomposition.encode(images) * ops.expand_dims(keep, -1))
    computed = ops.take_along_axis(masked, classes[:, None], axis=-1)[:, 0]
    predicted = decomposition.bias + ops.sum(contributions * keep, axis=(1, 2))
    if "offsets" in whole:
        predicted = predicted + whole["offsets"][:, 0]
    inconsistency = ops.mean((ops.sigmoid(computed) - ops.sigmoid(predicted)) * (computed - predicted))
    if sample_weight is None:
        sample_weight = ops.ones_like(computed)
    sample_weight = ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
    # The factor of 2: the mean loss is over twice as many images.
    weights = ops.concatenate([2 * sample_weight, 2 * _MASKED * sample_weight])
    return ops.concatenate([labels, labels]), ops.concatenate([whole["logits"], masked]), weights, inconsistency


def mix(images, labels, seed):
    """Mix about half of the images, and their labels, each with another of the batch.

    Args:
        images: ``(batch, H, W, c)``, float32.
        labels: ``(batch, classes)``, float32.
        seed: for all random choices.

    Returns:
        ``(images, labels, classes)``: images and labels with the shapes and dtypes of the arguments, and int32
        ``(batch,)``, the class that each image is explained for: its own, or for some of the mixtures that of the
        second image.
    """
    batch = ops.shape(images)[0]
    partners = keras.random.shuffle(ops.arange(batch), seed=seed)
    is_mixed = keras.random.uniform((batch,), seed=seed) < 0.5
    weights = keras.random.uniform((batch,), _LEAST_WEIGHT, _LARGEST_WEIGHT, seed=seed)
    weights = ops.reshape(ops.where(is_mixed, weights, ops.ones_like(weights)), (-1, 1))
    others = ops.take(labels, partners, axis=0)
    is_other = ops.logical_and(is_mixed, keras.random.uniform((batch,), seed=seed) < _OTHER_CLASS)
    classes = ops.where(is_other, ops.argmax(others, axis=-1), ops.argmax(labels, axis=-1))
    shares = ops.reshape(weights, (-1, 1, 1, 1))
    images = shares * images + (1 - shares) * ops.take(images, partners, axis=0)
    return images, weights * labels + (1 - weights) * others, ops.cast(classes, "int32")


def masks(contributions, seed):
    """Return which pixels of every image are kept: ``(batch, H, W)``, float32, 1 for kept and 0 for removed.

    From about half of the images up to 28% of the pixels are removed in the order of their contributions, smallest
    first, as in the papers' pixel-removal metric; from the others up to eight square windows, as in occlusion.
    """
    batch, height, width = ops.shape(contributions)
    flat = ops.reshape(contributions, (batch, -1))
    ranks = ops.cast(ops.argsort(ops.argsort(flat, axis=-1), axis=-1), "float32")
    shares = keras.random.uniform((batch, 1), 0.0, _LARGEST_SHARE, seed=seed)
    by_map = ops.reshape(ranks >= shares * ops.cast(height * width, "float32"), (batch, height, width))

    numbers = keras.random.randint((batch, 1, 1), 1, _WINDOWS + 1, seed=seed)
    by_windows = ops.ones_like(by_map)
    for index in range(_WINDOWS):
        choice = keras.random.randint((batch, 1), 0, len(_EDGES), seed=seed)
        edges = ops.take(ops.convert_to_tensor(_EDGES, "float32"), choice) * ops.cast(height, "float32")
        inside = []
        for size in (
            height,
            width,
        ):  # windows may exceed the image, so that its borders are removed as often as its center
            centers = keras.random.uniform((batch, 1), seed=seed) * ops.cast(size, "float32")
            inside.append(ops.abs(ops.cast(ops.arange(size), "float32") + 0.5 - centers) < edges / 2)
        window = ops.logical_and(ops.expand_dims(inside[0], 2), ops.expand_dims(inside[1], 1))
        by_windows = ops.logical_and(by_windows, ops.logical_not(ops.logical_and(window, index < numbers)))
    is_by_map = keras.random.uniform((batch, 1, 1), seed=seed) < 0.5
    return ops.cast(ops.where(is_by_map, by_map, by_windows), "float32")
