"""One progress bar for everything that takes time, and the number of batches of a data set."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sized

from keras_coda.utils.checks import require


class Progress:
    """Keras' progress bar as a context: it ends its line when the block ends, also after an error.

    Args:
        total: int, number of units, or None if it is not known. It may be an estimate: at the end of the block the
            number of units that were counted replaces it.
        unit: name of one unit.
        show: True for a bar, False for none, ``"auto"`` for a bar once the work has taken longer than ``patience``.
        patience: float, in seconds.

    Example:
        ```python
        with Progress(len(images), "image") as progress:
            for image in images:
                progress.add(1)
        ```
    """

    def __init__(self, total: int | None, unit: str = "image", show: bool | str = True, patience: float = 2.0):
        self._total, self._unit, self._show, self._patience = total or None, unit, show, patience
        self._done, self._bar, self._start = 0, None, time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error) -> None:
        if self._bar is not None:
            self._bar.target = self._done or None
            self._bar.update(self._done, finalize=True)

    def add(self, count: int = 1) -> None:
        """Count units that are done."""
        self._done += count
        if self._bar is None and self._is_shown():
            import keras

            self._bar = keras.utils.Progbar(self._total, unit_name=self._unit)
        if self._bar is not None:
            self._bar.update(self._done, finalize=False)

    def _is_shown(self):
        if self._show != "auto":
            return bool(self._show)
        is_last = self._total is not None and self._done >= self._total
        return not is_last and time.monotonic() - self._start > self._patience


def track(dataset: Iterable, unit: str = "batch", show: bool | str = True) -> Iterator:
    """Yield the batches of a data set and show a :class:`Progress` bar, whose total is the data set's length."""
    with Progress(length(dataset), unit, show) as progress:
        for batch in dataset:
            yield batch
            progress.add(1)


def length(dataset: Iterable) -> int | None:
    """Return the number of batches of a ``tf.data.Dataset`` or any iterable; None if it is unknown or infinite."""
    try:
        if hasattr(dataset, "cardinality"):
            count = int(dataset.cardinality())
        elif isinstance(dataset, Sized):
            count = len(dataset)
        else:
            return None
    except (TypeError, NotImplementedError):
        return None
    return count if count >= 0 else None


def is_infinite(dataset: Iterable) -> bool:
    """Return whether a data set is known to have no end: a ``tf.data.Dataset``, or a ``keras.utils.PyDataset``."""
    if hasattr(dataset, "cardinality"):
        return int(dataset.cardinality()) == -1  # tf.data.INFINITE_CARDINALITY
    with contextlib.suppress(NotImplementedError):  # a PyDataset that does not know
        return getattr(dataset, "num_batches", 0) is None
    return False


def steps_per_epoch(dataset: Iterable) -> int:
    """Return the number of batches of a data set; if it does not know its length, by reading it once.

    Raises:
        ValueError: if the data set is infinite or has no batches.
    """
    require(not is_infinite(dataset), "The data must come to an end", "Use `dataset.take(...)`", cardinality="infinite")
    count = length(dataset)
    steps = count if count else sum(1 for _ in dataset)
    require(steps, "The data must have at least one batch", batches=steps)
    return steps
