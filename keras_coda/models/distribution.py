"""Several devices and processes: `keras.distribution` on JAX, `tf.distribute` on TensorFlow."""

import contextlib
import dataclasses
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import keras
import numpy as np

from keras_coda.data.load import Data
from keras_coda.data.numpy_batches import Batches, Whole
from keras_coda.utils.checks import require
from keras_coda.utils.processes import VARIABLES, processes

# === One training on several devices ===


@contextlib.contextmanager
def distributed() -> Iterator[None]:
    """Let networks that are built and trained within the block share each batch among all devices.

    On JAX these are the devices of all processes that the variables ``KERAS_DISTRIBUTION_JOB_ADDRESSES``,
    ``KERAS_DISTRIBUTION_NUM_PROCESSES`` and ``KERAS_DISTRIBUTION_PROCESS_ID`` name (see
    ``keras.distribution.initialize``); without them, those of this process. On TensorFlow they are the GPUs of this
    process, or its CPU (``tf.distribute.MirroredStrategy``).

    Raises:
        ValueError: if a variable is wrong, or there are several processes on another backend than JAX.
        ConnectionError: if the processes do not find each other.

    Example:
        ```python
        with keras_coda.training.distributed():
            data = keras_coda.data.load("digits")
            model, notes = keras_coda.training.network("coda_digits", data)
            keras_coda.training.train(model, data, "runs/digits", epochs=5)
        ```
    """
    backend, (count, _) = keras.backend.backend(), processes(os.environ)
    rule, fix = "Networks are trained on several devices on JAX or TensorFlow", "Set KERAS_BACKEND=jax"
    require(backend in ("jax", "tensorflow"), rule, fix, backend=backend)
    require(backend == "jax" or count == 1, "Several processes train together on JAX only", fix, backend=backend)
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        with tf.distribute.MirroredStrategy([device.name for device in devices]).scope():
            yield
        return
    import jax

    if count > 1 and not jax.distributed.is_initialized():
        try:
            keras.distribution.initialize()
        except RuntimeError as error:
            reason, given = str(error).splitlines()[0], {name: os.environ[name] for name in VARIABLES}
            raise ConnectionError(
                f"All processes must start within five minutes and reach the first one. Received: {given} ({reason})."
            ) from error
    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        yield


def num_processes() -> int:
    """Return how many processes train together."""
    is_alone = keras.backend.backend() != "jax" or keras.distribution.distribution() is None
    if is_alone:
        return 1
    import jax

    return jax.process_count()


def is_writer() -> bool:
    """Return whether this process is the one that writes files."""
    if num_processes() == 1:
        return True
    import jax

    return jax.process_index() == 0


@contextlib.contextmanager
def on_its_own() -> Iterator[None]:
    """Let Keras create variables in this process alone within the block: saving makes some, for comparison."""
    shared = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(shared)


def own_part(data: Data) -> Data:
    """Return the rows of each batch that belong to this process; data that ``load`` has not made are left as is."""
    if num_processes() == 1:
        return data
    import jax

    place = jax.process_index(), jax.process_count(), jax.device_count()
    parts = {name: getattr(data, name) for name in ("train", "validation")}
    own = {name: part.part(*place) for name, part in parts.items() if isinstance(part, Batches)}
    return dataclasses.replace(data, **own)


def require_same(settings: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` in all processes unless they have the same settings; all must call it.

    Args:
        settings: JSON-serializable values by what they are.
    """
    if num_processes() == 1:
        return
    from jax.experimental import multihost_utils

    texts = [json.dumps(value, sort_keys=True, default=str) for value in settings.values()]
    own = np.array([zlib.crc32(text.encode()) for text in texts], "uint32")
    everywhere = np.asarray(multihost_utils.process_allgather(own)).reshape(-1, len(own))
    differ = [name for name, column in zip(settings, everywhere.T, strict=True) if len(set(column.tolist())) > 1]
    rule = "All processes must run the same command with the same files"
    require(not differ, rule, "Let all hosts see the same folders of images and results", different=differ)


def wait_for_all(what: str) -> None:
    """Wait until all processes have come here.

    Args:
        what: names the place.
    """
    if num_processes() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"keras_coda: {what}")


# === Batches ===


@contextlib.contextmanager
def any_batch_size() -> Iterator[None]:
    """Let JAX's devices compute batches that they cannot divide, such as the last one of an epoch.

    Keras divides every batch among the devices, and fails where that leaves a rest. Within the block each device gets
    the whole of such a batch. The results are the same. Several processes know such batches as :class:`Whole`.
    """
    if keras.backend.backend() != "jax" or keras.distribution.distribution() is None:
        yield
        return
    import jax
    from keras.src.backend.jax import distribution_lib  # there is no public way

    original = distribution_lib.distribute_data_input

    def distribute(batch, layout, *args, **kwargs):
        sharding = getattr(layout, "backend_layout", layout)
        if not _is_divided(batch, sharding):
            sharding = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
        return original(batch, sharding, *args, **kwargs)

    with mock.patch.object(distribution_lib, "distribute_data_input", distribute):
        yield


def _is_divided(batch, sharding):
    import jax

    if jax.process_count() > 1:
        return not isinstance(batch, Whole)
    try:
        sharding.shard_shape(np.shape(batch))
    except ValueError:  # the only public test
        return False
    return True


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
        inputs = []

        def noted():
            for batch in iterator:
                inputs.append(jax.tree.leaves(batch)[0])
                yield batch

        outputs, state = predict(state, noted())
        if getattr(
            inputs[0], "is_fully_addressable", True
        ):  # of `predict_on_batch`: all processes have the same images
            return np.asarray(outputs), state
        rows = multihost_utils.process_allgather(outputs, tiled=True)
        return np.split(np.asarray(rows), count)[index], state

    return own
