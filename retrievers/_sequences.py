"""The sequences that skip-gram learns from: histories, optionally cut into sessions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Interactions

SECONDS_PER_HOUR = 3_600


def sequences(
    log: Interactions, session_gap_hours: float | None, rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The items of all users in order, and the int64 offsets of the sequences in them.

    A pause longer than `session_gap_hours` begins a new sequence; None, or a log without timestamps: one sequence
    for each user. Where the order of a history means nothing it is shuffled, so that windows take a random sample.
    """
    if not log.ordered:
        order = np.lexsort((rng.random(len(log)), log.users))
        return log.items[order], log.offsets
    if session_gap_hours is None or log.times is None:
        return log.items, log.offsets
    begins = np.diff(log.users, prepend=-1) != 0
    begins |= np.diff(log.times, prepend=log.times[:1]) > session_gap_hours * SECONDS_PER_HOUR
    return log.items, np.append(np.flatnonzero(begins), len(log))
