"""A sparse matrix by rows that takes changes without being built anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.csr import offsets_of
from multirecall.sums import Sums

from .patch_kernels import add_patched, entries_at, joined_rows, kept_entries
from .rows import Arrays, SparseRows

NOTHING = np.empty(0, np.int64), np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class PatchedRows:
    """A base and a patch, whose entries stand in place of those of the base, or beside them.

    Sums add up in the order in which those of a matrix that is built anew do, and so to the same bits. Once as much
    work went into patches as joining them with the base takes, they are joined: a change of `m` entries costs
    O(m + sqrt(m · entries)) over time, and O(rows).

    Attributes:
        base: columns ascending within a row.
        places: int64 (n,), row · 2³² + column of each entry of the patch, ascending.
        values: float32 (n,), those entries.
        runs: int32 (n_rows,), which run of the patch a row has, -1 for none.
        offsets: int64 (n_runs + 1,), where the entries of each run begin.
        longest: most entries of a run.
        lengths: int32 (n_rows,), how many entries a row has in all.
        n_columns: columns of the matrix.
        work: entries of all patches since the last join.
    """

    base: SparseRows
    places: NDArray[np.int64]
    values: NDArray[np.float32]
    runs: NDArray[np.int32]
    offsets: NDArray[np.int64]
    longest: int
    lengths: NDArray[np.int32]
    n_columns: int
    work: int

    def __post_init__(self) -> None:
        _compile()

    @classmethod
    def of(cls, base: SparseRows) -> PatchedRows:
        """The rows of `base`, without a patch."""
        lengths = np.diff(base.offsets).astype(np.int32)
        runs = np.full(lengths.size, -1, np.int32)
        return cls(base, *NOTHING, runs, np.zeros(1, np.int64), 0, lengths, base.n_columns, 0)

    @classmethod
    def sorted(cls, rows: SparseRows) -> PatchedRows:
        """The same of rows whose columns stand in any order."""
        shape = rows.offsets.size - 1, rows.n_columns
        matrix = csr_array((rows.values, rows.columns, rows.offsets), shape=shape, copy=True)
        matrix.sort_indices()
        return cls.of(SparseRows.of_matrix(matrix))

    @property
    def n_rows(self) -> int:
        """Rows of the matrix."""
        return self.lengths.size

    def add(self, rows: NDArray[np.int32], weights: NDArray[np.float32], sums: Sums) -> None:
        """Add `Σ weight · row` to `sums`; weights ≥ 0."""
        sums.size = add_patched(
            rows,
            weights,
            self.lengths,
            self.base.offsets,
            self.base.columns,
            self.base.values,
            self.runs,
            self.offsets,
            self.longest,
            self.places,
            self.values,
            sums.totals,
            sums.touched,
            sums.size,
        )

    def affordable(self, rows: NDArray[np.int32], n_entries: int) -> int:
        """How many of the first `rows` have `n_entries` entries or fewer together, but at least one."""
        entries = np.cumsum(self.lengths[rows], dtype=np.int64)
        return max(1, int(np.searchsorted(entries, n_entries, side="right")))

    def at(self, rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.float32]:
        """The entries at these places, NaN where there is none."""
        return entries_at(
            rows, columns, self.base.offsets, self.base.columns, self.base.values, self.places, self.values
        )

    def patched(
        self,
        rows: NDArray[np.int32],
        columns: NDArray[np.int32],
        values: NDArray[np.float32],
        n_rows: int,
        n_columns: int,
    ) -> PatchedRows:
        """The matrix of this size with these entries, in any order but each place once; the base is shared."""
        added = rows[np.isnan(self.at(rows, columns))]
        lengths = np.zeros(n_rows, np.int32)
        lengths[: self.n_rows] = self.lengths
        np.add.at(lengths, added, 1)
        places, kept = _joined(self.places, self.values, rows.astype(np.int64) << 32 | columns, values)
        runs, offsets = _runs(places, n_rows)
        work = self.work + places.size
        patched = replace(
            self,
            places=places,
            values=kept,
            runs=runs,
            offsets=offsets,
            longest=int(np.diff(offsets).max(initial=0)),
            lengths=lengths,
            n_columns=n_columns,
            work=work,
        )
        return PatchedRows.of(patched.joined()) if work > self.base.columns.size else patched

    def without(self, items: NDArray[np.int32]) -> PatchedRows:
        """The matrix without the entries of these rows and columns; what they leave is joined."""
        whole = self.joined()
        gone = np.zeros(max(self.n_rows, self.n_columns), np.bool_)
        gone[items] = True
        return PatchedRows.of(
            SparseRows(*kept_entries(whole.offsets, whole.columns, whole.values, gone), self.n_columns)
        )

    def sums(self) -> NDArray[np.float64]:
        """The sum of each row, (n_rows,)."""
        values = self.joined().values
        return np.bincount(np.repeat(np.arange(self.n_rows), self.lengths), values, self.n_rows).astype(np.float64)

    def scaled(self, factor: float) -> PatchedRows:
        """The matrix times `factor`, joined."""
        whole = self.joined()
        return PatchedRows.of(replace(whole, values=whole.values * np.float32(factor)))

    def joined(self) -> SparseRows:
        """Base and patch as one."""
        if not self.places.size and self.n_rows == self.base.offsets.size - 1:
            return replace(self.base, n_columns=self.n_columns)
        offsets = offsets_of(self.lengths)
        arrays = joined_rows(
            offsets,
            self.base.offsets,
            self.base.columns,
            self.base.values,
            self.runs,
            self.offsets,
            self.places,
            self.values,
        )
        return SparseRows(offsets, *arrays, self.n_columns)

    def arrays(self) -> Arrays:
        """What `of_arrays` rebuilds it from, base and patch joined."""
        return self.joined().arrays()

    @classmethod
    def of_arrays(cls, arrays: Arrays, n_columns: int) -> PatchedRows:
        """The matrix that `arrays()` was taken from."""
        return cls.of(SparseRows.of_arrays(arrays, n_columns))


@cache
def _compile() -> None:
    """Compile before the first request or change."""
    none, one = np.empty(0, np.int32), np.ones(1, np.float32)
    offsets = np.zeros(1, np.int64)
    base = offsets, none, one[:0]
    sums = Sums(1)
    add_patched(none, one[:0], none, *base, none, offsets, 0, *NOTHING, sums.totals, sums.touched, sums.size)
    sums.top(1)
    entries_at(none, none, *base, *NOTHING)
    joined_rows(offsets, *base, none, offsets, *NOTHING)


def _joined(
    places: NDArray[np.int64],
    values: NDArray[np.float32],
    newer_places: NDArray[np.int64],
    newer_values: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Two patches as one, in the order of places; where both have an entry, the newer one counts."""
    every = np.concatenate([places, newer_places])
    order = np.argsort(every, kind="stable")
    every = every[order]
    last = np.append(every[1:] != every[:-1], True)[: every.size]
    return every[last], np.concatenate([values, newer_values])[order][last]


def _runs(places: NDArray[np.int64], n_rows: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The number of each row's run of `places`, -1 for none, and where the runs begin."""
    rows = places >> 32
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    runs = np.full(n_rows, -1, np.int32)
    runs[rows[starts]] = np.arange(starts.size)
    return runs, np.append(starts, rows.size)
