"""A ranking by counts that decay with time, which takes new events without being sorted anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedList
from multirecall.topk import is_among, is_marked, marks_of, precedes

from ._fading_counts import LOWEST, LOWEST_BITS, TINY, FadingCounts
from ._shard import Shard

LEAST_FRESH = 64
"""The number of newly counted items below which they are never merged into the base."""


@dataclass(frozen=True, slots=True, eq=False)
class FadingRanking:
    """All items by the ordering rule of their decayed counts; items without a count come last, by row.

    Time multiplies all counts by one factor, so it does not change their order. The order is therefore kept by the
    *exponent* of a count, the base-2 logarithm of what it would be in epoch second 0, and only scores are computed as
    of now. What was counted since the base was sorted is a small ranking of its own, which replaces entries of the
    base. It is merged into the base once it holds as many items as the square root of the catalogue.

    Attributes:
        counts: the counts of the base, by item row.
        items: int32 (n,), the items of the base by exponent, descending, then by row.
        exponents: float64 (n,), their exponents; -inf for a count of 0.
        rest: int32, the other rows below `n_sorted`, ascending.
        n_sorted: the number of items in the catalogue when the base was sorted.
        fresh: the counts of the items that were counted since then, in place of those of the base.
        fresh_items: int32 (m,), these items in the order of `items`.
        fresh_exponents: float64 (m,), their exponents.
        n_items: the number of items in the catalogue.
    """

    counts: FadingCounts
    items: NDArray[np.int32]
    exponents: NDArray[np.float64]
    rest: NDArray[np.int32]
    n_sorted: int
    fresh: FadingCounts
    fresh_items: NDArray[np.int32]
    fresh_exponents: NDArray[np.float64]
    n_items: int

    @classmethod
    def of(cls, counts: FadingCounts, n_items: int) -> Self:
        """Rank `n_items` items by their counts."""
        items, exponents = _sort(counts)
        return cls._based_on(counts, items, exponents, n_items)

    @classmethod
    def _based_on(
        cls, counts: FadingCounts, items: NDArray[np.int32], exponents: NDArray[np.float64], n_items: int
    ) -> Self:
        nothing = counts.among(counts.keys[:0])
        counted = np.zeros(n_items, np.bool_)
        counted[items] = True
        rest = np.flatnonzero(~counted).astype(np.int32)
        return cls(counts, items, exponents, rest, n_items, nothing, items[:0], exponents[:0], n_items)

    def with_events(self, events: FadingCounts, n_items: int) -> Self:
        """A copy, of `n_items` items, that also counts `events`; the base is shared."""
        known, newer = self.counts.among(events.keys), self.fresh.among(events.keys)
        fresh = self.fresh.with_counts(known.with_counts(newer).merge(events))
        fresh_items, fresh_exponents = _sort(fresh)
        copy = replace(self, fresh=fresh, fresh_items=fresh_items, fresh_exponents=fresh_exponents, n_items=n_items)
        return copy if fresh.keys.size <= max(LEAST_FRESH, isqrt(n_items)) else copy._merged()

    def whole(self) -> FadingCounts:
        """The counts of all items."""
        return self.counts.with_counts(self.fresh)

    def head(self, n: int, now: int, shard: Shard) -> RankedList:
        """The first items of a shard, with the scores of their counts as of `now`, in epoch seconds.

        These are at least `n` items, or all there are. A score below 2^-100 only tells the order of counts.
        """
        replaced = self.fresh.keys.astype(np.int32)
        base = self.items, self.exponents, self.rest, self.n_sorted
        return RankedList(
            *_head(
                n,
                self.counts.rate * now,
                *base,
                self.fresh_items,
                self.fresh_exponents,
                replaced,
                self.n_items,
                shard.rows,
                shard.n_items,
            )
        )

    def _merged(self) -> Self:
        """The same ranking, with everything in its base."""
        replaced = self.fresh.keys.astype(np.int32)
        merged = _merge(self.items, self.exponents, self.fresh_items, self.fresh_exponents, replaced)
        return self._based_on(self.whole(), *merged, self.n_items)


def _sort(counts: FadingCounts) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The items of counts and their exponents, by exponent, descending, then by row."""
    exponents = _exponents(counts.sums, counts.newest, counts.rate)
    order = np.argsort(-exponents, kind="stable")
    return counts.keys[order].astype(np.int32), exponents[order]


