"""What B-cos networks of all architectures share: encoding, head, settings and names of layers."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from keras_coda.layers.bcos import BcosConv2D
from keras_coda.layers.head import GlobalAveragePooling2D, LogitScaling
from keras_coda.layers.normalization import UncenteredBatchNormalization
from keras_coda.layers.smoothing import AveragePooling2D
from keras_coda.models.classifier import ExplainableClassifier
from keras_coda.models.layer_arguments import check_num_classes, encoded_images, float_policy, freeze, shared_config

STEMS = ("large", "small")


@dataclasses.dataclass(frozen=True)
class Layers:
    """Makes the layers of one network, which have the same exponent and dtype policy.

    The layers have the names of the authors' modules, with ``_`` in place of ``.``: weights of theirs find their place
    by name.
    """

    b: float
    max_out: int
    dtype: Any

    def conv(self, x, filters: int, kernel_size: int, name: str, strides: int = 1, groups: int = 1):
        """Apply a B-cos convolution."""
        layer = BcosConv2D(filters, kernel_size, strides, groups, self.b, self.max_out, dtype=self.dtype, name=name)
        return layer(x)

    def norm(self, x, name: str):
        """Apply batch normalization without centering."""
        return UncenteredBatchNormalization(dtype=self.dtype, name=name)(x)

    def pool(self, x, pool_size: int, name: str, strides: int | None = None, padding: int = 0):
        """Apply average pooling."""
        return AveragePooling2D(pool_size, strides, padding, dtype=self.dtype, name=name)(x)


class BcosOptions(TypedDict, total=False):
    """Arguments that all B-cos networks share; :class:`BcosNet` has their defaults."""

    b: float
    max_out: int
    temperature: float
    logit_bias: float | None
    class_names: Sequence[str] | None
    pixel_dropout: float
    name: str | None
    dtype: Any
    trainable: bool
    frozen: Sequence[str] | None


class BcosNet(ExplainableClassifier):
    """Base of :class:`BcosResNet` and :class:`BcosDenseNet`.

    Args:
        features: function of :class:`Layers` and an encoded image, which returns its features.
        head: name of the layer that turns features into class maps.
        config: the arguments of the architecture, for ``get_config``.
        num_classes: int, at least 2.
        input_shape: ``(height, width, channels)``; height and width may be None.
        b: exponent of all layers.
        max_out: number of weights per channel of all layers.
        temperature: float > 0, by which the means of class maps are divided.
        logit_bias: float, or None for ``-log(num_classes - 1)``.
        class_names: one string per class, or None.
        pixel_dropout: float in [0, 1).
        name: name of the model.
        dtype: dtype policy of the layers.
        trainable: whether training changes the weights.
        frozen: names of the layers whose weights training does not change.
    """

    def __init__(
        self,
        features: Callable[[Layers, Any], Any],
        head: str,
        config: dict[str, Any],
        *,
        num_classes: int,
        input_shape: Sequence[int | None],
        b: float = 2.0,
        max_out: int = 1,
        temperature: float = 1.0,
        logit_bias: float | None = None,
        class_names: Sequence[str] | None = None,
        pixel_dropout: float = 0.0,
        name: str | None = None,
        dtype=None,
        trainable: bool = True,
        frozen: Sequence[str] | None = None,
    ):
        num_classes = check_num_classes(num_classes)
        policy = float_policy(dtype)
        layers = Layers(b, max_out, policy)

        inputs, x = encoded_images(input_shape, pixel_dropout)
        x = layers.conv(features(layers, x), num_classes, 1, head)
        # Means over many locations, and the logits, in float32 under every policy.
        x = GlobalAveragePooling2D(dtype="float32", name="mean_pooling")(x)
        bias = -math.log(num_classes - 1) if logit_bias is None else logit_bias
        scaling = LogitScaling(temperature, bias, dtype="float32", name="logits")
        super().__init__(inputs, scaling(x), name=name, class_names=class_names, trainable=trainable, dtype=policy)
        freeze(self, frozen)

        self._architecture = config
        self.b: float = b
        self.max_out: int = max_out
        self.temperature: float = scaling.temperature
        self.logit_bias: float = scaling.logit_bias
        self.pixel_dropout = pixel_dropout

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "input_shape": tuple(self.input.shape[1:]),
            **self._architecture,
            "b": self.b,
            "max_out": self.max_out,
            **shared_config(self),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Build the network that :meth:`get_config` described."""
        return cls(**config)

    @classmethod
    def override_config(cls, config, overrides):
        """Return a preset's arguments with some changed; another ``num_classes`` changes bias and head."""
        if overrides.get("num_classes", config.get("num_classes")) != config.get("num_classes"):
            frozen = [name for name in config.get("frozen") or () if name not in ("fc", "classifier")]
            config = {**config, "class_names": None, "logit_bias": None, "frozen": frozen or None}
        return super().override_config(config, overrides)
