"""BcosResNet: residual networks of B-cos transforms."""

from collections.abc import Sequence
from typing import Unpack

import keras

from keras_coda.models.architectures import resnet_weight_shapes
from keras_coda.models.bcos_net import STEMS, BcosNet, BcosOptions, Layers
from keras_coda.utils.checks import check_int, require


@keras.saving.register_keras_serializable("keras_coda")
class BcosResNet(BcosNet):
    """A residual network of B-cos transforms, whose every logit is an input-dependent linear function of the pixels.

    Convolutions are :class:`~keras_coda.layers.BcosConv2D`, normalizations do not shift, and there are no activations.
    Class maps are averaged over space: ``logit = mean / temperature + logit_bias``. The network itself scales and
    encodes the images.

    Args:
        num_classes: int, at least 2.
        input_shape: ``(height, width, channels)`` of images; height and width may be None.
        blocks: ints, number of blocks in each stage. Stages after the first halve height and width.
        bottleneck: True: blocks of 1x1, 3x3 and 1x1 convolutions; False: of two 3x3 convolutions.
        filters: int, the width of the first stage; each stage doubles it, and bottlenecks return four times as many.
        groups: int, groups of the 3x3 convolutions of bottlenecks (ResNeXt).
        group_width: int, channels per group for ``filters`` of 64.
        stem: ``"large"``: a 7x7 convolution with stride 2 and average pooling; ``"small"``: a 3x3 convolution.
        b: float >= 1, the exponent B of all layers.
        max_out: int, see :class:`~keras_coda.layers.BcosConv2D`, of all layers.
        temperature: float > 0.
        logit_bias: float, the logit of a class to which no pixel contributes. None: ``-log(num_classes - 1)``.
        class_names: one string per class, or None.
        pixel_dropout: see :class:`~keras_coda.CoDANet`.
        name: name of the model.
        dtype: dtype policy of the layers; logits and explanations are float32 under every policy.
        frozen: names of the layers whose weights training does not change, or None.

    Input: images ``(batch, height, width, channels)``, any real dtype, pixels in [0, 255].
    Output: logits ``(batch, num_classes)``, float32; their sigmoids are the class probabilities.

    Raises:
        ValueError: for arguments out of range.

    Example:
        >>> model = BcosResNet(3, input_shape=(16, 16, 3), blocks=(1, 1), bottleneck=False, filters=8, stem="small")
        >>> images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype="uint8")
        >>> bool((model.explain(images).residual < 1e-4).all())
        True

    Reference:
        Böhle, Fritz, Schiele: B-cos Networks, CVPR 2022 (arXiv 2205.10268); Böhle, Singh, Fritz, Schiele: B-cos
        Alignment for Inherently Interpretable CNNs and Vision Transformers (arXiv 2306.10898).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        input_shape: Sequence[int | None] = (None, None, 3),
        blocks: Sequence[int] = (3, 4, 6, 3),
        bottleneck: bool = True,
        filters: int = 64,
        groups: int = 1,
        group_width: int = 64,
        stem: str = "large",
        **options: Unpack[BcosOptions],
    ):
        blocks = tuple(check_int("blocks", count) for count in blocks)
        require(blocks, "`blocks` must have one entry for each stage", blocks=blocks)
        require(stem in STEMS, f"`stem` must be one of {STEMS}", stem=stem)
        filters, groups = check_int("filters", filters), check_int("groups", groups)
        is_wide = filters * check_int("group_width", group_width) >= 64
        rule = "Groups of the first stage have filters * group_width // 64 channels, which must be 1 or more"
        require(is_wide, rule, filters=filters, group_width=group_width)
        rule = "Only bottlenecks have `groups` and `group_width`"
        require(bottleneck or (groups, group_width) == (1, 64), rule, groups=groups, group_width=group_width)

        def features(layers: Layers, x):
            x = layers.conv(x, filters, 7 if stem == "large" else 3, "conv1", strides=2 if stem == "large" else 1)
            x = layers.norm(x, "bn1")
            if stem == "large":
                x = layers.pool(x, 3, "maxpool", strides=2, padding=1)
            for stage, count in enumerate(blocks):
                planes = filters * 2**stage
                width = planes * group_width // 64 * groups
                for block in range(count):
                    convs = (
                        [(width, 1, 1), (width, 3, groups), (4 * planes, 1, 1)] if bottleneck else [(planes, 3, 1)] * 2
                    )
                    strides = 2 if stage and not block else 1
                    x = _residual(layers, x, convs, strides, int(bottleneck), f"layer{stage + 1}_{block}")
            return x

        config = {"blocks": blocks, "bottleneck": bottleneck, "filters": filters, "groups": groups,
                  "group_width": group_width, "stem": stem}  # fmt: skip
        super().__init__(features, "fc", config, num_classes=num_classes, input_shape=input_shape, **options)

    @classmethod
    def weight_shapes(cls, config):
        """Return the shapes of the weights of a network with these constructor arguments, without building it."""
        return resnet_weight_shapes(config) if cls.__init__ is BcosResNet.__init__ else None


def _residual(layers: Layers, x, convs, strides: int, strided: int, name: str):
    """Return the sum of a block's convolutions and its shortcut.

    Args:
        layers: makes the layers.
        x: features.
        convs: filters, kernel size and groups of each convolution.
        strides: of the convolution with number ``strided``, and of the shortcut.
        strided: int.
        name: of the block.
    """
    y = x
    for number, (filters, size, groups) in enumerate(convs):
        step = strides if number == strided else 1
        y = layers.conv(y, filters, size, f"{name}_conv{number + 1}", step, groups)
        y = layers.norm(y, f"{name}_bn{number + 1}")
    if strides > 1 or x.shape[-1] != y.shape[-1]:
        x = layers.conv(x, y.shape[-1], 1, f"{name}_downsample_0", strides)
        x = layers.norm(x, f"{name}_downsample_1")
    return keras.layers.Add(dtype=layers.dtype, name=f"{name}_add")([y, x])
