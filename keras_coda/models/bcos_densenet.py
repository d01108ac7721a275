"""BcosDenseNet: densely connected networks of B-cos transforms."""

from collections.abc import Sequence
from typing import Unpack

import keras

from keras_coda.models.architectures import densenet_weight_shapes
from keras_coda.models.bcos_net import STEMS, BcosNet, BcosOptions, Layers
from keras_coda.utils.checks import check_int, require


@keras.saving.register_keras_serializable("keras_coda")
class BcosDenseNet(BcosNet):
    """A densely connected network of B-cos transforms: each layer sees the outputs of all layers before it.

    As :class:`BcosResNet` it has no activations, and its maps are exact.

    Args:
        num_classes: int, at least 2.
        input_shape: ``(height, width, channels)`` of images; height and width may be None.
        blocks: ints, number of layers in each block. Between two blocks a layer halves channels, height and width.
        growth: int, number of channels that each layer of a block adds.
        filters: int, number of channels of the first layer.
        bottleneck_factor: int; each layer reduces what it sees to this many times ``growth`` channels.
        stem: ``"large"``: a 7x7 convolution with stride 2, normalization and average pooling; ``"small"``: a 3x3
            convolution alone.
        **options: ``b``, ``max_out``, ``temperature``, ``logit_bias``, ``class_names``, ``pixel_dropout``, ``name``,
            ``dtype``, ``trainable`` and ``frozen``, see :class:`BcosResNet`.

    Input: images ``(batch, height, width, channels)``, any real dtype, pixels in [0, 255].
    Output: logits ``(batch, num_classes)``, float32; their sigmoids are the class probabilities.

    Raises:
        ValueError: for arguments out of range.

    Example:
        >>> model = BcosDenseNet(3, input_shape=(16, 16, 3), blocks=(2, 2), growth=4, filters=8, stem="small")
        >>> images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype="uint8")
        >>> bool((model.explain(images).residual < 1e-4).all())
        True

    Reference:
        Böhle, Singh, Fritz, Schiele: B-cos Alignment for Inherently Interpretable CNNs and Vision Transformers (arXiv
        2306.10898); Huang et al.: Densely Connected Convolutional Networks (arXiv 1608.06993).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        input_shape: Sequence[int | None] = (None, None, 3),
        blocks: Sequence[int] = (6, 12, 24, 16),
        growth: int = 32,
        filters: int = 64,
        bottleneck_factor: int = 4,
        stem: str = "large",
        **options: Unpack[BcosOptions],
    ):
        blocks = tuple(check_int("blocks", count) for count in blocks)
        require(blocks, "`blocks` must have one entry for each block", blocks=blocks)
        require(stem in STEMS, f"`stem` must be one of {STEMS}", stem=stem)
        growth, filters = check_int("growth", growth), check_int("filters", filters)
        middle = growth * check_int("bottleneck_factor", bottleneck_factor)

        def features(layers: Layers, x):
            if stem == "large":
                x = layers.norm(layers.conv(x, filters, 7, "features_conv0", strides=2), "features_norm0")
                x = layers.pool(x, 3, "features_pool0", strides=2, padding=1)
            else:
                x = layers.conv(x, filters, 3, "features_conv0")
            for block, count in enumerate(blocks, start=1):
                for number in range(1, count + 1):
                    name = f"features_denseblock{block}_denselayer{number}"
                    y = layers.conv(layers.norm(x, f"{name}_norm1"), middle, 1, f"{name}_conv1")
                    y = layers.conv(layers.norm(y, f"{name}_norm2"), growth, 3, f"{name}_conv2")
                    x = keras.layers.Concatenate(dtype=layers.dtype, name=f"{name}_concat")([x, y])
                if block < len(blocks):
                    name = f"features_transition{block}"
                    x = layers.conv(layers.norm(x, f"{name}_norm"), x.shape[-1] // 2, 1, f"{name}_conv")
                    x = layers.pool(x, 2, f"{name}_pool")
            return layers.norm(x, "features_norm5")

        config = {"blocks": blocks, "growth": growth, "filters": filters, "bottleneck_factor": bottleneck_factor,
                  "stem": stem}  # fmt: skip
        super().__init__(features, "classifier", config, num_classes=num_classes, input_shape=input_shape, **options)

    @classmethod
    def weight_shapes(cls, config):
        """Return the shapes of the weights of a network with these constructor arguments, without building it."""
        return densenet_weight_shapes(config) if cls.__init__ is BcosDenseNet.__init__ else None
