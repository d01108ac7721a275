"""Arguments that all networks have: the dtype policy of their layers, and which layers are frozen."""

from collections.abc import Sequence

import keras

from keras_coda.models.penalized import require_full_precision
from keras_coda.utils.checks import require


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
