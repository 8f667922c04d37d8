"""The time by which a request goes on without the paths that have not answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, perf_counter

Clock = Callable[[], float]
"""Seconds of some steady clock."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """Milliseconds from its making, or None for no limit.

    `hasty`: whether the caller left less time than the config does, so that lateness says nothing of a path.
    """

    limit_ms: float | None
    clock: Clock = perf_counter
    hasty: bool = False
    start: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", self.clock())

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since its making."""
        return (self.clock() - self.start) * 1e3

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.limit_ms is not None and self.elapsed_ms >= self.limit_ms

    @property
    def moment(self) -> float | None:
        """`time.monotonic()` when it is over; None without a limit."""
        left = self.left_s
        return None if left is None else monotonic() + left

    @property
    def left_s(self) -> float | None:
        """Seconds that are left, at least 0; None without a limit."""
        return None if self.limit_ms is None else max(0.0, (self.limit_ms - self.elapsed_ms) / 1e3)
