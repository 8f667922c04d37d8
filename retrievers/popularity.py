"""Popularity, optionally recent and by segment of users."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.data import Categorical, Dataset
from multirecall.errors import CannotFit
from multirecall.kernels import Array, kernel
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Retriever
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.topk import is_eligible, precedes, top_k
from multirecall.validation import Positive, nearest
from multirecall.vocabulary import Vocabulary

TINY = float(np.finfo(np.float32).tiny)


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
    """

    Config: ClassVar[type[PluginConfig]] = PopularityConfig
    inline = True
    filters = True
    config: PopularityConfig
    _overall: RankedList
    _prior: RankedList
    _segments: Vocabulary
    _offsets: NDArray[np.int64]
    _own: RankedList
    _own_rows: NDArray[np.int32]

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Count, and rank all items once."""
        log = data.interactions
        weights = log.weights * log.decay(self.config.half_life_days)
        counts = np.bincount(log.items, weights, minlength=data.n_items).astype(np.float64)
        chosen = np.bincount(log.items, minlength=data.n_items) > 0
        self._overall = _ranked(counts, chosen)
        self._prior = _ranked(counts * (self.config.smoothing / max(counts.sum(), TINY)), chosen)
        self._segments, codes = _segments(data, self.config.segment)
        self._rank_segments(codes[log.users], log.items, weights)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        segment = self._segment_of(query)
        if segment < 0:
            nothing = self._own.head(0)
            return self._first(nothing, nothing.items, self._overall, query, quota)
        part = slice(self._offsets[segment], self._offsets[segment + 1])
        own = RankedList(self._own.items[part], self._own.scores[part])
        return self._first(own, self._own_rows[part], self._prior, query, quota)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        arrays = {"segments": self._segments.ids(), "offsets": self._offsets, "own_rows": self._own_rows}
        for name, ranked in (("overall", self._overall), ("prior", self._prior), ("own", self._own)):
            arrays |= {f"{name}_items": ranked.items, f"{name}_scores": ranked.scores}
        write_component(folder, arrays, {})

    @classmethod
    def load(cls, config: PopularityConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        arrays, _ = read_component(folder)
        path = cls(config)
        path._segments = Vocabulary(arrays["segments"], f"{config.segment}:")
        path._offsets, path._own_rows = arrays["offsets"], arrays["own_rows"]
        path._overall, path._prior, path._own = (
            RankedList(arrays[f"{name}_items"], arrays[f"{name}_scores"]) for name in ("overall", "prior", "own")
        )
        return path

    def _rank_segments(
        self, segments: NDArray[np.int32], items: NDArray[np.int32], weights: NDArray[np.float64]
    ) -> None:
        """Rank, for each segment, the items that it has events on."""
        known = segments >= 0
        shape = (len(self._segments), self._overall.items.size)
        counts = csr_array((weights[known], (segments[known], items[known])), shape=shape)
        counts.sum_duplicates()
        prior = np.zeros(shape[1], np.float64)
        prior[self._prior.items] = self._prior.scores
        self._offsets = counts.indptr.astype(np.int64)
        self._own_rows = counts.indices.astype(np.int32)
        scores = (counts.data + prior[self._own_rows]).astype(np.float32)
        ranked = [
            top_k(self._own_rows[start:stop], scores[start:stop], stop - start)
            for start, stop in zip(self._offsets, self._offsets[1:], strict=False)
        ]
        self._own = RankedList(
            np.concatenate([np.empty(0, np.int32), *(one for one, _ in ranked)]),
            np.concatenate([np.empty(0, np.float32), *(one for _, one in ranked)]),
        )

    def _segment_of(self, query: Query) -> int:
        value = query.features.get(self.config.segment) if self.config.segment else None
        return -1 if value is None else self._segments.row(value)

    @staticmethod
    def _first(own: RankedList, own_rows: NDArray[np.int32], rest: RankedList, query: Query, quota: int) -> RankedList:
        n = min(quota, rest.items.size)
        return RankedList(*_first(own.items, own.scores, own_rows, rest.items, rest.scores, n, *query.filter))


def _ranked(counts: NDArray[np.float64], chosen: NDArray[np.bool_]) -> RankedList:
    """All items by count; one that was ever chosen stays above 0, and so before those that never were."""
    scores = np.where(chosen, np.maximum(counts, TINY), 0.0).astype(np.float32)
    return RankedList(*top_k(np.arange(counts.size, dtype=np.int32), scores, counts.size))


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
    size, own, other = 0, 0, 0
    while size < n and (own < own_items.size or other < items.size):
        if other < items.size and not is_eligible(items[other], own_rows, everything):
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
        if is_eligible(item, exclude, allowed):
            out_items[size], out_scores[size] = item, score
            size += 1
    return out_items[:size], out_scores[:size]
