"""Users by how much of them the training part knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.evaluation.splits import Split

NAMES = ("cold", "light", "heavy")


@dataclass(frozen=True, slots=True)
class Segment:
    """Users with `low` to `high` events in the training part, both included; `high` None: no limit."""

    name: str
    low: int
    high: int | None

    def members(self, lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which history lengths (n_users,) belong to it."""
        return (lengths >= self.low) & (lengths <= (np.inf if self.high is None else self.high))

    def __str__(self) -> str:
        if self.high == self.low:
            return f"{self.name} ({self.low})"
        return f"{self.name} ({self.low}{'+' if self.high is None else f'–{self.high}'})"


def history_lengths(split: Split) -> NDArray[np.int64]:
    """Events of items of the training part that each test user is asked with, int64 (n_users,)."""
    if split.asked is not None:
        known = (split.train.items.ids.rows(split.history(user)) for user in split.users.tolist())
        return np.array([int((rows >= 0).sum()) for rows in known], np.int64)
    rows = split.train.users.ids.rows(split.users)
    lengths = np.diff(split.train.interactions.offsets)
    return np.where(rows < 0, 0, lengths[rows])


def history_segments(lengths: NDArray[np.int64]) -> list[Segment]:
    """`new` users without history, and the others in three parts of nearly equal size; empty parts are left out."""
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
