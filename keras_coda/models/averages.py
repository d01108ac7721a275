"""The weights that an optimizer averages (``use_ema=True``)."""

import keras
import numpy as np


def averaging_optimizer(model: keras.Model):
    """Return the optimizer of a model if it averages the weights and has begun to, else None."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # within a LossScaleOptimizer
    return optimizer if getattr(optimizer, "use_ema", False) and optimizer.built else None


def set_averages(model: keras.Model) -> None:
    """Set the weights to their averages, if the optimizer has any."""
    optimizer = averaging_optimizer(model)
    if optimizer is not None:
        optimizer.finalize_variable_values(model.trainable_variables)
        separate_averages(model)


def separate_averages(model: keras.Model) -> None:
    """Give each weight that was set to its average memory of its own.

    On JAX Keras lets both share one array. The next step, also one of ``evaluate``, would give it away with the
    weights, and the optimizer's average would be lost: "Array has been deleted".
    """
    if keras.backend.backend() == "jax" and averaging_optimizer(model) is not None:
        for variable in model.trainable_variables:
            variable.assign(np.array(keras.ops.convert_to_numpy(variable)))
