"""Learning rate schedules made of Keras' own, so that they are saved and loaded with the optimizer."""

from keras.optimizers.schedules import CosineDecay, PiecewiseConstantDecay

from keras_coda.utils.checks import check_finite, check_int, require


def cosine_schedule(learning_rate: float, steps: int, warmup_steps: int = 0) -> CosineDecay:
    """Return a learning rate that rises linearly, then falls along half a cosine to zero at the last step.

    Args:
        learning_rate: float > 0, the peak.
        steps: int, optimizer steps (batches) of the whole training.
        warmup_steps: int, number of steps in which the rate rises; fewer than ``steps``.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> round(float(cosine_schedule(0.01, steps=100, warmup_steps=10)(10)), 4)
        0.01
    """
    _check_rate("learning_rate", learning_rate)
    is_share = 0 <= warmup_steps < check_int("steps", steps)
    require(is_share, "`warmup_steps` must be in [0, steps)", warmup_steps=warmup_steps, steps=steps)
    lowest = learning_rate / max(1, warmup_steps)
    warmup = {"warmup_target": learning_rate, "warmup_steps": warmup_steps} if warmup_steps else {}
    return CosineDecay(lowest, steps - warmup_steps, **warmup)


def step_schedule(
    learning_rate: float,
    epochs: int,
    steps_per_epoch: int,
    *,
    decay: float,
    decay_epochs: int,
    warmup_epochs: int = 0,
    warmup_rate: float | None = None,
) -> PiecewiseConstantDecay:
    """Return a learning rate that is divided by a constant every few epochs, after a warm-up in equal steps.

    Args:
        learning_rate: float > 0, the peak.
        epochs: int, number of epochs of the whole training.
        steps_per_epoch: int, optimizer steps (batches) in each epoch.
        decay: float >= 1, the divisor.
        decay_epochs: int, the rate is divided after every so many epochs, counted from the end of the warm-up.
        warmup_epochs: int, number of epochs before the peak; the rate rises from each to the next.
        warmup_rate: float > 0, the rate of the first epoch of the warm-up; None for the peak divided by
            ``warmup_epochs + 1``.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> rates = step_schedule(2.5e-4, 200, 3125, decay=1.5, decay_epochs=30)  # the paper's for CIFAR-10
        >>> [round(1e4 * float(rates(epoch * 3125)), 3) for epoch in (0, 29, 30, 60)]
        [2.5, 2.5, 1.667, 1.111]
    """
    _check_rate("learning_rate", learning_rate)
    check_int("steps_per_epoch", steps_per_epoch)
    is_share = 0 <= warmup_epochs < check_int("epochs", epochs)
    require(is_share, "`warmup_epochs` must be in [0, epochs)", warmup_epochs=warmup_epochs, epochs=epochs)
    require(check_finite("decay", decay) >= 1, "`decay` must be at least 1", decay=decay)
    lowest = learning_rate / (warmup_epochs + 1) if warmup_rate is None else warmup_rate
    _check_rate("warmup_rate", lowest)
    rises = range(warmup_epochs)
    first = warmup_epochs + check_int("decay_epochs", decay_epochs)
    falls = range(first, max(epochs, first + 1), decay_epochs)  # Keras' schedule needs at least one boundary
    values = [lowest + (learning_rate - lowest) * epoch / warmup_epochs for epoch in rises]
    values += [learning_rate / decay**times for times in range(len(falls) + 1)]
    boundaries = [steps_per_epoch * (epoch + 1) - 1 for epoch in rises]  # the last step with the earlier rate
    boundaries += [steps_per_epoch * epoch - 1 for epoch in falls]
    return PiecewiseConstantDecay(boundaries, values)


def _check_rate(name, rate):
    require(check_finite(name, rate) > 0, f"`{name}` must be positive", **{name: rate})
