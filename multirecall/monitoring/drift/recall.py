"""The recall of an engine on events that came after what it knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.data import Dataset
from multirecall.engine import Engine
from multirecall.errors import DataError
from multirecall.learning.bootstrap import Interval, interval
from multirecall.metrics import METRICS, user_metrics
from multirecall.monitoring.drift.asking import requests, sample_users
from multirecall.monitoring.drift.timeline import Timeline, Window


@dataclass(frozen=True, slots=True)
class Recall:
    """The recall of the fused list over users of a window.

    Attributes:
        window: the time of the targets.
        k: the list length.
        values: the recall of each user, float64 (n_users,).
        n_targets: the number of pairs of a user and a target.
        unreachable: the share of targets that the catalogue of the engine lacks; they count as missed.
    """

    window: Window
    k: int
    values: NDArray[np.float64]
    n_targets: int
    unreachable: float

    @property
    def interval(self) -> Interval:
        """The mean over users with its 95 % bootstrap interval."""
        return interval(self.values)


def recall_on(engine: Engine, events: Dataset, k: int = 100, *, n_users: int = 1_000, seed: int = 7) -> Recall:
    """The recall on all events that are newer than the newest one that the engine knows.

    A target is an item that a user chose in this time and had not chosen before. A user is asked for with the history
    as of the beginning, so that nothing of the time leaks into the request.

    Args:
        engine: a fitted engine.
        events: new events; those that are not newer are left out.
        k: the list length.
        n_users: the most users; of more, a sample is taken.
        seed: the seed of the sample.

    Raises:
        DataError: a log has no times, no event is newer, or no user has a target.
    """
    timeline = Timeline.of(engine.data, events)
    return recall_in(engine, timeline, Window(timeline.fit, timeline.end), k, n_users, seed)


def recall_in(engine: Engine, timeline: Timeline, window: Window, k: int, n_users: int, seed: int) -> Recall:
    """The recall on the events of a window; the rest is as in `recall_on`.

    The rows of `timeline` may differ from those of the engine; ids are what they share.

    Raises:
        DataError: no user of the window has a target.
    """
    vocabulary = timeline.item_tables[0].ids
    users, sizes, wanted = [], [], []
    for user in sample_users(timeline, window, n_users, seed).tolist():
        had = timeline.history(user, window.start)
        chosen = timeline.history(user, window.end)[had.size :]
        targets = np.setdiff1d(chosen, had)
        if targets.size:
            users.append(user)
            sizes.append(targets.size)
            wanted.append(np.sort(engine.data.items.ids.rows(vocabulary.ids(targets))))
    if not users:
        raise DataError("drift: no user has chosen an item that is new to them in this time; pass more events")
    asked = requests(engine, timeline, np.array(users, np.int32), window.start)
    answer = engine.retrieve_batch(asked, k)
    rows = engine.data.items.ids.rows(answer.ids)
    targets = np.concatenate(wanted)
    found = user_metrics(answer.offsets, rows, offsets_of(np.array(sizes)), targets, [k])
    return Recall(window, k, found[METRICS.index("recall")][:, 0], targets.size, float((targets < 0).mean()))
