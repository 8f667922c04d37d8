"""An inverted index over sets, scored by Jaccard overlap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of, take_runs
from multirecall.kernels import Array, kernel
from multirecall.storage import read_component, write_component
from multirecall.sums import Sums

from .terms import TermCounts


@dataclass(frozen=True, slots=True)
class SetIndex:
    """The set of terms of each item, and the postings of each term.

    Attributes:
        set_offsets: int64 (n_items + 1,), the CSR offsets of the sets.
        set_terms: int32 (n,), the terms of each set; empty where only sizes are needed.
        posting_offsets: int64 (n_terms + 1,), the CSR offsets of the postings.
        posting_items: int32 (n,), the items that hold each term.
    """

    set_offsets: NDArray[np.int64]
    set_terms: NDArray[np.int32]
    posting_offsets: NDArray[np.int64]
    posting_items: NDArray[np.int32]

    @classmethod
    def of(cls, counts: TermCounts, n_terms: int, n_items: int) -> SetIndex:
        """Index the sets of terms of all items."""
        by_item = np.argsort(counts.items, kind="stable")
        by_term = np.argsort(counts.terms, kind="stable")
        return cls(
            offsets_of(np.bincount(counts.items, minlength=n_items)),
            counts.terms[by_item],
            offsets_of(np.bincount(counts.terms, minlength=n_terms)),
            counts.items[by_term],
        )

    def add_similar(self, items: NDArray[np.int32], weights: NDArray[np.float32], sums: Sums) -> None:
        """Add `Σ_h weight_h · |T_h ∩ T_i| / |T_h ∪ T_i|` to the sum of each item `i`, in place; `h` are `items`."""
        offsets, places = take_runs(self.set_offsets, items)
        self.add_sets(offsets, self.set_terms[places], weights, sums)

    def add_sets(
        self, offsets: NDArray[np.int64], terms: NDArray[np.int32], weights: NDArray[np.float32], sums: Sums
    ) -> None:
        """As `add_similar`, for sets that are given, as CSR."""
        self._add(offsets, terms, np.diff(offsets), weights, sums)

    def add_overlap(self, terms: NDArray[np.int32], size: int, weight: float, sums: Sums) -> None:
        """Add the weighted overlap with one set of `size` terms, of which `terms` are known, to `sums`, in place."""
        self._add(np.array([0, terms.size]), terms, np.array([size]), np.array([weight], np.float32), sums)

    def of_some(self, items: NDArray[np.int32]) -> SetIndex:
        """The postings of some of the items, int32 (n,), ascending, numbered by their position there, without sets."""
        sizes = np.diff(self.set_offsets)
        places = np.full(sizes.size, -1, np.int32)
        places[items] = np.arange(items.size, dtype=np.int32)
        holders = places[self.posting_items]
        kept = holders >= 0
        offsets = offsets_of(kept.view(np.int8))[self.posting_offsets]
        return SetIndex(offsets_of(sizes[items]), self.set_terms[:0], offsets, holders[kept])

    def save(self, folder: Path) -> None:
        """Write it into `folder`."""
        write_component(folder, {name: getattr(self, name) for name in self.__slots__}, {})

    @classmethod
    def load(cls, folder: Path) -> SetIndex:
        """Read what `save` wrote."""
        return cls(**read_component(folder)[0])

    def _add(
        self,
        offsets: NDArray[np.int64],
        terms: NDArray[np.int32],
        sizes: NDArray[np.int64],
        weights: NDArray[np.float32],
        sums: Sums,
    ) -> None:
        sums.size = _add_overlaps(
            offsets,
            terms,
            sizes,
            weights,
            self.set_offsets,
            self.posting_offsets,
            self.posting_items,
            sums.totals,
            sums.touched,
            sums.size,
        )


@kernel
def _add_overlaps(
    query_offsets: Array,
    query_terms: Array,
    query_sizes: Array,
    weights: Array,
    set_offsets: Array,
    posting_offsets: Array,
    posting_items: Array,
    totals: Array,
    touched: Array,
    size: int,
) -> int:
    """Count, for each query set, the terms that items share with it; then add the weighted Jaccard overlap, in place.

    Returns the new `size` of the accumulator, see `Sums`.
    """
    shared = np.zeros(set_offsets.size - 1, np.int32)
    holders = np.empty(set_offsets.size - 1, np.int32)
    for query in range(query_sizes.size):
        n_holders = 0
        for position in range(query_offsets[query], query_offsets[query + 1]):
            term = query_terms[position]
            for entry in range(posting_offsets[term], posting_offsets[term + 1]):
                item = posting_items[entry]
                if shared[item] == 0:
                    holders[n_holders] = item
                    n_holders += 1
                shared[item] += 1
        for position in range(n_holders):
            item = holders[position]
            union = query_sizes[query] + set_offsets[item + 1] - set_offsets[item] - shared[item]
            if size == touched.size:
                size = -1
            if size >= 0 and totals[item] == 0.0:
                touched[size] = item
                size += 1
            totals[item] += np.float32(weights[query] * shared[item] / union)
            shared[item] = 0
    return size
