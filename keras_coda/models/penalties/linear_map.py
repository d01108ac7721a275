"""The regularization of the linear map that a CoDA-Net computes with: ``λ · mean |W_{0→L}|`` in the loss.

``W_{0→L}(x)`` maps the encoded image ``[x, 1 - x]`` to the summed class maps *before* they are divided by the
temperature T: the papers write T into the loss, not into the network. In units of the logit, as
``Explanation.linear_map`` has it, the mean is this one divided by T.

It costs a second forward pass and, for each of two classes, a differentiated pass along the frozen network: on a CPU a
step takes 3.3 times as long (2.7 times through XLA) and 40 % more memory. All of it, and with it the loss, is computed
in float32 under any dtype policy, as explanations are, so that mixed precision gains little.
"""

import keras
from keras import ops

from keras_coda.explanations.decomposition import Decomposition
from keras_coda.layers.dynamic_linear import linearize_chain, pullback_chain


def logits_and_linear_map(decomposition: Decomposition, images, labels, seed: keras.random.SeedGenerator):
    """Predict, and measure the linear maps that the predictions come from, in one differentiable pass.

    The gradient flows through the frozen weights: the maps are functions of the network's weights, not constants.

    Args:
        decomposition: of a model whose last layer is :class:`~keras_coda.LogitScaling`.
        images: ``(batch, H, W, c)``, any real dtype, pixels in [0, 255].
        labels: int ``(batch,)`` or ``(batch, 1)``, or ``(batch, classes)``, one-hot or soft (the largest counts).
        seed: draws the other class of every image.

    Returns:
        ``(logits, magnitude)``: ``(batch, classes)``, and the mean of ``|W_{0→L}(x)|`` over images, two classes each
        (the true one and another, drawn at random), pixels and encoded channels, a scalar.

    Reference:
        Optimising for Interpretability, TPAMI 2022 (arXiv 2109.13004), regularization of the linear mapping.
    """
    *layers, scaling = decomposition.chain
    sums, frozen = linearize_chain(layers, decomposition.encode(ops.cast(images, "float32"), training=True))
    classes = true_and_other_classes(labels, decomposition.num_classes, seed)
    targets = ops.one_hot(classes, decomposition.num_classes, dtype="float32")  # (batch, 2, classes)
    # One class at a time: for several, the layers build their weights, which differentiation would then keep.
    maps = [pullback_chain(layers, frozen, targets[:, k : k + 1]) for k in range(2)]  # (batch, 1, H, W, 2c) each
    return scaling.linearize(sums)[0], sum(ops.mean(ops.abs(linear_map)) for linear_map in maps) / 2


def true_and_other_classes(labels, num_classes: int, seed: keras.random.SeedGenerator):
    """Return the true class of every image and another, drawn at random: int32 ``(batch, 2)``."""
    if len(labels.shape) == 2 and labels.shape[-1] != 1:
        labels = ops.argmax(labels, axis=-1)
    labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
    distance = keras.random.randint(ops.shape(labels), 1, num_classes, seed=seed)
    return ops.stack([labels, (labels + distance) % num_classes], axis=-1)
