"""The speed of a training under way, measured alike for our models and for those of other libraries."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import process_time


@dataclass(slots=True)
class Stopwatch:
    """Counts samples and CPU seconds of the training steps after the first `warm_up`, for `limit_s` CPU seconds."""

    limit_s: float
    warm_up: int = 2
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    start: float = field(default=0.0, repr=False)

    def goes_on(self, samples: int) -> bool:
        """Note that a step on `samples` targets is done; return whether there is time for another."""
        self.steps += 1
        if self.steps <= self.warm_up:
            self.start = process_time()
            return True
        self.samples += samples
        self.seconds = process_time() - self.start
        return self.seconds < self.limit_s

    @property
    def rate(self) -> float:
        """Samples a CPU second."""
        return self.samples / self.seconds
