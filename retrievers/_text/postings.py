"""An inverted index as flat arrays, with BM25 scores that are computed when it is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import take_runs
from multirecall.kernels import Array, kernel
from multirecall.sums import Sums
from multirecall.topk import ALL_ALLOWED, NO_ROWS

from .._sparse.rows import Arrays, SparseRows
from .columns import NO_CODE, length_of, place_of
from .maxscore import TRACKED, in_order, search_maxscore
from .terms import TermCounts


class FieldTerms(NamedTuple):
    """The terms of a field to index.

    Attributes:
        counts: the count of each term in each item.
        n_terms: the number of terms of the field.
        weight: the factor on scores of the field, ≥ 0.
        b: the discount of long values in BM25, 0 … 1.
        single: whether an item holds at most one term of the field.
    """

    counts: TermCounts
    n_terms: int
    weight: float
    b: float
    single: bool


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics of the whole catalogue that BM25 uses; fixed at a fit.

    Attributes:
        idf: float64 (n_terms,), `ln(1 + (N - n + .5) / (n + .5))`.
        holders: int64 (n_terms,), the number of items that hold each term.
        limits: float32 (n_terms,), the upper bound of a term's score, for any count.
        groups: int32 (n_terms,), the number of the term's field if an item holds at most one of its terms, else -1.
        first_terms: int64 (n_fields + 1,), the terms of field `f` are `first_terms[f] … first_terms[f + 1] - 1`.
        mean_lengths: float64 (n_fields,), the mean number of terms of an item in each field, repetitions included.
    """

    idf: NDArray[np.float64]
    holders: NDArray[np.int64]
    limits: NDArray[np.float32]
    groups: NDArray[np.int32]
    first_terms: NDArray[np.int64]
    mean_lengths: NDArray[np.float64]

    @classmethod
    def of(cls, indexed: Sequence[FieldTerms], n_items: int, k1: float) -> Self:
        """Compute the statistics of the fields of `n_items` items."""
        sizes = [one.n_terms for one in indexed]
        nothing = np.empty(0, np.int64)
        holders = np.concatenate([nothing, *(np.bincount(one.counts.terms, minlength=one.n_terms) for one in indexed)])
        idf = np.log1p((n_items - holders + 0.5) / (holders + 0.5))
        weights = np.repeat([one.weight for one in indexed], sizes)
        groups = np.repeat([number if one.single else -1 for number, one in enumerate(indexed)], sizes)
        means = np.array([one.counts.counts.sum(dtype=np.float64) / max(n_items, 1) for one in indexed])
        return cls(
            idf,
            holders,
            (weights * idf * (k1 + 1)).astype(np.float32),
            groups.astype(np.int32),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.where(means > 0, means, 1.0),
        )

    def arrays(self) -> Arrays:
        """The attributes by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def heaviest(self, sums: Sums, n_terms: int, n_postings: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The at most `n_terms` terms of largest sum, and their sums, with at most `n_postings` postings together.

        The first term is always returned. Gives the memory of `sums` back.
        """
        terms, weights = sums.top(n_terms)
        n_kept = max(1, int(np.searchsorted(np.cumsum(self.holders[terms]), n_postings, side="right")))
        return terms[:n_kept], weights[:n_kept]


class Columns(NamedTuple):
    """The terms of groups of few terms, stored by item; for the attributes see `search_maxscore`."""

    columns: NDArray[np.int32]
    firsts: NDArray[np.int32]
    codes: NDArray[np.uint8]

    @classmethod
    def of(cls, offsets: NDArray[np.int64], terms: NDArray[np.int32], statistics: Statistics) -> Self:
        """Build the columns from the terms of each item, given as CSR."""
        starts, sizes = statistics.first_terms[:-1], np.diff(statistics.first_terms)
        coded = (sizes > 0) & (sizes <= NO_CODE)
        coded[coded] = statistics.groups[starts[coded]] >= 0
        columns = np.repeat(np.where(coded, np.cumsum(coded) - 1, -1), sizes).astype(np.int32)
        firsts = starts[coded].astype(np.int32)
        return cls(columns, firsts, _codes(offsets, terms, columns, firsts))


