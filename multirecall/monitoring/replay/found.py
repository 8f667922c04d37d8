"""What lists found of what users did later: of each path, of the logged answers and of new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.learning.bootstrap import Interval, interval
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.metrics import METRICS, user_metrics
from multirecall.monitoring.replay.attribution import Targets
from multirecall.monitoring.replay.groups import Group
from multirecall.monitoring.replay.similarity import places_in
from multirecall.monitoring.replay.sums import UserSums

OLD, NEW = "as logged", "replayed"
"""The names of the fused lists beside those of paths."""

SHOWN = ("recall", "hit_rate")
"""The metrics that a report has."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A metric of the logged answers and of the replayed ones, means over users.

    Attributes:
        metric: `recall` or `hit_rate`.
        k: the list length.
        old: of the logged answers.
        new: of the replayed ones.
        gain: the difference by user, with its interval.
    """

    metric: str
    k: int
    old: float
    new: float
    gain: Interval


class Found:
    """Adds up what lists found, by user.

    Args:
        ks: list lengths, ascending.
    """

    def __init__(self, ks: Sequence[int]) -> None:
        self.ks = tuple(ks)
        self.n_requests = 0
        self._sums: dict[str, UserSums] = {}

    @property
    def paths(self) -> list[str]:
        """The lists that are of a path."""
        return [name for name in self._sums if name not in (OLD, NEW)]

    def add(self, group: Group, targets: Targets, new: FusedBatch | None) -> None:
        """Take a group whose requests were followed by events; `new`: its replayed answers, or None."""
        if not targets.members.size:
            return
        self.n_requests += targets.members.size
        users = group.frame["user"].gather(targets.members).to_list()
        lists: dict[str, RankedBatch | FusedBatch] = dict(zip(group.config.paths, group.lists, strict=True))
        lists[OLD] = group.answer
        if new is not None:
            lists[NEW] = new
        for name, batch in lists.items():
            own = batch.take(targets.members)
            figures = user_metrics(own.offsets, own.items, targets.offsets, targets.items, self.ks)
            values = np.concatenate([figures[METRICS.index(metric)] for metric in SHOWN], axis=1)
            self._sums.setdefault(name, UserSums(values.shape[1])).add(users, values)

    def figures(self) -> Mapping[str, Mapping[str, list[float]]]:
        """By list and metric, a mean over users for each k."""
        found = {}
        for name in [*self.paths, *(one for one in (OLD, NEW) if one in self._sums)]:
            sums = self._sums[name]
            means = sums.means().mean(0).reshape(len(SHOWN), -1)
            found[name] = {metric: row.tolist() for metric, row in zip(SHOWN, means, strict=True)}
        return found

    def gains(self) -> list[Gain]:
        """The replayed answers beside the logged ones."""
        if NEW not in self._sums:
            return []
        old, new = self._sums[OLD].means(), self._sums[NEW].means()
        return [
            Gain(metric, k, float(old[:, one].mean()), float(new[:, one].mean()), interval(new[:, one] - old[:, one]))
            for one, (metric, k) in enumerate((metric, k) for metric in SHOWN for k in self.ks)
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "requests": self.n_requests,
            "lists": self.figures(),
            "gains": [
                {
                    "metric": one.metric,
                    "k": one.k,
                    "old": one.old,
                    "new": one.new,
                    "gain": one.gain.mean,
                    "low": one.gain.low,
                    "high": one.gain.high,
                }
                for one in self.gains()
            ],
        }


def rewarded(targets: Targets, n: int, answer: FusedBatch) -> NDArray[np.bool_]:
    """Whether the user of each candidate of an answer chose it later, bool (n_candidates,)."""
    chosen: NDArray[np.bool_] = places_in(targets.of_all(n), targets.items, answer.offsets, answer.items) >= 0
    return chosen
