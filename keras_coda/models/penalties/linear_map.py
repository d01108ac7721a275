"""LinearMapPenalty: keeps the linear maps of a network small, by ``λ · mean |W_{0→L}|`` in the loss.

``W_{0→L}(x)`` maps the encoded image ``[x, 1 - x]`` to the summed class maps *before* they are divided by the
temperature T: the papers write T into the loss, not into the network. ``Explanation.linear_map`` is in units of the
logit, so the mean of its absolute values is this one divided by T.

Cost: a second forward pass and, for each of two classes, a differentiated pass along the frozen network. On a CPU a
step takes 3.3 times as long (2.7 times through XLA) and 40% more memory. All of it, including the classification loss,
is computed in float32 under any dtype policy, as explanations are, so mixed precision saves little.
"""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from keras_coda.explanations.decomposition import Decomposition
from keras_coda.layers.dynamic_linear import linearize_chain, pullback_chain
from keras_coda.layers.head import LogitScaling
from keras_coda.models.penalties.penalty import Batch, Penalty
from keras_coda.utils.checks import require


@keras.saving.register_keras_serializable("keras_coda")
@dataclasses.dataclass(frozen=True)
class LinearMapPenalty(Penalty):
    """The mean absolute value of linear maps, :func:`logits_and_linear_map`, times a weight.

    Args:
        weight: float >= 0, λ.

    Example:
        >>> model = keras_coda.CoDANet.from_preset("coda_digits", load_weights=False)
        >>> model.compile(penalties=[keras_coda.models.LinearMapPenalty(0.1)])

    Reference:
        Optimising for Interpretability, TPAMI 2022 (arXiv 2109.13004), regularization of the linear mapping.
    """

    logged: ClassVar[str] = "linear_map"

    def measure(self, decomposition, batch, seed):
        """Return the batch with the logits of the differentiated pass, and the mean absolute linear map."""
        logits, magnitude = logits_and_linear_map(decomposition, batch.images, batch.labels, seed)
        return Batch(batch.images, batch.labels, logits, batch.sample_weight), magnitude

    def describe(self):
        """Say in a few words what is added to the loss."""
        return f"{self.weight:g} mean|W| in the loss"


def logits_and_linear_map(decomposition: Decomposition, images, labels, seed: keras.random.SeedGenerator):
    """Compute the logits and the size of the linear maps that they come from, in one differentiable pass.

    The maps are functions of the network's weights, not constants, and gradients flow through them.

    Args:
        decomposition: of a model whose last layer is :class:`~keras_coda.LogitScaling`.
        images: ``(batch, H, W, c)``, any real dtype, pixels in [0, 255].
        labels: int ``(batch,)`` or ``(batch, 1)``, or ``(batch, classes)``, one-hot or soft; the class
            with the largest entry is the true one.
        seed: for the choice of the other class of every image.

    Returns:
        ``(logits, magnitude)``: ``(batch, classes)``, and the mean of ``|W_{0→L}(x)|`` over images, two classes each
        (the true one and another, drawn at random), pixels and encoded channels, a scalar.

    Raises:
        ValueError: if the last layer is another one.

    Reference:
        Optimising for Interpretability, TPAMI 2022 (arXiv 2109.13004), regularization of the linear mapping.
    """
    *layers, scaling = decomposition.chain
    rule = "The penalty of linear maps is for networks whose last layer is a LogitScaling"
    require(isinstance(scaling, LogitScaling), rule, last_layer=type(scaling).__name__)
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
