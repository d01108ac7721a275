"""Hybrids: a conventional network up to a layer, and dynamic-linear layers from there on."""

import difflib
import math
from collections.abc import Callable, Sequence

import keras

from keras_coda.layers.dau import DAUConv2D
from keras_coda.layers.encoding import FeatureEncoding
from keras_coda.layers.frozen import FrozenModel
from keras_coda.layers.head import GlobalSumPooling2D, LogitScaling
from keras_coda.models.classifier import ExplainableClassifier
from keras_coda.utils.checks import check_int, check_layers, require

LOGIT_BIAS = math.log(0.1 / 0.9)  # as of a CoDANet


def hybrid(
    trunk: keras.Model,
    num_classes: int,
    *,
    layer: str | None = None,
    filters: Sequence[int] | None = None,
    ranks: int | Sequence[int] = 16,
    kernel_sizes: int | Sequence = 3,
    strides: int | Sequence = 1,
    rescaling: str = "squash",
    temperature: float = 64.0,
    logit_bias: float = LOGIT_BIAS,
    trainable_trunk: bool = False,
    preprocessing: Callable | None = None,
    encode: Callable | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
) -> ExplainableClassifier:
    """Put a Convolutional Dynamic Alignment Network on top of the features of a conventional network.

    Its maps are exact **from the features on, not from the pixels**: they say how much each location of the feature
    map contributes to a logit. What the trunk makes a location's features of, they do not say.

    Args:
        trunk: a functional or sequential model of images, for instance a model of ``keras.applications`` built with
            ``include_top=False``, or a backbone of KerasHub. Its layers become part of the classifier.
        num_classes: int, at least 2.
        layer: name of the layer of the trunk whose output are the features, ``(batch, height, width, channels)``; None
            for the trunk's output.
        filters: ints, the number of units of each layer of the head; the last must equal ``num_classes``. None: 64 and
            ``num_classes``.
        ranks: see :class:`~keras_coda.CoDANet`, like all arguments up to ``logit_bias``.
        kernel_sizes: int or one for each layer.
        strides: int or one for each layer.
        rescaling: ``"squash"`` or ``"l2"``.
        temperature: float > 0.
        logit_bias: float.
        trainable_trunk: whether training changes the trunk. If not, its layers are frozen, and run as in predictions,
            batch normalization and dropout included.
        preprocessing: function or layer that turns pixels in [0, 255] into what the trunk expects, for instance
            ``keras.applications.resnet50.preprocess_input``; it is applied to a symbolic tensor. None: the trunk takes
            pixels in [0, 255].
        encode: layer that encodes the features for the head; None for a
            :class:`~keras_coda.layers.encoding.FeatureEncoding`.
        class_names: one string per class, or None.
        name: name of the classifier.

    Returns:
        An :class:`~keras_coda.ExplainableClassifier`. Its explanations have the name of the layer in ``wrt``.

    Raises:
        ValueError: for arguments out of range, an unknown layer, or one whose output is no feature map.

    Example:
        >>> images = keras.Input((16, 16, 3))
        >>> features = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="features")(images)
        >>> model = hybrid(keras.Model(images, features), 4, preprocessing=keras.layers.Rescaling(1 / 255))
        >>> explanation = model.explain(np.zeros((2, 16, 16, 3), "uint8"))
        >>> explanation.wrt, explanation.contributions.shape
        ('features', (2, 1, 7, 7))

    Reference:
        Böhle, Fritz, Schiele: Optimising for Interpretability: Convolutional Dynamic Alignment Networks, TPAMI 2022
        (arXiv 2109.13004), section on hybrid networks and interpretable depth.
    """
    num_classes = check_int("num_classes", num_classes)
    require(num_classes >= 2, "`num_classes` must be at least 2 (two classes: 2)", num_classes=num_classes)
    given = (64, num_classes) if filters is None else filters
    units, ranks, kernel_sizes, strides = check_layers(num_classes, given, ranks, kernel_sizes, strides)
    part, features = _part(trunk, layer)
    if trainable_trunk:
        part.trainable = True
    else:
        part = FrozenModel(part, name=part.name)
    images = keras.Input(trunk.inputs[0].shape[1:], dtype="float32", name="images")
    x = images if preprocessing is None else preprocessing(images)
    x = part(x)
    x = (FeatureEncoding(dtype="float32", name=features) if encode is None else encode)(x)
    for number, arguments in enumerate(zip(units, kernel_sizes, ranks, strides, strict=True), start=1):
        x = DAUConv2D(*arguments, rescaling, name=f"dau_{number}")(x)
    x = GlobalSumPooling2D(dtype="float32", name="sum_pooling")(x)
    x = LogitScaling(temperature, logit_bias, dtype="float32", name="logits")(x)
    return ExplainableClassifier(images, x, name=name, class_names=class_names)


def _part(trunk, layer):
    """Return the trunk up to a layer, and the name of this layer."""
    inputs = getattr(trunk, "inputs", None) or []
    rule = "A trunk must be a functional or built sequential model with one input of images"
    is_of_images = len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].shape[-1] is not None
    require(is_of_images, rule, inputs=[tuple(each.shape) for each in inputs], type=type(trunk).__name__)
    names = [each.name for each in trunk.layers]
    if layer is None:
        outputs = trunk.outputs
    else:
        similar = difflib.get_close_matches(str(layer), names, n=3)
        fix = f"Similar: {', '.join(similar)}" if similar else f"The last ones are {', '.join(names[-3:])}"
        require(layer in names, "`layer` must be a layer of the trunk", fix, layer=layer)
        outputs = [trunk.get_layer(layer).output]
    shapes = [tuple(each.shape) for each in outputs if hasattr(each, "shape")]
    is_map = len(shapes) == 1 and len(shapes[0]) == 4
    rule, fix = "The features must be one feature map (batch, height, width, channels)", "Choose an earlier `layer`"
    require(is_map, rule, fix, layer=layer or names[-1], shapes=shapes)
    name = f"{trunk.name}_part" if layer else trunk.name
    return keras.Model(inputs[0], outputs[0], name=name), layer or names[-1]
