"""Popularity, optionally recent and by segment of users."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Categorical, Changes, Dataset
from multirecall.data.interactions import SECONDS_PER_DAY
from multirecall.errors import CannotFit
from multirecall.kernels import Array, kernel
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import SILENT, Progress
from multirecall.protocols import PluginConfig, Retriever
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.topk import NO_ROWS, is_eligible, marks_of, precedes, top_k
from multirecall.validation import Positive, nearest
from multirecall.vocabulary import Vocabulary

from ._fading_counts import FadingCounts, scores_of, total
from ._fading_ranking import FadingRanking
from ._shard import WHOLE, Shard

ROW_BITS = 2**31 - 1
"""The part of a key that holds the item row."""

LEAST_HEAD = 1_000
"""The fewest items of the common ranking that are given their scores at once."""

LEAST = -1000.0
"""Lower bound of the base-2 logarithm of the sum of all counts, which is -inf if all weights are 0."""


class PopularityConfig(PluginConfig):
    """Settings of `popularity`."""

    half_life_days: Positive | None = 180.0
    """Days after which the weight of an event is halved. Ages are counted back from the newest event of the log, except
    events far later than all others. None, or no timestamps: equal weights. Changes results."""

    segment: str | None = None
    """Categorical user feature; users of each value get a popularity of their own. None: one popularity for all.
    Changes results."""

    smoothing: Positive = 1000.0
    """Weight, in events, of the popularity over all users in the count of each segment. Changes results."""


class Popularity(Retriever):
    """Ranks items by the sum of their event weights, with decay; items without interactions come last, by row.

    With a segment, the score is the Dirichlet-smoothed count `c_segment(i) + smoothing · c(i) / Σ c`; users of an
    unknown segment get the counts `c` over all users. Counts are compared by their logarithms, so that they keep their
    order however far they have decayed; a score below 2^-100 tells the order only.

    Live: new events, users and items, and removed events, count at once as in a refit. The ranking takes a new event
    without being sorted anew, see `FadingRanking`; with segments, each list is sorted. A removal costs as much as a
    fit, and so does an event while the log has one far later than all others.

    A part ranks its own items. It has the counts of all: smoothing needs their sum, and the score of a count that has
    decayed far tells its place among all counts.
    """

    Config: ClassVar[type[PluginConfig]] = PopularityConfig
    inline = True
    filters = True
    live = frozenset({"interactions", "items", "removals"})
    config: PopularityConfig
    _ranking: FadingRanking
    _now: int
    _head: RankedList
    """The first items of `_ranking`: as many as a request has needed so far."""
    _own_counts: FadingCounts
    _segments: Vocabulary
    _prior: RankedList
    _own: RankedBatch
    _own_rows: NDArray[np.int32]
    _shard: Shard = WHOLE

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Count the events, and rank all items once."""
        log = data.undecayed
        self._segments, codes = _segments(data, self.config.segment)
        counts, self._own_counts = self._count(data, codes, log.users, log.items, log.weights, log.times)
        self._rank(FadingRanking.of(counts, data.n_items), data)

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`; amortised O(events · sqrt(items)).

        With segments it is O(items + counts of all segments): smoothing with a count that others share moves the items
        of a segment against each other, so that these lists are ranked anew.
        """
        data = changes.data
        if not (changes.users.size or changes.takes_back or changes.shifted or data.n_items > self._ranking.n_items):
            return self
        path = type(self)(self.config)
        path._shard = self._shard
        path._segments, codes = _segments(data, self.config.segment)
        if changes.takes_back or (changes.shifted and self._ranking.counts.rate > 0):
            path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
            return path
        counts, own = self._count(data, codes, changes.users, changes.items, changes.undecayed, changes.times)
        path._own_counts = self._own_counts.merge(own) if own.keys.size else self._own_counts
        path._rank(self._ranking.with_events(counts, data.n_items), data)
        return path

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        segment = self._segment_of(query)
        if segment < 0:
            return self._first_overall(query, quota)
        rows = self._own_rows[self._own.offsets[segment] : self._own.offsets[segment + 1]]
        return self._first(self._own[segment], rows, self._prior, query, quota)

    def part(self, rows: NDArray[np.int32]) -> Self:
        """See `Retriever.part`."""
        path = copy(self)
        path._shard, path._head = Shard(rows, self._ranking.n_items), RankedList.empty()
        path._prior = path._shard.cut(self._prior)
        path._own = self._own.keep(path._shard.has(self._own.items))
        path._own_rows = self._own_rows[path._shard.has(self._own_rows)]
        return path

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        for name, counts in (("counts", self._ranking.whole()), ("own", self._own_counts)):
            arrays = {"keys": counts.keys, "sums": counts.sums, "newest": counts.newest}
            write_component(folder / name, arrays, {"rate": counts.rate})
        write_component(folder / "segments", {"ids": self._segments.ids()}, {})
        self._shard.save(folder)

    @classmethod
    def load(cls, config: PopularityConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._segments = Vocabulary(read_component(folder / "segments")[0]["ids"], f"{config.segment}:")
        counts, path._own_counts = (
            FadingCounts(**arrays, rate=meta["rate"])
            for arrays, meta in (read_component(folder / name) for name in ("counts", "own"))
        )
        path._shard = Shard.load(folder)
        path._rank(FadingRanking.of(counts, data.n_items), data)
        return path

    def _count(
        self,
        data: Dataset,
        codes: NDArray[np.int32] | None,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        weights: NDArray[np.float32],
        times: NDArray[np.int64] | None,
    ) -> tuple[FadingCounts, FadingCounts]:
        """The counts of events by item, and by segment and item; an event later than `now` counts as now.

        `codes` are the segments of users, see `_segments`.
        """
        if times is None or data.now is None:
            times, rate = np.zeros(items.size, np.int64), 0.0
        else:
            times = np.minimum(times, data.now)
            rate = _rate(data.config.half_life_days) + _rate(self.config.half_life_days)
        counts = FadingCounts.of(items, weights, times, rate)
        if codes is None:
            return counts, counts.among(counts.keys[:0])
        segments = codes[users]
        known = segments >= 0
        keys = segments[known].astype(np.int64) << 32 | items[known]
        return counts, FadingCounts.of(keys, weights[known], times[known], rate)

    def _rank(self, ranking: FadingRanking, data: Dataset) -> None:
        """Keep a ranking of all items, and rank for each segment the items that it has events on, in place.

        A part ranks its own items only.
        """
        self._ranking, self._now, self._head = ranking, data.now or 0, RankedList.empty()
        if not len(self._segments):
            self._prior, self._own, self._own_rows = RankedList.empty(), RankedBatch.empty(0), NO_ROWS
            return
        counts, own = ranking.whole(), self._own_counts
        rows = self._shard.among(data.n_items)
        exponents = counts.exponents(self._now)
        priors = exponents + np.log2(self.config.smoothing) - max(total(exponents), LEAST)
        own_rows = (own.keys & ROW_BITS).astype(np.int32)
        mixed = np.logaddexp2(own.exponents(self._now), priors[counts.keys.searchsorted(own_rows)])
        scores = scores_of(np.concatenate([priors, mixed]))
        self._prior = _rank_items(rows, _scatter(data.n_items, counts.keys, scores[: priors.size])[rows])
        kept = self._shard.has(own_rows)
        self._own_rows, scores = own_rows[kept], scores[priors.size :][kept]
        offsets = (own.keys[kept] >> 32).searchsorted(np.arange(len(self._segments) + 1))
        lists = np.split(np.arange(scores.size), offsets[1:-1])
        self._own = RankedBatch.from_lists([_rank_items(self._own_rows[run], scores[run]) for run in lists])

    def _segment_of(self, query: Query) -> int:
        value = query.features.get(self.config.segment) if self.config.segment else None
        return -1 if value is None else self._segments.row(value)

    def _first_overall(self, query: Query, quota: int) -> RankedList:
        """The first eligible items of the common ranking, of which a longer head is made where this one is too short.

        Threads may do so at the same time: each head is right, and one of them stays.
        """
        head, n_own = self._head, self._shard.count(self._ranking.n_items)
        quota = min(quota, n_own)
        nothing = RankedList.empty()
        found = self._first(nothing, NO_ROWS, head, query, quota)
        while len(found) < quota and len(head) < n_own:
            n = max(LEAST_HEAD, 2 * quota, 4 * len(head))
            head = self._head = self._ranking.head(n if 2 * n < n_own else n_own, self._now, self._shard)
            found = self._first(nothing, NO_ROWS, head, query, quota)
        return found

    @staticmethod
    def _first(own: RankedList, own_rows: NDArray[np.int32], rest: RankedList, query: Query, quota: int) -> RankedList:
        n = min(quota, rest.items.size)
        return RankedList(*_first(own.items, own.scores, own_rows, rest.items, rest.scores, n, *query.filter))


def _rate(half_life_days: float | None) -> float:
    """Halvings per second."""
    return 0.0 if half_life_days is None else 1 / (half_life_days * SECONDS_PER_DAY)


def _scatter(n_items: int, chosen: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores of all rows, float32 (n_items,): those given for `chosen` rows, and 0 for the others."""
    scattered = np.zeros(n_items, np.float32)
    scattered[chosen] = scores
    return scattered


def _rank_items(items: NDArray[np.int32], scores: NDArray[np.float32]) -> RankedList:
    """All `items` under the ordering rule."""
    return RankedList(*top_k(items, scores, items.size))


def _segments(data: Dataset, field: str | None) -> tuple[Vocabulary, NDArray[np.int32] | None]:
    """The segments, and the segment of each user row, int32 (n_users,), -1 for none; without a field None."""
    if field is None:
        return Vocabulary.of([]), None
    feature = data.users.features.get(field)
    if feature is None:
        raise CannotFit(f"popularity: segment {field!r} is no user feature; {nearest(field, data.users.features)}")
    if not isinstance(feature, Categorical):
        raise CannotFit(
            f"popularity: segment {field!r} is of kind {feature.kind}; "
            f"choose a categorical user feature, or load it as one with kinds={{{field!r}: 'categorical'}}"
        )
    return feature.categories, feature.codes


@kernel
def _first(
    own_items: Array,
    own_scores: Array,
    own_rows: Array,
    items: Array,
    scores: Array,
    n: int,
    exclude: Array,
    allowed: Array,
) -> tuple[Array, Array]:
    """The first `n` eligible entries of two ranked lists, merged; `items` that are in `own_rows` are left out."""
    out_items = np.empty(n, np.int32)
    out_scores = np.empty(n, np.float32)
    everything = np.empty(0, np.bool_)
    own_marks, marks = marks_of(own_rows), marks_of(exclude)
    size, own, other = 0, 0, 0
    while size < n and (own < own_items.size or other < items.size):
        if other < items.size and not is_eligible(items[other], own_rows, own_marks, everything):
            other += 1
            continue
        own_is_next = other == items.size or (
            own < own_items.size and precedes(own_scores[own], own_items[own], scores[other], items[other])
        )
        if own_is_next:
            item, score = own_items[own], own_scores[own]
            own += 1
        else:
            item, score = items[other], scores[other]
            other += 1
        if is_eligible(item, exclude, marks, allowed):
            out_items[size], out_scores[size] = item, score
            size += 1
    return out_items[:size], out_scores[:size]
