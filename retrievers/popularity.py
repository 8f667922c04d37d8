"""Popularity, optionally recent and by segment of users."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.data import Categorical, Changes, Dataset
from multirecall.data.interactions import decay
from multirecall.errors import CannotFit
from multirecall.kernels import Array, kernel
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Retriever
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.topk import NO_ROWS, is_eligible, marks_of, precedes
from multirecall.validation import Positive, nearest
from multirecall.vocabulary import Vocabulary

TINY = float(np.finfo(np.float32).tiny)
ALL_BITS = 2**31 - 1


class PopularityConfig(PluginConfig):
    """Settings of `popularity`."""

    half_life_days: Positive | None = 180.0
    """Days after which an event counts half, back from the newest event; None: all count alike, as they do
    in a log without timestamps. Changes results."""

    segment: str | None = None
    """A categorical user feature whose values have popularities of their own; None: one for all.
    Changes results."""

    smoothing: Positive = 1000.0
    """How many events of the whole population are mixed into each segment's count. Changes results."""


class Popularity(Retriever):
    """Ranks every item by its (decayed) event weights; items without interactions come last, by row.

    With a segment, the score is the Dirichlet-smoothed count `c_segment(i) + smoothing · c(i) / Σ c`; users of
    an unknown segment get the overall counts `c`.

    Live: new events, users and items count at once as in a refit.
    """

    Config: ClassVar[type[PluginConfig]] = PopularityConfig
    inline = True
    filters = True
    live = frozenset({"interactions", "items"})
    config: PopularityConfig
    _counts: NDArray[np.float64]
    _chosen: NDArray[np.bool_]
    _now: int | None
    _segments: Vocabulary
    _segment_counts: csr_array
    _overall: RankedList
    _prior: RankedList
    _own: RankedBatch
    _own_rows: NDArray[np.int32]

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Count, and rank all items once."""
        log = data.interactions
        self._counts, self._chosen, self._now = np.empty(0), np.empty(0, np.bool_), log.now
        self._segment_counts = csr_array((0, 0), dtype=np.float64)
        self._count(data, log.users, log.items, log.weights * log.decay(self.config.half_life_days))

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`; O(items), and with segments O(their counts), for the ranking."""
        path = type(self)(self.config)
        path._now, shrinkage, weights = self._now, changes.fading, changes.weights.astype(np.float64)
        half_life = self.config.half_life_days
        if self._now is not None and changes.times is not None and changes.times.size:
            path._now = max(self._now, int(changes.times.max()))
            if half_life is not None:
                shrinkage *= float(decay(path._now - self._now, half_life))
                weights *= decay(path._now - changes.times, half_life)
        path._counts, path._chosen = self._counts * shrinkage, self._chosen
        path._segment_counts = self._segment_counts * shrinkage
        path._count(changes.data, changes.users, changes.items, weights)
        return path

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        segment = self._segment_of(query)
        if segment < 0:
            return self._first(RankedList.empty(), NO_ROWS, self._overall, query, quota)
        rows = self._own_rows[self._own.offsets[segment] : self._own.offsets[segment + 1]]
        return self._first(self._own[segment], rows, self._prior, query, quota)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        arrays = {
            "counts": self._counts,
            "chosen": self._chosen,
            "segments": self._segments.ids(),
            "segment_offsets": self._segment_counts.indptr,
            "segment_items": self._segment_counts.indices,
            "segment_counts": self._segment_counts.data,
        }
        write_component(folder, arrays, {"now": self._now})

    @classmethod
    def load(cls, config: PopularityConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        arrays, meta = read_component(folder)
        path = cls(config)
        path._counts, path._chosen, path._now = arrays["counts"], arrays["chosen"], meta["now"]
        path._segments = Vocabulary(arrays["segments"], f"{config.segment}:")
        path._segment_counts = csr_array(
            (arrays["segment_counts"], arrays["segment_items"], arrays["segment_offsets"]),
            shape=(len(path._segments), path._counts.size),
        )
        path._rank()
        return path

    def _count(
        self, data: Dataset, users: NDArray[np.int32], items: NDArray[np.int32], weights: NDArray[np.float64]
    ) -> None:
        """Add events of decayed `weights` to the counts, which grow to the size of `data`, and rank."""
        counts = np.bincount(items, weights, minlength=data.n_items).astype(np.float64)
        counts[: self._counts.size] += self._counts
        chosen = np.bincount(items, minlength=data.n_items) > 0
        chosen[: self._chosen.size] |= self._chosen
        self._counts, self._chosen = counts, chosen
        self._segments, codes = _segments(data, self.config.segment)
        segments = codes[users]
        known = segments >= 0
        shape = (len(self._segments), data.n_items)
        own = csr_array((weights[known], (segments[known], items[known])), shape=shape)
        self._segment_counts.resize(shape)
        self._segment_counts = (self._segment_counts + own).tocsr()
        self._rank()

    def _rank(self) -> None:
        """Rank all items, and for each segment those that it has events on."""
        counts, own = self._counts, self._segment_counts
        rows = np.arange(counts.size, dtype=np.int32)
        self._overall = _ranked(rows, _scores(counts, self._chosen))
        prior = _scores(counts * (self.config.smoothing / max(counts.sum(), TINY)), self._chosen)
        self._prior = _ranked(rows, prior) if len(self._segments) else self._overall
        self._own_rows = own.indices.astype(np.int32)
        scores = (own.data + prior[self._own_rows]).astype(np.float32)
        runs = [slice(*bounds) for bounds in pairwise(own.indptr)]
        self._own = RankedBatch.from_lists([_ranked(self._own_rows[run], scores[run]) for run in runs])

    def _segment_of(self, query: Query) -> int:
        value = query.features.get(self.config.segment) if self.config.segment else None
        return -1 if value is None else self._segments.row(value)

    @staticmethod
    def _first(own: RankedList, own_rows: NDArray[np.int32], rest: RankedList, query: Query, quota: int) -> RankedList:
        n = min(quota, rest.items.size)
        return RankedList(*_first(own.items, own.scores, own_rows, rest.items, rest.scores, n, *query.filter))


def _scores(counts: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The counts as scores; an item that was ever chosen stays above 0, and so before those that never were."""
    return np.where(chosen, np.maximum(counts, TINY), 0.0).astype(np.float32)


def _ranked(items: NDArray[np.int32], scores: NDArray[np.float32]) -> RankedList:
    """All `items` under the ordering rule; scores ≥ 0, whose bits order them as integers, so that one sort does."""
    keys = np.sort((ALL_BITS - scores.view(np.int32).astype(np.int64)) << 32 | items)
    return RankedList((keys & ALL_BITS).astype(np.int32), (ALL_BITS - (keys >> 32)).astype(np.int32).view(np.float32))


def _segments(data: Dataset, field: str | None) -> tuple[Vocabulary, NDArray[np.int32]]:
    """The segments, and the segment of each user row (-1: none)."""
    if field is None:
        return Vocabulary.of([]), np.full(data.n_users, -1, np.int32)
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
    """The first `n` eligible entries of two ranked lists merged, without those of `items` in `own_rows`."""
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
