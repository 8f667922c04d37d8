"""Segments of users by the length of their history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAMES = ("cold", "light", "heavy")


@dataclass(frozen=True, slots=True)
class Segment:
    """The users with `low` to `high` events in the training part, both included; `high` None: no upper limit."""

    name: str
    low: int
    high: int | None

    def members(self, lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each history length (n_users,) belongs to the segment, bool (n_users,)."""
        return (lengths >= self.low) & (lengths <= (np.inf if self.high is None else self.high))

    def __str__(self) -> str:
        if self.high == self.low:
            return f"{self.name} ({self.low})"
        return f"{self.name} ({self.low}{'+' if self.high is None else f'–{self.high}'})"


def history_segments(lengths: NDArray[np.int64]) -> list[Segment]:
    """Segment users by history length: `new` without a history, and the others in thirds; empty ones are left out.

    `lengths` holds the events of each user, integers (n_users,).
    """
    known = lengths[lengths > 0]
    segments = [Segment("new", 0, 0)] if known.size < lengths.size else []
    if not known.size:
        return segments
    bounds = [0, *np.quantile(known, [1 / 3, 2 / 3], method="inverted_cdf").tolist(), None]
    for name, low, high in zip(NAMES, bounds, bounds[1:], strict=False):
        segment = Segment(name, int(low) + 1, None if high is None else int(high))
        if segment.members(known).any():
            segments.append(segment)
    return segments
