"""The deadline of a request: from then on the request goes on without the paths that have not answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, perf_counter

Clock = Callable[[], float]
"""Seconds of some steady clock."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A time limit in milliseconds that begins when the object is made; None for no limit.

    `hasty`: whether the caller allowed less time than the config does. A path that is late then is not to blame.
    """

    limit_ms: float | None
    clock: Clock = perf_counter
    hasty: bool = False
    start: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", self.clock())

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the deadline began."""
        return (self.clock() - self.start) * 1e3

    @property
    def passed(self) -> bool:
        """Whether the time is up."""
        return self.limit_ms is not None and self.elapsed_ms >= self.limit_ms

    @property
    def moment(self) -> float | None:
        """The value of `time.monotonic()` at which the time is up; None without a limit."""
        left = self.left_s
        return None if left is None else monotonic() + left

    @property
    def left_s(self) -> float | None:
        """The seconds that remain, at least 0; None without a limit."""
        return None if self.limit_ms is None else max(0.0, (self.limit_ms - self.elapsed_ms) / 1e3)


UNLIMITED = Deadline(None)
"""No limit."""
