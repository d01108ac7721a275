"""The clock of ``benchmarks.gpu.training``, but independent of the machine: every chunk of steps takes a second."""

import numpy as np


class ChunkClock:
    """Counts chunks; raises ``KeyboardInterrupt`` after ``interrupted`` of them if that is set."""

    interrupted = None

    def __init__(self, seconds=10.0, before=0.0):
        self.seconds, self.elapsed = seconds, before

    def has_time(self):
        if self.interrupted is not None and self.elapsed >= self.interrupted:
            raise KeyboardInterrupt
        return self.elapsed < self.seconds

    def progress(self, steps):
        return (self.elapsed + np.arange(steps) / steps) / self.seconds

    def tick(self):
        self.elapsed += 1
        return 1.0
