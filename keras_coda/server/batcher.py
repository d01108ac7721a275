"""Requests that come at the same time are computed together. KServe's own batcher is a program of its own, in Go."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Overloaded(Exception):  # noqa: N818 - an answer, not a failure
    """More images wait than the server would finish in a reasonable time; the message says so."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Item:
    arrays: Arrays
    count: int
    future: asyncio.Future
    since: float  # seconds, of `time.monotonic`


class Batcher:
    """Joins requests with equal keys along the first axis, runs them in one thread, and splits the results.

    While a batch is computed, the next ones gather, so that a busy server works in large batches. If nothing is being
    computed, the first request of a batch waits up to ``max_wait`` for others. If a batch fails, its requests are
    run one by one: only the one that is to blame gets the error.

    Args:
        run: computes a batch, ``run(key, arrays) -> arrays``; called in a thread, never twice at a time.
        max_images: of a batch; a single request may have more.
        max_wait: seconds.
        max_waiting: images of all requests that are not answered yet; more raise :class:`Overloaded`.
        observe: called with the number of images of each batch.
    """

    def __init__(
        self,
        run: Callable[[Any, Arrays], Arrays],
        *,
        max_images: int = 32,
        max_wait: float = 0.002,
        max_waiting: int = 256,
        observe: Callable[[int], object] = lambda count: None,
    ):
        self._run, self._observe = run, observe
        self._max_images, self._max_wait, self._max_waiting = max_images, max_wait, max_waiting
        self._waiting: dict[Hashable, list[_Item]] = {}
        self._images = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._worker: asyncio.Task | None = None

    async def __call__(self, key: Hashable, arrays: Arrays) -> Arrays:
        """Return what ``run`` returns for these arrays, computed together with other requests of the same key.

        Args:
            key: equal for what can be joined.
            arrays: all of the same length along their first axis.

        Raises:
            Overloaded: if too many images wait.
        """
        count = len(next(iter(arrays.values())))
        if self._images and self._images + count > self._max_waiting:
            raise Overloaded(f"At most {self._max_waiting} images may wait. Received: {count} more. Try again later.")
        item = _Item(arrays, count, asyncio.get_running_loop().create_future(), time.monotonic())
        self._waiting.setdefault(key, []).append(item)
        self._images += count
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await item.future
        finally:
            self._images -= count

    async def _work(self) -> None:
        """Compute batches, those of the longest waiting request first, until none waits."""
        loop, is_idle = asyncio.get_running_loop(), True
        while self._waiting:
            key = min(self._waiting, key=lambda each: self._waiting[each][0].since)
            if is_idle and self._max_wait and sum(item.count for item in self._waiting[key]) < self._max_images:
                await asyncio.sleep(self._max_wait)
            is_idle = False
            items = self._take(key)
            if not items:
                continue
            self._observe(sum(item.count for item in items))
            results = await loop.run_in_executor(self._thread, self._together, key, items)
            for item, result in zip(items, results, strict=True):
                if item.future.done():  # the caller has gone
                    continue
                if isinstance(result, Exception):
                    item.future.set_exception(result)
                else:
                    item.future.set_result(result)

    def _take(self, key) -> list[_Item]:
        """Remove the next batch from those that wait, without the requests of callers that have gone."""
        waiting = [item for item in self._waiting.pop(key) if not item.future.done()]
        count = total = 0
        for item in waiting:
            total += item.count
            if count and total > self._max_images:
                break
            count += 1
        if waiting[count:]:
            self._waiting[key] = waiting[count:]
        return waiting[:count]

    def _together(self, key, items) -> list[Arrays | Exception]:
        try:
            joined = {name: np.concatenate([item.arrays[name] for item in items]) for name in items[0].arrays}
            results = self._run(key, joined)
        except Exception as error:
            return [error] if len(items) == 1 else [self._together(key, [item])[0] for item in items]
        ends = np.cumsum([item.count for item in items])[:-1]
        parts = {name: np.split(array, ends) for name, array in results.items()}
        return [{name: part[index] for name, part in parts.items()} for index in range(len(items))]
