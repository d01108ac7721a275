"""Deadlines and retries of calls to a server."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from keras_coda.serving.errors import DeadlineExceeded, Unavailable
from keras_coda.utils.checks import check_finite, check_int, require

Answer = TypeVar("Answer")
_LONGEST_PAUSE = 5.0  # seconds


class Retries:
    """How long and how often a call is tried.

    A call is tried again only after :class:`~keras_coda.serving.errors.Unavailable`: the connection broke, or the
    server said that it is unavailable. Requests may be sent twice, because a prediction changes nothing on the server.

    Attributes:
        timeout: seconds for the whole call, all attempts and pauses included.
        retries: attempts after the first.
        backoff: seconds before the first of them; doubles each time, up to 5 s. Each pause is shortened at random, by
            up to a half, so that clients that were turned away together do not come back together.
    """

    def __init__(self, timeout: float, retries: int, backoff: float):
        self.timeout = check_finite("timeout", timeout)
        require(self.timeout > 0, "`timeout` must be positive, in seconds", timeout=timeout)
        self.retries = check_int("retries", retries, 0)
        self.backoff = check_finite("backoff", backoff)
        require(self.backoff >= 0, "`backoff` must not be negative, in seconds", backoff=backoff)

    def deadline(self) -> float:
        """Return the time at which a call that begins now must end, on the clock of ``time.monotonic``."""
        return time.monotonic() + self.timeout

    def call(self, attempt: Callable[[float], Answer], deadline: float) -> Answer:
        """Call ``attempt(seconds left)`` until it returns, raises another error, or time or attempts are used up.

        Raises:
            DeadlineExceeded: if no time is left for an attempt.
            Unavailable: of the last attempt.
        """
        for count in range(self.retries + 1):
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlineExceeded(f"No answer within `timeout`. Received: timeout={self.timeout:g}")
            try:
                return attempt(left)
            except Unavailable as error:
                pause = min(self.backoff * 2**count, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)
                if count == self.retries or time.monotonic() + pause >= deadline:
                    raise Unavailable(f"{error} (after {count + 1} attempts)") from error
            time.sleep(pause)
        raise AssertionError("unreachable")
