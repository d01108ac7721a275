"""CoDANet: a Convolutional Dynamic Alignment Network as a Keras model."""

import math
from collections.abc import Sequence

import keras

from keras_coda.layers.dau import DAUConv2D
from keras_coda.layers.head import GlobalSumPooling2D, LogitScaling
from keras_coda.layers.smoothing import AveragePooling2D, Blur2D
from keras_coda.models.architectures import coda_weight_shapes
from keras_coda.models.classifier import ExplainableClassifier
from keras_coda.models.layer_arguments import check_num_classes, encoded_images, float_policy, freeze, shared_config
from keras_coda.models.penalized import HALF
from keras_coda.utils.checks import check_image_shape, check_layers, check_per_layer, require

DOWNSAMPLING = ("strided", "blurred", "pooled")
LOGIT_BIAS = math.log(0.1 / 0.9)  # CVPR 2021, section 3.2: every class starts at a probability of 0.1


@keras.saving.register_keras_serializable("keras_coda")
class CoDANet(ExplainableClassifier):
    """An image classifier whose every logit is an input-dependent linear function of the pixels.

    It is a chain of layers of Dynamic Alignment Units without any other layers between them. The class maps of the last
    layer are summed over space: ``logit = sum / temperature + logit_bias``. The network itself scales and encodes the
    images, and it is compiled on construction: ``CoDANet(num_classes=10).fit(dataset)`` is a complete program.

    Args:
        num_classes: int, at least 2.
        input_shape: ``(height, width, channels)`` of images; height and width may be None.
        filters: ints, the number of units of each layer; the last must equal ``num_classes``. None: a small network of
            five layers.
        ranks: int for all layers, or one each.
        kernel_sizes: int for all layers, or one (an int or a pair) each.
        strides: int for all layers, or one (an int or a pair) each.
        downsampling: how layers with strides sample, for all of them, or one for each layer of the network.
            ``"strided"``: patches at every second location; the published networks, whose maps show a grid of that
            period. ``"blurred"``: the same after a :class:`~keras_coda.layers.Blur2D`, which removes most of the grid.
            ``"pooled"``: patches at every location, then means over 2x2 of them (or whatever the strides are); four
            times the operations of the layer.
        rescaling: ``"squash"`` or ``"l2"``, see :mod:`keras_coda.layers.rescaling`.
        temperature: float > 0; larger values force stronger alignment, hence sharper maps.
        logit_bias: float, the logit of a class to which no pixel contributes.
        class_names: one string per class, for pictures and exports, or None.
        pixel_dropout: float in [0, 1), the largest share of an image's pixels that training removes at random; see
            :class:`~keras_coda.layers.encoding.PixelDropout`. Predictions and maps use whole images.
        name: name of the model.
        dtype: dtype policy of the alignment layers, for instance ``"mixed_bfloat16"``; logits and explanations are
            float32 under every policy. Policies whose variables are 16-bit, such as ``"bfloat16"``, are refused: the
            steps of training would be rounded away.
        frozen: names of the layers whose weights training does not change, for instance ``("dau_1", "dau_2")``, or
            None. Saved with the network.

    Input: images ``(batch, height, width, channels)``, any real dtype, pixels in [0, 255].
    Output: logits ``(batch, num_classes)``, float32, also of ``predict``; their sigmoids are the class probabilities.

    Raises:
        ValueError: for arguments out of range, lists of unequal length, or another number of class names than classes.

    Example:
        >>> model = CoDANet(num_classes=3, input_shape=(16, 16, 3))
        >>> images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype="uint8")
        >>> explanation = model.explain(images)
        >>> bool((explanation.residual < 1e-4).all())
        True

    Reference:
        Böhle, Fritz, Schiele: Convolutional Dynamic Alignment Networks for Interpretable Classifications, CVPR 2021
        (arXiv 2104.00032); Optimising for Interpretability, TPAMI 2022 (arXiv 2109.13004).
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        input_shape: Sequence[int | None] = (None, None, 3),
        filters: Sequence[int] | None = None,
        ranks: int | Sequence[int] = 16,
        kernel_sizes: int | Sequence = 3,
        strides: int | Sequence | None = None,
        downsampling: str | Sequence[str] = "strided",
        rescaling: str = "squash",
        temperature: float = 64.0,
        logit_bias: float = LOGIT_BIAS,
        class_names: Sequence[str] | None = None,
        pixel_dropout: float = 0.0,
        name: str | None = None,
        dtype=None,
        trainable: bool = True,
        frozen: Sequence[str] | None = None,
    ):
        num_classes = check_num_classes(num_classes)
        filters, ranks, kernel_sizes, strides = _layers(num_classes, filters, ranks, kernel_sizes, strides)
        sampling = check_per_layer("downsampling", downsampling, len(filters), _check_downsampling)

        # === Functional Model ===
        policy = float_policy(dtype)
        inputs, x = encoded_images(input_shape, pixel_dropout)
        layers = zip(filters, ranks, kernel_sizes, strides, sampling, strict=True)
        for number, (units, rank, size, stride, how) in enumerate(layers, start=1):
            if how == "blurred" and max(stride) > 1:
                x = Blur2D(dtype=policy, name=f"blur_{number}")(x)
            own = 1 if how == "pooled" else stride
            x = DAUConv2D(units, size, rank, own, rescaling, dtype=policy, name=f"dau_{number}")(x)
            if how == "pooled" and max(stride) > 1:
                x = AveragePooling2D(stride, dtype=policy, name=f"pool_{number}")(x)
        # Sums over many locations, and the logits, in float32 under every policy.
        x = GlobalSumPooling2D(dtype="float32", name="sum_pooling")(x)
        scaling = LogitScaling(temperature, logit_bias, dtype="float32", name="logits")
        outputs = scaling(x)
        super().__init__(inputs, outputs, name=name, class_names=class_names, trainable=trainable, dtype=policy)

        freeze(self, frozen)

        # === Config ===
        self.filters: tuple[int, ...] = filters
        self.ranks: tuple[int, ...] = ranks
        self.kernel_sizes: tuple[tuple[int, int], ...] = kernel_sizes
        self.strides: tuple[tuple[int, int], ...] = strides
        self.downsampling: str | tuple[str, ...] = downsampling if isinstance(downsampling, str) else sampling
        self.rescaling = rescaling
        self.temperature: float = scaling.temperature
        self.logit_bias: float = scaling.logit_bias
        self.pixel_dropout = pixel_dropout

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "input_shape": tuple(self.input.shape[1:]),
            "filters": self.filters,
            "ranks": self.ranks,
            "kernel_sizes": self.kernel_sizes,
            "strides": self.strides,
            # Left out where it is the default: what earlier versions began, such as trainings, stays the same.
            **({} if self.downsampling == "strided" else {"downsampling": self.downsampling}),
            "rescaling": self.rescaling,
            **shared_config(self),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Build the network that :meth:`get_config` described."""
        policy = keras.dtype_policies.get(config.get("dtype") or "float32")
        if policy.variable_dtype in HALF:  # earlier versions took it; its weights fit float32 variables exactly
            config = {**config, "dtype": f"mixed_{policy.variable_dtype}"}
        return cls(**config)

    @classmethod
    def weight_shapes(cls, config):
        """Return the shapes of the weights of a network with these constructor arguments, without building it."""
        if cls.__init__ is not CoDANet.__init__:
            return None
        channels = check_image_shape(config.get("input_shape", (None, None, 3)))[-1]
        names = {"filters": None, "ranks": 16, "kernel_sizes": 3, "strides": None}
        layers = (config.get(name, default) for name, default in names.items())
        filters, ranks, kernel_sizes, _ = _layers(config.get("num_classes", 10), *layers)
        return coda_weight_shapes(channels, filters, ranks, kernel_sizes)

    @classmethod
    def override_config(cls, config, overrides):
        """Return a preset's arguments with some changed; another ``num_classes`` also changes the last layer."""
        num_classes = overrides.get("num_classes", config.get("num_classes"))
        if num_classes != config.get("num_classes"):
            frozen = [name for name in config.get("frozen") or () if name != f"dau_{len(config['filters'])}"]
            changed = {"filters": (*config["filters"][:-1], num_classes), "class_names": None}
            config = {**config, **changed, "frozen": frozen or None}
        return super().override_config(config, overrides)


def _layers(num_classes: int, filters, ranks, kernel_sizes, strides) -> tuple[tuple, tuple, tuple, tuple]:
    """Return one checked entry per layer of each; without ``filters`` those of a small network of five layers."""
    if filters is None:
        filters = (16, 32, 32, 64, num_classes)
        strides = (1, 2, 1, 2, 1) if strides is None else strides
    return check_layers(num_classes, filters, ranks, kernel_sizes, 1 if strides is None else strides)


def _check_downsampling(name, value):
    require(value in DOWNSAMPLING, f"`{name}` must be one of {DOWNSAMPLING}", **{name: value})
    return value
