"""Several devices and processes (`keras.distribution` on JAX)."""

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

import keras
import numpy as np


@contextlib.contextmanager
def any_batch_size() -> Iterator[None]:
    """Let JAX's devices compute batches that they cannot divide, such as the last one of an epoch.

    Keras divides every batch among the devices, and fails where that leaves a rest. Within the block each device gets
    the whole of such a batch. The results are the same.
    """
    if keras.backend.backend() != "jax" or keras.distribution.distribution() is None:
        yield
        return
    import jax
    from keras.src.backend.jax import distribution_lib  # there is no public way

    original = distribution_lib.distribute_data_input

    def distribute(batch, layout, *args, **kwargs):
        sharding = getattr(layout, "backend_layout", layout)
        if jax.process_count() == 1:
            try:
                sharding.shard_shape(np.shape(batch))
            except ValueError:  # the only public test
                sharding = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
        return original(batch, sharding, *args, **kwargs)

    with mock.patch.object(distribution_lib, "distribute_data_input", distribute):
        yield


def with_own_rows(predict: Callable) -> Callable:
    """Return a compiled prediction whose outputs are the rows of the images of this process, in NumPy.

    Args:
        predict: takes a state and an iterator; returns outputs for the batches of all processes, joined, and a state.
    """
    import jax

    count, index = jax.process_count(), jax.process_index()
    if count == 1:
        return predict
    from jax.experimental import multihost_utils

    def own(state, iterator):
        outputs, state = predict(state, iterator)
        rows = multihost_utils.process_allgather(outputs, tiled=True)
        return np.split(np.asarray(rows), count)[index], state

    return own