@dataclass(frozen=True, slots=True)
class Postings:
    """An inverted index and its transpose.

    Attributes:
        statistics: the statistics of the fit.
        impacts: term × item, the BM25 score that a term adds to an item, > 0 unless the weight of the field is 0.
        profiles: item × term, `count · idf`, the weight of a term in an item's profile.
        item_impacts: the transpose of `impacts`; shares `offsets` and `columns` with `profiles`.
        peaks: float32 (n_terms,), the largest score in each row of `impacts`.
        columns: the terms of groups of few terms, stored by item.
    """

    statistics: Statistics
    impacts: SparseRows
    profiles: SparseRows
    item_impacts: SparseRows
    peaks: NDArray[np.float32]
    columns: Columns

    @property
    def n_items(self) -> int:
        """The number of items of the index, with or without terms."""
        return self.impacts.n_columns

    @classmethod
    def of(cls, fields: Sequence[FieldTerms], n_items: int, k1: float) -> Self:
        """Index the terms of several fields; lengths and frequencies are counted in each field on its own."""
        return cls.under(Statistics.of(fields, n_items, k1), fields, n_items, k1)

    @classmethod
    def under(cls, statistics: Statistics, fields: Sequence[FieldTerms], n_items: int, k1: float) -> Self:
        """Index the terms of several fields with given statistics, such as those of an earlier fit."""
        return cls.of_items(statistics, *score_terms(statistics, fields, n_items, k1))

    @classmethod
    def of_items(
        cls,
        statistics: Statistics,
        offsets: NDArray[np.int64],
        terms: NDArray[np.int32],
        scores: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> Self:
        """Build the index from the terms of each item, as CSR, with their scores and their weights in a profile."""
        n_terms, n_items = statistics.idf.size, offsets.size - 1
        impacts = SparseRows(*_transpose(offsets, terms, scores, n_terms), n_items)
        return cls(
            statistics,
            impacts,
            SparseRows(offsets, terms, weights, n_terms),
            SparseRows(offsets, terms, scores, n_terms),
            _peaks(impacts.offsets, impacts.values),
            Columns.of(offsets, terms, statistics),
        )

    def of_some(self, items: NDArray[np.integer]) -> Self:
        """The index of some of the items, int (n,), which are numbered by their position there."""
        offsets, places = take_runs(self.profiles.offsets, items)
        return self.of_items(
            self.statistics,
            offsets,
            self.profiles.columns[places],
            self.item_impacts.values[places],
            self.profiles.values[places],
        )

    def arrays(self) -> Arrays:
        """The arrays from which `of_arrays` restores the index, together with the statistics."""
        return {
            **self.impacts.arrays(),
            "peaks": self.peaks,
            "item_offsets": self.profiles.offsets,
            "item_terms": self.profiles.columns,
            "item_scores": self.item_impacts.values,
            "item_weights": self.profiles.values,
        }

    @classmethod
    def of_arrays(cls, statistics: Statistics, arrays: Arrays) -> Self:
        """The index whose `arrays()` are given."""
        by_item = arrays["item_offsets"], arrays["item_terms"]
        n_terms, n_items = statistics.idf.size, by_item[0].size - 1
        return cls(
            statistics,
            SparseRows.of_arrays(arrays, n_items),
            SparseRows(*by_item, arrays["item_weights"], n_terms),
            SparseRows(*by_item, arrays["item_scores"], n_terms),
            arrays["peaks"],
            Columns.of(*by_item, statistics),
        )

    def profile(
        self, items: NDArray[np.int32], weights: NDArray[np.float32], n_terms: int, n_postings: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The terms of largest weight in the profile of weighted items, int32, and their weights, float32.

        At most `n_terms` terms with at most `n_postings` postings together; the first term is always returned.
        """
        sums = Sums(self.profiles.n_columns)
        self.profiles.add(items, weights, sums)
        return self.statistics.heaviest(sums, n_terms, n_postings)

    def order(
        self, terms: NDArray[np.int32], weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Sort distinct terms and their weights into the order in which scores are summed, see `in_order`."""
        found: tuple[NDArray[np.int32], NDArray[np.float32]] = in_order(
            terms, weights, self.statistics.limits, self.columns.columns
        )
        return found

    def search(
        self,
        terms: NDArray[np.int32],
        weights: NDArray[np.float32],
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The `k` best items by `Σ weight · score`, int32, and their scores, float32.

        `terms` and `weights` are a result of `order`; `exclude` and `allowed` are as in `topk.top_eligible`. The result
        equals that of `impacts.add` and `Sums.top_among` to the bit, without reading postings that cannot matter.
        """
        sums = Sums(self.n_items)
        impacts, items = self.impacts, self.item_impacts
        found: tuple[NDArray[np.int32], NDArray[np.float32]] = search_maxscore(
            terms,
            weights,
            self.peaks,
            self.statistics.groups,
            impacts.offsets,
            impacts.columns,
            impacts.values,
            items.offsets,
            items.columns,
            items.values,
            *self.columns,
            sums.totals,
            sums.touched[: self.n_items // TRACKED],
            k,
            exclude,
            allowed,
        )
        sums.release()
        return found


def score_terms(
    statistics: Statistics, fields: Sequence[FieldTerms], n_items: int, k1: float
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """The terms of each item as CSR: offsets, terms, their BM25 scores and their weights in the item's profile."""
    size = sum(one.counts.items.size for one in fields)
    offsets = np.zeros(n_items + 1, np.int64)
    for one in fields:
        offsets[1:] += np.bincount(one.counts.items, minlength=n_items)
    np.cumsum(offsets, out=offsets)
    terms, scores, weights = np.empty(size, np.int32), np.empty(size, np.float32), np.empty(size, np.float32)
    places = offsets[:-1].copy()
    for number, one in enumerate(fields):
        lengths = np.bincount(one.counts.items, one.counts.counts, minlength=n_items)
        _score(
            one.counts.items,
            one.counts.terms,
            one.counts.counts,
            int(statistics.first_terms[number]),
            statistics.idf,
            lengths / statistics.mean_lengths[number],
            k1,
            one.b,
            one.weight,
            places,
            terms,
            scores,
            weights,
        )
    return offsets, terms, scores, weights


@kernel
def _score(
    items: Array,
    terms: Array,
    counts: Array,
    first_term: int,
    idf: Array,
    lengths: Array,
    k1: float,
    b: float,
    weight: float,
    places: Array,
    item_terms: Array,
    scores: Array,
    weights: Array,
) -> None:
    """Write the terms of a field, their BM25 scores and `count · idf` into the arrays of all items, in place.

    `places` holds the next free position of each item and is advanced. The score is that of Robertson & Zaragoza
    (2009), equation 3.15: `idf · count · (k1 + 1) / (count + k1 · (1 - b + b · length))`, with lengths in units of
    their mean.
    """
    for position in range(items.size):
        item, count = items[position], counts[position]
        term = terms[position] + first_term
        saturation = count + k1 * (1 - b + b * lengths[item])
        place = places[item]
        places[item] = place + 1
        item_terms[place] = term
        scores[place] = weight * idf[term] * count * (k1 + 1) / saturation
        weights[place] = idf[term] * count


@kernel
def _transpose(offsets: Array, columns: Array, values: Array, n_columns: int) -> tuple[Array, Array, Array]:
    """The transpose of a sparse matrix: its offsets, its columns, which ascend in each row, and its values."""
    turned = np.zeros(n_columns + 1, np.int64)
    for column in columns:
        turned[column + 1] += 1
    for column in range(n_columns):
        turned[column + 1] += turned[column]
    places = turned[:-1].copy()
    rows = np.empty(columns.size, np.int32)
    moved = np.empty(columns.size, np.float32)
    for row in range(offsets.size - 1):
        for entry in range(offsets[row], offsets[row + 1]):
            place = places[columns[entry]]
            places[columns[entry]] = place + 1
            rows[place] = row
            moved[place] = values[entry]
    return turned, rows, moved


@kernel
def _peaks(offsets: Array, values: Array) -> Array:
    peaks = np.zeros(offsets.size - 1, np.float32)
    for row in range(peaks.size):
        for entry in range(offsets[row], offsets[row + 1]):
            peaks[row] = max(peaks[row], values[entry])
    return peaks


@kernel
def _codes(offsets: Array, terms: Array, columns: Array, firsts: Array) -> Array:
    codes = np.full((firsts.size, length_of(offsets.size - 1)), NO_CODE, np.uint8)
    for item in range(offsets.size - 1):
        for entry in range(offsets[item], offsets[item + 1]):
            column = columns[terms[entry]]
            if column >= 0:
                codes[column, place_of(item)] = terms[entry] - firsts[column]
    return codes
