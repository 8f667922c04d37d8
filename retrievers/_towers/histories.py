"""The histories before given events of a log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Interactions
from multirecall.kernels import Array, kernel


@dataclass(frozen=True, slots=True)
class Histories:
    """Histories as CSR.

    Attributes:
        offsets: int64 (n + 1,).
        items: int32 (nnz,), oldest first.
        weights: float32 (nnz,), the weights of the events.
        positions: float32 (nnz,), 0 for the newest event, 1 for the one before it; all 0 if the log has no order.
        ages: float32 (nnz,), seconds between the event and the target of the history; 0 without timestamps.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    weights: NDArray[np.float32]
    positions: NDArray[np.float32]
    ages: NDArray[np.float32]

    def part(self, rows: slice) -> Histories:
        """The histories of these rows, which are views."""
        offsets = self.offsets[rows.start : rows.stop + 1]
        events = slice(offsets[0], offsets[-1])
        columns = (one[events] for one in (self.weights, self.positions, self.ages))
        return Histories(offsets - offsets[0], self.items[events], *columns)


def histories_before(log: Interactions, events: NDArray[np.int64], gaps: NDArray[np.int64], length: int) -> Histories:
    """The history of each of `events`: up to `length` earlier events of the same user, without the newest `gaps`.

    If the log has no order, the history is up to `length` other events of the user, but none with the same item.

    Args:
        log: all events, sorted by user.
        events: int64 (n,), the positions of the targets in the log.
        gaps: int64 (n,), the number of events between each target and the end of its history, ≥ 0.
        length: the largest number of events in a history.
    """
    firsts = log.offsets[log.users[events]]
    if log.ordered:
        times = np.empty(0, np.int64) if log.times is None else log.times
        return Histories(*_before(events, gaps, firsts, log.items, log.weights, times, length))
    return Histories(*_around(events, firsts, log.offsets[log.users[events] + 1], log.items, log.weights, length))


@kernel
def _before(
    events: Array, gaps: Array, firsts: Array, items: Array, weights: Array, times: Array, length: int
) -> tuple[Array, Array, Array, Array, Array]:
    offsets = np.zeros(events.size + 1, np.int64)
    for row in range(events.size):
        offsets[row + 1] = offsets[row] + min(max(events[row] - gaps[row] - firsts[row], 0), length)
    chosen, own = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
    positions, ages = np.empty(offsets[-1], np.float32), np.zeros(offsets[-1], np.float32)
    for row in range(events.size):
        size = offsets[row + 1] - offsets[row]
        begin = events[row] - gaps[row] - size
        for place in range(size):
            chosen[offsets[row] + place] = items[begin + place]
            own[offsets[row] + place] = weights[begin + place]
            positions[offsets[row] + place] = size - 1 - place
            if times.size:
                ages[offsets[row] + place] = times[events[row]] - times[begin + place]
    return offsets, chosen, own, positions, ages


@kernel
def _around(
    events: Array, firsts: Array, ends: Array, items: Array, weights: Array, length: int
) -> tuple[Array, Array, Array, Array, Array]:
    offsets = np.zeros(events.size + 1, np.int64)
    most = 0
    for row in range(events.size):
        most += min(ends[row] - firsts[row] - 1, length)
    chosen, own = np.empty(most, np.int32), np.empty(most, np.float32)
    size = 0
    for row in range(events.size):
        n_events = ends[row] - firsts[row]
        for step in range(1, min(n_events - 1, length) + 1):
            event = firsts[row] + (events[row] - firsts[row] + step) % n_events
            if items[event] != items[events[row]]:
                chosen[size] = items[event]
                own[size] = weights[event]
                size += 1
        offsets[row + 1] = size
    nothing = np.zeros(size, np.float32)
    return offsets, chosen[:size], own[:size], nothing, nothing
