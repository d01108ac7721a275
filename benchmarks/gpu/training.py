"""Training by wall-clock time: the learning rate reaches zero when the time is over, however fast the machine is."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.step import Trainer

WARMUP = 0.05  # share of the training
FADING = 0.15  # share of the training
MOST_FAILURES = 5


def schedule(progress, rate: float) -> np.ndarray:
    """Return learning rates: a linear rise up to ``rate``, then half a cosine down to zero.

    Args:
        progress: shares of the training that are done, in [0, 1].
        rate: the largest learning rate.
    """
    progress = np.clip(np.asarray(progress, "float64"), 0, 1)
    falling = 0.5 * (1 + np.cos(np.pi * np.clip((progress - WARMUP) / (1 - WARMUP), 0, 1)))
    return rate * np.where(progress < WARMUP, progress / WARMUP, falling)


def strength(progress) -> np.ndarray:
    """Return how strongly images are distorted: in full, and ever less in the last part of the training.

    A network that ends on images as they are predicts them better (He et al., arXiv 1909.09148).

    Args:
        progress: shares of the training that are done, in [0, 1].
    """
    return np.clip((1 - np.asarray(progress, "float64")) / FADING, 0, 1)


class Clock:
    """Which part of a training a chunk of steps is, by the time that chunks take.

    Args:
        seconds: of the whole training.
        before: seconds of it that an earlier process trained.
    """

    def __init__(self, seconds: float, before: float = 0.0):
        self.seconds, self._start = seconds, time.monotonic() - before
        self._last, self._per_chunk = time.monotonic(), None

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self._start

    def has_time(self) -> bool:
        """Return whether at least half of another chunk fits into the time."""
        return self.elapsed + 0.5 * (self._per_chunk or 0.0) < self.seconds

    def progress(self, steps: int) -> np.ndarray:
        """Return the share of the training that will be done at each step of the next chunk."""
        now = self.elapsed
        return np.linspace(now, now + (self._per_chunk or 0.0), steps, endpoint=False) / self.seconds

    def tick(self) -> float:
        """Note that a chunk is done; return the seconds since the one before."""
        now = time.monotonic()
        took, self._last = now - self._last, now
        self._per_chunk = took if self._per_chunk is None else 0.8 * self._per_chunk + 0.2 * took
        return took


def train(
    trainer: Trainer,
    clock: Clock,
    *,
    rate: float,
    log: Path,
    steps: int = 0,
    scale: float = 1.0,
    save: Callable[[dict], None],
    save_every: float,
) -> dict:
    """Train until the time is over.

    If a loss is not finite, the training goes back to the chunk before, with half of the learning rate.

    Args:
        trainer: compiled.
        clock: of this training.
        rate: the largest learning rate.
        log: a CSV file, to which a line is added for each chunk.
        steps: how many were done before.
        scale: factor on the learning rate.
        save: called with the figures so far every ``save_every`` seconds, to write the weights.
        save_every: seconds.

    Returns:
        dict of ``seconds``, ``steps``, ``epochs``, ``rate_scale``, ``failures``, ``loss``, ``accuracy`` (of the last
        chunk) and ``images_per_second`` (without the first chunk; the median), as far as known.

    Raises:
        ArithmeticError: if the loss is not finite again and again.
    """
    copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
    safe, failures, speeds, shown, saved = copy(trainer.state), 0, [], -math.inf, clock.elapsed
    figures = {"seconds": clock.elapsed, "steps": steps, "rate_scale": scale, "failures": 0}
    images = trainer.chunk * trainer.batch
    while clock.has_time():
        progress = clock.progress(trainer.chunk)
        rates = scale * schedule(progress, rate)
        loss, accuracy = map(float, trainer.run(rates, strength(progress)))  # waits for the device
        speed = images / clock.tick()
        if not math.isfinite(loss):
            failures, scale = failures + 1, scale / 2
            if failures > MOST_FAILURES:
                raise ArithmeticError(
                    f"The loss must stay finite. Received: {failures} losses that are not. Try a lower --rate."
                )
            print(f"the loss is not finite: back to the chunk before, learning rate times {scale:g}", flush=True)
            trainer.state = copy(safe)
            trainer.state["key"] = jax.random.fold_in(trainer.state["key"], failures)
            continue
        safe, steps = copy(trainer.state), steps + trainer.chunk
        speeds.append(speed)
        figures = {
            "seconds": round(clock.elapsed, 2),
            "steps": steps,
            "epochs": round(steps * trainer.batch / len(trainer.labels), 2),
            "rate_scale": scale,
            "failures": failures,
            "loss": loss,
            "accuracy": accuracy,
            "images_per_second": float(np.median(speeds[1:] or speeds)),
        }
        _write_line(log, figures | {"rate": float(rates[-1]), "images_per_second": speed})
        if clock.elapsed - shown > max(2.0, clock.seconds / 60):
            shown = clock.elapsed
            print(
                f"{shown:6.1f} s  step {steps}  epoch {figures['epochs']:.2f}  rate {rates[-1]:.2e}  loss {loss:.5f}  "
                f"accuracy {accuracy:.4f}  {speed:,.0f} images/s",
                flush=True,
            )
        if clock.elapsed - saved > save_every and clock.has_time():
            save(figures)
            saved = clock.elapsed
    return figures


def train_epochs(
    trainer: Trainer, epochs: float, rate: float, check: Callable[[float, int], None] = lambda seconds, left: None
) -> list[list[float]]:
    """Train for a number of epochs instead of a time.

    Args:
        trainer: compiled.
        epochs: rounded to whole chunks of steps.
        rate: the largest learning rate.
        check: called after each chunk with the seconds that it took and the number of chunks that are left; it may
            raise, to end the training.

    Returns:
        the loss and accuracy of every chunk.
    """
    steps = trainer.chunk * max(1, round(epochs * len(trainer.labels) / trainer.batch / trainer.chunk))
    rates = schedule(np.arange(steps) / steps, rate).reshape(-1, trainer.chunk)
    log: list[list[float]] = []
    for number, each in enumerate(rates, 1):
        start = time.monotonic()
        log.append([float(value) for value in trainer.run(each)])  # waits for the device
        check(time.monotonic() - start, len(rates) - number)
    return log


def _write_line(log, figures):
    is_new = not log.exists()
    with log.open("a", encoding="utf-8") as file:
        if is_new:
            file.write(",".join(figures) + "\n")
        file.write(",".join(map(json.dumps, figures.values())) + "\n")
