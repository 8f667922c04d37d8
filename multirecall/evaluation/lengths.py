"""The history lengths of the test users of a split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.evaluation.splits import Split


def history_lengths(split: Split) -> NDArray[np.int64]:
    """The number of events with items of the training part in each test user's history, int64 (n_users,)."""
    if split.asked is not None:
        known = (split.train.items.ids.rows(split.history(user)) for user in split.users.tolist())
        return np.array([int((rows >= 0).sum()) for rows in known], np.int64)
    rows = split.train.users.ids.rows(split.users)
    lengths = np.diff(split.train.interactions.offsets)
    return np.where(rows < 0, 0, lengths[rows])
