"""What all architectures share: encoded images, the dtype policy of layers, frozen layers, and their configuration."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_coda.layers.encoding import AddInverse, PixelDropout
from keras_coda.models.penalized import require_full_precision
from keras_coda.utils.checks import check_image_shape, check_int, require


def check_num_classes(num_classes) -> int:
    """Return the number of classes as an int; raise ``ValueError`` unless it is at least 2."""
    num_classes = check_int("num_classes", num_classes)
    require(num_classes >= 2, "`num_classes` must be at least 2 (two classes: 2)", num_classes=num_classes)
    return num_classes


def encoded_images(input_shape: Sequence[int | None], pixel_dropout: float) -> tuple[Any, Any]:
    """Return the symbolic input of a network, pixels in [0, 255], and its encoding ``[x, 1 - x]``.

    Args:
        input_shape: ``(height, width, channels)``; height and width may be None.
        pixel_dropout: float in [0, 1), see :class:`~keras_coda.layers.encoding.PixelDropout`.
    """
    inputs = keras.Input(check_image_shape(input_shape), dtype="float32", name="images")
    x = keras.layers.Rescaling(1 / 255, dtype="float32", name="pixel_scaling")(inputs)
    x = AddInverse(dtype="float32", name="add_inverse")(x)
    if pixel_dropout:
        x = PixelDropout(pixel_dropout, dtype="float32", name="pixel_dropout")(x)
    return inputs, x


def shared_config(model) -> dict[str, Any]:
    """Return those of a network's constructor arguments that all architectures have, at the end of its config."""
    return {
        "temperature": model.temperature,
        "logit_bias": model.logit_bias,
        "class_names": model.class_names,
        "pixel_dropout": model.pixel_dropout,
        "name": model.name,
        "dtype": keras.dtype_policies.serialize(model.dtype_policy),
        "trainable": model.trainable,
        "frozen": frozen_layers(model),
    }


def float_policy(dtype):
    """Return the policy of the layers, None meaning the global one; raise ``ValueError`` if they could not learn."""
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    require_full_precision([policy.variable_dtype], policy.name)
    is_float = not isinstance(policy, keras.dtype_policies.QuantizedDTypePolicy)
    require(is_float, "The layers compute with floats", 'Use dtype="float32" or "mixed_bfloat16"', dtype=policy.name)
    return policy


def freeze(model: keras.Model, frozen: Sequence[str] | None) -> None:
    """Freeze the layers with these names; raise ``ValueError`` for names of none, or of layers without weights."""
    weighted = [layer for layer in model.layers if layer.weights]
    wrong = sorted(set(frozen or ()) - {layer.name for layer in weighted})
    rule = f"`frozen` must name layers with weights, some of {[layer.name for layer in weighted]}"
    require(not wrong and not isinstance(frozen, str), rule, frozen=frozen)
    for layer in weighted:
        layer.trainable = layer.trainable and layer.name not in (frozen or ())


def frozen_layers(model: keras.Model) -> list[str] | None:
    """Return the names of the frozen layers with weights, as :func:`freeze` takes them; None if there are none."""
    return [layer.name for layer in model.layers if layer.weights and not layer.trainable] or None
