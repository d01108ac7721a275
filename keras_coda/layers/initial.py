"""Initial weights, and none where loaded ones will take their place."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import keras

_are_loaded: ContextVar[bool] = ContextVar("weights are loaded", default=False)


@contextlib.contextmanager
def weights_are_loaded() -> Iterator[None]:
    """Build layers in the block with zeros for weights: the caller gives all of them their values afterwards.

    Random numbers for them would be most of the time it takes to load a network on JAX, which compiles a program for
    each shape.
    """
    token = _are_loaded.set(True)
    try:
        yield
    finally:
        _are_loaded.reset(token)


def uniform(inputs: int) -> keras.initializers.Initializer:
    """Return the initializer of weights that are multiplied with ``inputs`` numbers: uniform within ±1/√inputs.

    In a block of :func:`weights_are_loaded` it is one of zeros.
    """
    # Made in any case: it takes its seed from Python's generator, so a program's later random numbers stay the same.
    random = keras.initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5)
    return keras.initializers.Zeros() if _are_loaded.get() else random