@kernel
def _exponents(sums: Array, newest: Array, rate: float) -> Array:
    """The base-2 logarithms of counts as of epoch second 0, float64 (n,); -inf where a count is 0."""
    exponents = np.empty(sums.size, np.float64)
    for place in range(sums.size):
        exponents[place] = np.log2(sums[place]) + rate * newest[place] if sums[place] > 0.0 else -np.inf
    return exponents


@kernel
def _merge(
    items: Array, exponents: Array, fresh_items: Array, fresh_exponents: Array, replaced: Array
) -> tuple[Array, Array]:
    """Two rankings by exponent merged; `items` that are in `replaced`, int32 ascending, are left out."""
    marks = marks_of(replaced)
    out_items = np.empty(items.size + fresh_items.size, np.int32)
    out_exponents = np.empty(out_items.size, np.float64)
    size, fresh = 0, 0
    for place in range(items.size):
        item, exponent = items[place], exponents[place]
        if is_marked(item, marks) and is_among(item, replaced):
            continue
        while fresh < fresh_items.size and precedes(fresh_exponents[fresh], fresh_items[fresh], exponent, item):
            out_items[size], out_exponents[size] = fresh_items[fresh], fresh_exponents[fresh]
            fresh += 1
            size += 1
        out_items[size], out_exponents[size] = item, exponent
        size += 1
    left = fresh_items.size - fresh
    out_items[size : size + left] = fresh_items[fresh:]
    out_exponents[size : size + left] = fresh_exponents[fresh:]
    return out_items[: size + left], out_exponents[: size + left]


@kernel
def _head(
    n: int,
    faded: float,
    items: Array,
    exponents: Array,
    rest: Array,
    n_sorted: int,
    fresh_items: Array,
    fresh_exponents: Array,
    replaced: Array,
    n_items: int,
    own: Array,
    n_split: int,
) -> tuple[Array, Array]:
    """The first items that are in `own`, int32 ascending, or not below `n_split`, and their scores; see `head`.

    A count has lost `faded` halvings since epoch second 0. The list ends where `n` items are reached and no other item
    has the score of the last.
    """
    marks = marks_of(replaced)
    out_items = np.empty(n_items, np.int32)
    out_scores = np.empty(n_items, np.float32)
    bits = out_scores.view(np.int32)
    one = np.empty(1, np.float32)
    one_bits = one.view(np.int32)
    score, last = np.float32(np.inf), np.inf
    size, place, fresh, falling = 0, 0, 0, 0
    full = False
    while place < items.size or fresh < fresh_items.size:
        if place < items.size and is_marked(items[place], marks) and is_among(items[place], replaced):
            place += 1
            continue
        if place == items.size or (
            fresh < fresh_items.size
            and precedes(fresh_exponents[fresh], fresh_items[fresh], exponents[place], items[place])
        ):
            item, exponent = fresh_items[fresh], fresh_exponents[fresh]
            fresh += 1
        else:
            item, exponent = items[place], exponents[place]
            place += 1
        if exponent == -np.inf:
            one[0] = TINY
        elif exponent - faded >= LOWEST:
            one[0] = np.exp2(min(exponent - faded, 127.0))
        else:
            falling += exponent != last
            one_bits[0] = LOWEST_BITS - falling
        last = exponent
        if one[0] < score:
            full = size >= n
            if full:
                break
            score = one[0]
        if item >= n_split or is_among(item, own):
            out_items[size], out_scores[size] = item, score
            size += 1
    if not full:
        size = _append_rest(n, out_items, out_scores, size, rest, n_sorted, marks, replaced, n_items, own, n_split)
    start = 0
    for stop in range(1, size + 1):
        if stop == size or bits[stop] != bits[start]:
            if stop - start > 1:
                out_items[start:stop] = np.sort(out_items[start:stop])
            start = stop
    return out_items[:size].copy(), out_scores[:size].copy()


@kernel
def _append_rest(
    n: int,
    out_items: Array,
    out_scores: Array,
    size: int,
    rest: Array,
    n_sorted: int,
    marks: Array,
    replaced: Array,
    n_items: int,
    own: Array,
    n_split: int,
) -> int:
    """Append items without a count to a list of `size` items until it has `n`, with scores of 0; returns its size."""
    for number in range(rest.size + n_items - n_sorted):
        if size >= n:
            break
        item = rest[number] if number < rest.size else n_sorted + number - rest.size
        if is_marked(item, marks) and is_among(item, replaced):
            continue
        if item >= n_split or is_among(item, own):
            out_items[size], out_scores[size] = item, 0.0
            size += 1
    return size
