"""Training for maps that foretell what becomes of a logit when pixels go.

A contribution map is exact for the image as it is. When pixels are removed, ``W(x)`` changes, and the contributions of
those that stay no longer sum to the new logit; by how much, training can decide. Pixels of every image are removed, and
two probabilities of one class compared: what the network makes of those left, and what the map of the whole image
foretells, ``σ(b + Σ contributions left)``. Their divergence joins the loss and moves both: the maps towards what
removal does, and what removal does towards the maps.

Images that a network is sure of say little here, and of its training images it is sure. So every other image is a
mixture of two (Zhang et al., "mixup", arXiv 1710.09412), which leaves it in doubt as an unclear image does.

It costs a second forward pass, and for one class a differentiated pass along the frozen network. All of it is computed
in float32 under any dtype policy, as explanations are.
"""

import keras
from keras import ops

from keras_coda.explanations.decomposition import Decomposition
from keras_coda.layers.dynamic_linear import linearize_chain
from keras_coda.models.losses import soft_labels

_LEAST_WEIGHT = 0.5  # of the image that dominates a mixture ...
_LARGEST_WEIGHT = 0.9
_OTHER_CLASS = 0.4  # how often a mixture is explained for the other image's class
_LARGEST_SHARE = 0.28  # of the pixels removed in the order of the map; the papers' metric goes to 0.25
_WINDOWS = 8  # at most
_EDGES = (3 / 32, 5 / 32, 7 / 32, 9 / 32)  # of a window, in the image's height
_MASKED = 0.25  # weight of the loss on what is left, beside 1 on the whole


def whole_and_masked(decomposition: Decomposition, images, labels, sample_weight, seed: keras.random.SeedGenerator):
    """Predict images, mixtures among them, before and after pixels are removed, and compare with what maps foretell.

    Differentiable. A network's own pixel dropout is left out: what is missing is drawn here.

    Args:
        decomposition: of the model.
        images: ``(batch, H, W, c)``, any real dtype, pixels in [0, 255].
        labels: int ``(batch,)`` or ``(batch, 1)``, or ``(batch, classes)``, one-hot or soft.
        sample_weight: ``(batch,)``, or None for ones.
        seed: draws mixtures, classes and masks.

    Returns:
        ``(labels, logits, sample_weight, inconsistency)``: ``(2 batch, classes)`` twice and ``(2 batch,)``, the images
        as they are and with pixels removed, weighted so that their mean loss is that of the first plus a quarter of
        that of the second; and the mean of Jeffreys' divergence ``(p - q)(logit p - logit q)`` between the probability
        of one class with pixels removed and the foretold one, a scalar.
    """
    images, labels = ops.cast(images, "float32"), soft_labels(labels, decomposition.num_classes)
    images, labels, classes = mix(images, labels, seed)
    whole = decomposition.explain(images, classes[:, None])
    contributions = whole["contributions"][:, 0]  # (batch, H, W)
    keep = masks(contributions, seed)
    masked, _ = linearize_chain(decomposition.chain, decomposition.encode(images) * ops.expand_dims(keep, -1))
    found = ops.take_along_axis(masked, classes[:, None], axis=-1)[:, 0]
    foretold = decomposition.bias + ops.sum(contributions * keep, axis=(1, 2))
    inconsistency = ops.mean((ops.sigmoid(found) - ops.sigmoid(foretold)) * (found - foretold))
    if sample_weight is None:
        sample_weight = ops.ones_like(found)
    sample_weight = ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
    weights = ops.concatenate([2 * sample_weight, 2 * _MASKED * sample_weight])  # a mean over twice as many
    return ops.concatenate([labels, labels]), ops.concatenate([whole["logits"], masked]), weights, inconsistency


def mix(images, labels, seed):
    """Mix about half of the images, and their labels, each with another of the batch.

    Args:
        images: ``(batch, H, W, c)``, float32.
        labels: ``(batch, classes)``, float32.
        seed: draws.

    Returns:
        ``(images, labels, classes)``: of the first two as they came; int32 ``(batch,)``, a class to explain each image
        for: its own, or of a mixture sometimes the other's.
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
    """Return what stays of every image, ``(batch, H, W)``, float32 zeros and ones.

    Of about half of them up to 28 % of the pixels go in the order of their contributions, least first, as in the
    papers' metric; of the others up to eight square windows, as in occlusion.
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
        for size in (height, width):  # windows may stick out, so that borders are removed as often
            centers = keras.random.uniform((batch, 1), seed=seed) * ops.cast(size, "float32")
            inside.append(ops.abs(ops.cast(ops.arange(size), "float32") + 0.5 - centers) < edges / 2)
        window = ops.logical_and(ops.expand_dims(inside[0], 2), ops.expand_dims(inside[1], 1))
        by_windows = ops.logical_and(by_windows, ops.logical_not(ops.logical_and(window, index < numbers)))
    is_by_map = keras.random.uniform((batch, 1, 1), seed=seed) < 0.5
    return ops.cast(ops.where(is_by_map, by_map, by_windows), "float32")
