"""Flat posting arrays with BM25 scores computed at indexing time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import offsets_of

from ._gather import SparseRows, Sums
from ._terms import TermCounts

FieldCounts = tuple[TermCounts, int, float, float]
"""The terms of a field, its first term's number, its weight, and its length discount `b`."""


@dataclass(frozen=True, slots=True)
class Postings:
    """An inverted index and its transpose.

    Attributes:
        impacts: term × item, the BM25 score that a term adds to an item.
        profiles: item × term, `count · idf`, the weight of a term in an item's profile.
    """

    impacts: SparseRows
    profiles: SparseRows

    @property
    def n_items(self) -> int:
        """Items of the index, with or without terms."""
        return self.impacts.n_columns

    @classmethod
    def of(cls, fields: Sequence[FieldCounts], n_terms: int, n_items: int, k1: float) -> Postings:
        """Index the terms of several fields, each with lengths and frequencies of its own."""
        nothing = np.empty(0, np.int32)
        items = np.concatenate([nothing, *(counts.items for counts, _, _, _ in fields)])
        terms = np.concatenate([nothing, *(counts.terms + np.int32(first) for counts, first, _, _ in fields)])
        scored = [_bm25(counts, n_items, k1, discount) for counts, _, _, discount in fields]
        weights = [weight for _, _, weight, _ in fields]
        empty = np.empty(0, np.float32)
        impacts = [weight * impact for weight, (impact, _) in zip(weights, scored, strict=True)]
        return cls(
            _rows(terms, items, np.concatenate([empty, *impacts]), n_terms, n_items),
            _rows(items, terms, np.concatenate([empty, *(profile for _, profile in scored)]), n_items, n_terms),
        )

    def profile(
        self, items: NDArray[np.int32], weights: NDArray[np.float32], n_terms: int, n_postings: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The heaviest terms of weighted items, and their weights.

        At most `n_terms`, and no more once they have `n_postings` postings; the heaviest one is always there.
        """
        sums = Sums(self.profiles.n_columns)
        self.profiles.add(items, weights, sums)
        terms, term_weights = sums.top(n_terms)
        n_kept = self.impacts.affordable(terms, n_postings)
        return terms[:n_kept], term_weights[:n_kept]


def _bm25(counts: TermCounts, n_items: int, k1: float, b: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The BM25 score of each posting, and `count · idf`; Robertson & Zaragoza (2009), equation 3.15.

    `idf · count · (k1 + 1) / (count + k1 · (1 - b + b · length / mean length))`.
    """
    lengths = np.bincount(counts.items, counts.counts, minlength=n_items)
    holders = np.bincount(counts.terms)[counts.terms]
    idf = np.log1p((n_items - holders + 0.5) / (holders + 0.5))
    mean = lengths.mean() or 1.0
    saturation = counts.counts + k1 * (1 - b + b * lengths[counts.items] / mean)
    impact = idf * counts.counts * (k1 + 1) / saturation
    return impact.astype(np.float32), (idf * counts.counts).astype(np.float32)


def _rows(
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    n_rows: int,
    n_columns: int,
) -> SparseRows:
    order = np.argsort(rows, kind="stable")
    offsets = offsets_of(np.bincount(rows, minlength=n_rows))
    return SparseRows(offsets, columns[order], values[order], n_columns)
