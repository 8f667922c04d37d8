"""Judging lists at several lengths at once, so that a gain at one length is not paid for at another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.learning.bootstrap import Interval, interval
from multirecall.learning.lists import KnownLists
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.metrics import METRICS, user_metrics

KS = (10, 20, 100)
"""List lengths at which lists are judged, beside the length that the engine returns: where people look, and where a
ranker reads."""

JUDGED = ("recall", "ndcg")
"""The metrics that count, each as much as the other."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges lists for the requests of `lists`.

    Attributes:
        lists: the requests and their targets.
        ks: the list lengths, ascending.
        scale: the value of the best path at each metric and length, float64 (n_metrics, n_ks). A score is the mean of
            values in these units, so that 1 is as good as the best path everywhere.
    """

    lists: KnownLists
    ks: tuple[int, ...]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, lists: KnownLists, k: int) -> Judge:
        """A judge at `KS` and `k`, scaled by the best path of each metric and length."""
        ks = tuple(sorted({*KS, k}))
        means = np.stack([_values(batch, lists, ks).mean(axis=1) for batch in lists.batches])
        return cls(lists, ks, np.maximum(means.max(axis=0), 1e-12))

    def values(
        self, ranked: RankedBatch | FusedBatch, requests: NDArray[np.integer] | None = None
    ) -> NDArray[np.float64]:
        """The metrics of each request, float64 (n_metrics, n, n_ks).

        Args:
            ranked: the lists.
            requests: the positions of the requests that they answer, ascending; None: all.
        """
        lists = self.lists if requests is None else self.lists.take(requests)
        return _values(ranked, lists, self.ks)

    def score(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How good each list is, float64 (n,): the mean of its `values`, each in units of the best path."""
        scores: NDArray[np.float64] = (values / self.scale[:, None, :]).mean(axis=(0, 2))
        return scores


def gain_by_user(
    gains: NDArray[np.float64], owners: NDArray[np.integer], resamples: int = 1_000, level: float = 0.95
) -> Interval:
    """The mean gain over users and its paired bootstrap interval; a user's requests are averaged first.

    Args:
        gains: the gain of each request, float64 (n,).
        owners: the user of each request, integers (n,).
        resamples: the number of resamples of users.
        level: the confidence level.
    """
    _, own = np.unique(owners, return_inverse=True)
    return interval(np.bincount(own, gains) / np.bincount(own), resamples, level)


def _values(ranked: RankedBatch | FusedBatch, lists: KnownLists, ks: Sequence[int]) -> NDArray[np.float64]:
    values = user_metrics(ranked.offsets, ranked.items, lists.offsets, lists.targets, ks)
    return values[[METRICS.index(metric) for metric in JUDGED]]
