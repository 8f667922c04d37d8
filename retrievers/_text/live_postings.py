"""Postings that take new and changed items without being rebuilt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import take_runs
from multirecall.lists import RankedList
from multirecall.query import Filter
from multirecall.storage import read_component, write_component
from multirecall.sums import Sums
from multirecall.topk import ALL_ALLOWED, NO_ROWS, top_k

from .._sparse.rows import SparseRows
from .postings import FieldTerms, Postings, Statistics

MERGED_FROM = 0.1
"""The share of changed items above which compaction merges base and overlay: trades the time of a change against that
of a search, which reads both."""


@dataclass(frozen=True, slots=True)
class LiveProfiles:
    """The weight of each term in the profile of each item, item × term, with an overlay for changed items.

    Attributes:
        base: the weights of all items when it was built.
        overlay: those of the changed items, numbered by their position in `changed`.
        changed: item rows, int32, sorted; their entries in the base are ignored.
    """

    base: SparseRows
    overlay: SparseRows
    changed: NDArray[np.int32]

    def sum_of(self, items: NDArray[np.int32], weights: NDArray[np.float32]) -> Sums:
        """The sum of the terms of weighted items, in the order of `items`; the caller gives its memory back."""
        sums = Sums(self.base.n_columns)
        if not self.changed.size:
            self.base.add(items, weights, sums)
            return sums
        places = np.searchsorted(self.changed, items)
        is_changed = self.changed[np.minimum(places, self.changed.size - 1)] == items
        for run in np.split(np.arange(items.size), np.flatnonzero(np.diff(is_changed)) + 1):
            if run.size and is_changed[run[0]]:
                self.overlay.add(places[run].astype(np.int32), weights[run], sums)
            elif run.size:
                self.base.add(items[run], weights[run], sums)
        return sums

    def merge(self, n_items: int) -> Self:
        """The same profiles, of `n_items` items, without an overlay."""
        parts = self.base, self.overlay
        offsets, places = _merged_runs(*parts, self.changed, n_items)
        columns, values = (
            np.concatenate([getattr(part, name) for part in parts])[places] for name in ("columns", "values")
        )
        base = SparseRows(offsets, columns, values, self.base.n_columns)
        nothing = SparseRows(np.zeros(1, np.int64), columns[:0], values[:0], self.base.n_columns)
        return type(self)(base, nothing, NO_ROWS)


@dataclass(frozen=True, slots=True)
class LivePostings:
    """A large index, and a small overlay for the items that are new or have changed since the large one was built.

    Attributes:
        base: the large index.
        overlay: the index of the changed items, numbered by their position in `changed`.
        changed: item rows, int32, sorted; their entries in the base are ignored.
        n_items: the number of items in the catalogue.
    """

    base: Postings
    overlay: Postings
    changed: NDArray[np.int32]
    n_items: int

    @classmethod
    def of(cls, base: Postings) -> Self:
        """The index `base` with an empty overlay."""
        none = np.empty(0, np.float32)
        nothing = Postings.of_items(base.statistics, np.zeros(1, np.int64), NO_ROWS, none, none)
        return cls(base, nothing, NO_ROWS, base.n_items)

    def with_changes(
        self, changed: NDArray[np.int32], fields: Sequence[FieldTerms], n_items: int, k1: float, *, merge: bool = False
    ) -> Self:
        """A copy in which the changed items have the given terms.

        Args:
            changed: int32, sorted rows of all items that have changed since `base` was built.
            fields: the terms of these items, numbered by their position in `changed`.
            n_items: the number of items in the catalogue.
            k1: the parameter of BM25.
            merge: whether to compact at once, however few items have changed.
        """
        overlay = Postings.under(self.base.statistics, fields, changed.size, k1)
        live = type(self)(self.base, overlay, changed, n_items)
        return type(self).of(live.merge()) if merge or changed.size > MERGED_FROM * n_items else live

    def merge(self) -> Postings:
        """One index of all items, with the same statistics."""
        parts = self.base.profiles, self.overlay.profiles
        offsets, places = _merged_runs(*parts, self.changed, self.n_items)
        return Postings.of_items(
            self.base.statistics,
            offsets,
            np.concatenate([part.columns for part in parts])[places],
            np.concatenate([self.base.item_impacts.values, self.overlay.item_impacts.values])[places],
            np.concatenate([part.values for part in parts])[places],
        )

    def profile(
        self, items: NDArray[np.int32], weights: NDArray[np.float32], n_terms: int, n_postings: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `Postings.profile`; the terms of items are summed in the order of `items`, from either index."""
        profiles = LiveProfiles(self.base.profiles, self.overlay.profiles, self.changed)
        return self.base.statistics.heaviest(profiles.sum_of(items, weights), n_terms, n_postings)

    def search(
        self,
        terms: NDArray[np.int32],
        weights: NDArray[np.float32],
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `Postings.search`; `terms` and `weights` may be in any order."""
        terms, weights = self.base.order(terms, weights)
        n_base = self.base.n_items
        if not self.changed.size:
            return self.base.search(terms, weights, k, exclude, allowed)
        gone = np.concatenate([exclude, self.changed])
        items, scores = self.base.search(terms, weights, k, gone, allowed[:n_base])
        places = np.flatnonzero(np.isin(self.changed, exclude)).astype(np.int32)
        own_allowed = allowed[self.changed] if allowed.size else ALL_ALLOWED
        places, own_scores = self.overlay.search(terms, weights, k, places, own_allowed)
        both = np.concatenate([items, self.changed[places]]), np.concatenate([scores, own_scores])
        found: tuple[NDArray[np.int32], NDArray[np.float32]] = top_k(*both, k)
        return found

    def top(self, sums: Sums, k: int, one: Filter) -> RankedList:
        """The best `k` items of sums over the items of `base`, under a filter; gives the memory of `sums` back."""
        return RankedList(*sums.top_among(k, *one))

    def save(self, folder: Path) -> None:
        """Write the index into `folder`."""
        write_component(folder / "statistics", self.base.statistics.arrays(), {"n_items": self.n_items})
        write_component(folder / "base", self.base.arrays(), {})
        write_component(folder / "overlay", {**self.overlay.arrays(), "changed": self.changed}, {})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the index that `save` wrote."""
        arrays, meta = read_component(folder / "statistics")
        statistics = Statistics(**arrays)
        base, _ = read_component(folder / "base")
        overlay, _ = read_component(folder / "overlay")
        changed = overlay.pop("changed")
        large, small = Postings.of_arrays(statistics, base), Postings.of_arrays(statistics, overlay)
        return cls(large, small, changed, meta["n_items"])


def _merged_runs(
    base: SparseRows, overlay: SparseRows, changed: NDArray[np.int32], n_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of a base of which an overlay replaces some: their offsets, and where entries stand in both together."""
    n_base = base.offsets.size - 1
    rows = np.full(n_items, -1, np.int64)
    rows[:n_base] = np.arange(n_base)
    rows[changed] = n_base + np.arange(changed.size)
    return take_runs(np.concatenate([base.offsets, base.offsets[-1] + overlay.offsets[1:]]), rows)
