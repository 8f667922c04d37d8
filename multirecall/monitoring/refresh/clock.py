"""Where the time of a refit goes, step by step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

_log = logging.getLogger("multirecall.monitoring")


@dataclass(slots=True)
class Clock:
    """The seconds of each step, and how many of the steps were fits."""

    seconds: dict[str, float] = field(default_factory=dict)
    fits: int = 0

    @contextmanager
    def step(self, name: str, *, fit: bool = False) -> Iterator[None]:
        """Time a step, and log it when it has ended; `fit`: count it as a fit."""
        start = perf_counter()
        yield
        took = perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + took
        self.fits += fit
        _log.info("%s: %.1f s", name, took)
