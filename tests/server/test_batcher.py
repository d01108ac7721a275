"""Requests that come together are computed together, and get their own answers and errors."""

import asyncio
import threading

import numpy as np
import pytest

from keras_coda.server.batcher import Batcher, Overloaded


class Doubling:
    """Doubles numbers; counts the images of batches, and fails for negative ones."""

    def __init__(self):
        self.batches, self.threads = [], set()

    def __call__(self, key, arrays):
        self.batches.append((key, len(arrays["x"])))
        self.threads.add(threading.get_ident())
        if (arrays["x"] < 0).any():
            raise ValueError("negative")
        return {"y": arrays["x"] * 2}


def ask(batcher, *requests):
    async def all_at_once():
        return await asyncio.gather(*(batcher(key, {"x": np.array(x)}) for key, x in requests), return_exceptions=True)

    return asyncio.run(all_at_once())


def test_callers_share_batches_and_get_their_own_rows():
    run = Doubling()
    answers = ask(Batcher(run, max_images=4), *(("a", [float(index)]) for index in range(10)))
    assert [answer["y"].tolist() for answer in answers] == [[2.0 * index] for index in range(10)]
    assert [count for _, count in run.batches] == [4, 4, 2]
    assert len(run.threads) == 1


def test_what_cannot_be_joined_is_not():
    run = Doubling()
    ask(Batcher(run), ("a", [1.0]), ("b", [2.0, 3.0]), ("a", [4.0]))
    assert run.batches == [("a", 2), ("b", 2)]


def test_a_request_larger_than_a_batch_is_computed_alone():
    run = Doubling()
    answers = ask(Batcher(run, max_images=2), ("a", [1.0]), ("a", [1.0] * 5), ("a", [1.0]))
    assert [count for _, count in run.batches] == [1, 5, 1]
    assert [len(answer["y"]) for answer in answers] == [1, 5, 1]


def test_only_the_request_that_is_to_blame_fails():
    answers = ask(Batcher(Doubling()), ("a", [1.0]), ("a", [-1.0]), ("a", [3.0]))
    assert [answer["y"].tolist() for answer in (answers[0], answers[2])] == [[2.0], [6.0]]
    assert str(answers[1]) == "negative"


def test_too_many_images_are_turned_away_and_later_ones_answered():
    batcher = Batcher(Doubling(), max_waiting=3)
    answers = ask(batcher, ("a", [1.0, 2.0]), ("a", [3.0]), ("a", [4.0]))
    assert isinstance(answers[2], Overloaded)
    assert ask(batcher, ("a", [1.0] * 9))[0]["y"].shape == (9,)  # alone, a request is never too much


def test_a_caller_that_goes_is_left_out():
    run = Doubling()
    batcher = Batcher(run, max_wait=0.05)

    async def leave():
        task = asyncio.create_task(batcher("a", {"x": np.array([1.0])}))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await batcher("a", {"x": np.array([5.0, 6.0])})

    assert asyncio.run(leave())["y"].tolist() == [10.0, 12.0]
    assert run.batches == [("a", 2)]
