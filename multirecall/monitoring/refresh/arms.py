"""What an engine finds of the events after a moment, user by user."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.engine import Engine
from multirecall.evaluation import METRICS, Split, user_metrics
from multirecall.monitoring.refresh.report import METRICS as COMPARED
from multirecall.progress import Progress

CHUNK = 500
"""Number of users in one batch request; more need more memory."""


def ask_arm(engine: Engine, split: Split, k: int, progress: Progress) -> NDArray[np.float64]:
    """The recall and the NDCG of each test user at `k`, float64 (2, n_users).

    The engine need not be fitted on `split.train`: items are compared by their ids. It has seen no target.
    """
    known = split.train.items.ids
    lengths, rows = [], []
    with progress.task("asking for the users of the window", split.users.size) as advance:
        for start in range(0, split.users.size, CHUNK):
            users = split.users[start : start + CHUNK].tolist()
            found = engine.retrieve_batch(users, k, seen=split.seen)
            lengths.append(np.diff(found.offsets))
            rows.append(known.rows(found.ids))
            advance(len(users))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    values = user_metrics(offsets, np.concatenate(rows).astype(np.int32), split.offsets, split.targets, [k])
    return values[[METRICS.index(metric) for metric in COMPARED], :, 0]
