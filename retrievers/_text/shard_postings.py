"""The postings of the items of one shard, with the profiles of all items."""

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
from multirecall.topk import ALL_ALLOWED, NO_ROWS

from .._shard import Shard
from .._sparse.rows import SparseRows
from .jaccard import SetIndex
from .live_postings import MERGED_FROM, LivePostings, LiveProfiles
from .postings import FieldTerms, Postings


@dataclass(frozen=True, slots=True)
class ShardPostings:
    """A part of a `LivePostings`, with its interface.

    Attributes:
        profiles: the profiles of all items, since a history holds any.
        own: the index of the shard's items, numbered by their places in it.
        shard: these items.
    """

    profiles: LiveProfiles
    own: LivePostings
    shard: Shard

    @classmethod
    def of(cls, index: LivePostings, shard: Shard) -> Self:
        """The part of `index` that has the items of `shard`."""
        whole = index.merge() if index.changed.size else index.base
        own = LivePostings.of(whole.of_some(shard.rows))
        return cls(LiveProfiles(whole.profiles, own.overlay.profiles, NO_ROWS), own, shard)

    @property
    def base(self) -> Postings:
        """The large index of the shard's items."""
        return self.own.base

    @property
    def changed(self) -> NDArray[np.int32]:
        """Item rows, int32, sorted, that have changed since the last compaction."""
        return self.profiles.changed

    def with_changes(
        self, changed: NDArray[np.int32], fields: Sequence[FieldTerms], n_items: int, k1: float, *, merge: bool = False
    ) -> Self:
        """See `LivePostings.with_changes`."""
        overlay = Postings.under(self.base.statistics, fields, changed.size, k1)
        places = self.shard.places(changed)
        held = places >= 0
        own = LivePostings(self.base, overlay.of_some(np.flatnonzero(held)), places[held], self.shard.count(n_items))
        profiles = LiveProfiles(self.profiles.base, overlay.profiles, changed)
        if merge or changed.size > MERGED_FROM * n_items:
            own, profiles = LivePostings.of(own.merge()), profiles.merge(n_items)
        return type(self)(profiles, own, self.shard)

    def profile(
        self, items: NDArray[np.int32], weights: NDArray[np.float32], n_terms: int, n_postings: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `LivePostings.profile`."""
        return self.base.statistics.heaviest(self.profiles.sum_of(items, weights), n_terms, n_postings)

    def search(
        self,
        terms: NDArray[np.int32],
        weights: NDArray[np.float32],
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `LivePostings.search`."""
        places, scores = self.own.search(terms, weights, k, *self.shard.localise((exclude, allowed)))
        return self.shard.items(places), scores

    def top(self, sums: Sums, k: int, one: Filter) -> RankedList:
        """See `LivePostings.top`."""
        places, scores = sums.top_among(k, *self.shard.localise(one))
        return RankedList(self.shard.items(places), scores)

    def save(self, folder: Path) -> None:
        """Write the index into `folder`."""
        self.own.save(folder)
        write_component(folder / "profiles", self.profiles.base.arrays(), {})
        changed = {"changed": self.profiles.changed, **self.profiles.overlay.arrays()}
        write_component(folder / "changed-profiles", changed, {})
        self.shard.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the index that `save` wrote."""
        own = LivePostings.load(folder)
        n_terms = own.base.profiles.n_columns
        base, _ = read_component(folder / "profiles")
        overlay, _ = read_component(folder / "changed-profiles")
        changed = overlay.pop("changed")
        profiles = LiveProfiles(SparseRows.of_arrays(base, n_terms), SparseRows.of_arrays(overlay, n_terms), changed)
        return cls(profiles, own, Shard.load(folder))


@dataclass(frozen=True, slots=True)
class ShardSets:
    """A part of a `SetIndex`, which adds to sums over the places of the shard's items.

    Attributes:
        offsets, terms: the sets of all items, since a history holds any; see `SetIndex`.
        own: the postings of the shard's items, numbered by their places in it.
    """

    offsets: NDArray[np.int64]
    terms: NDArray[np.int32]
    own: SetIndex

    @classmethod
    def of(cls, index: SetIndex, shard: Shard) -> Self:
        """The part of `index` that has the items of `shard`."""
        own = index.of_some(shard.among(index.set_offsets.size - 1))
        return cls(index.set_offsets, index.set_terms, own)

    def add_similar(self, items: NDArray[np.int32], weights: NDArray[np.float32], sums: Sums) -> None:
        """See `SetIndex.add_similar`."""
        offsets, places = take_runs(self.offsets, items)
        self.own.add_sets(offsets, self.terms[places], weights, sums)

    def add_overlap(self, terms: NDArray[np.int32], size: int, weight: float, sums: Sums) -> None:
        """See `SetIndex.add_overlap`."""
        self.own.add_overlap(terms, size, weight, sums)

    def save(self, folder: Path) -> None:
        """Write it into `folder`, what all parts have alike into one below it."""
        self.own.save(folder)
        write_component(folder / "all", {"offsets": self.offsets, "terms": self.terms}, {})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**read_component(folder / "all")[0], own=SetIndex.load(folder))
