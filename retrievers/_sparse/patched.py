"""A sparse matrix by rows that takes changes without being rebuilt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, get_index_dtype

from multirecall.csr import offsets_of
from multirecall.lists import RankedBatch
from multirecall.query import Filter, runs_of_one_bitmap
from multirecall.sums import Sums

from .patch_kernels import Matrix, entries_at, merge_rows, top_of_each, without_items
from .rows import Arrays, SparseRows

NOTHING = np.empty(0, np.int64), np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class PatchedRows:
    """A base and a patch of entries that replace entries of the base or are new.

    Addends are summed in the order of a rebuilt matrix, so that sums are equal to the bit. Compaction merges the patch
    into the base once the work spent on patches exceeds the entries of the base. So a change of `m` entries takes an
    amortised O(m + sqrt(m · entries)), and O(rows).

    Attributes:
        base: the base, with ascending columns in each row.
        places: int64 (n,), row · 2³² + column of each entry of the patch, ascending.
        values: float32 (n,), the entries of the patch.
        runs: int32 (n_rows,), the run of each row in the patch, -1 if it has none.
        offsets: int64 (n_runs + 1,), the CSR offsets of the runs.
        longest: the number of entries of the longest run.
        lengths: int32 (n_rows,), the number of entries of each row, base and patch together.
        n_columns: the number of columns.
        work: entries of all patches that were built since the last compaction.
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
        """The matrix `base` with an empty patch; columns must ascend in each row."""
        lengths = np.diff(base.offsets).astype(np.int32)
        runs = np.full(lengths.size, -1, np.int32)
        return cls(base, *NOTHING, runs, np.zeros(1, np.int64), 0, lengths, base.n_columns, 0)

    @classmethod
    def of_unsorted(cls, rows: SparseRows) -> PatchedRows:
        """The matrix `rows`, whose columns may be in any order, with an empty patch. May sort the arrays of `rows`."""
        shape = rows.offsets.size - 1, rows.n_columns
        index = get_index_dtype(maxval=rows.columns.size)  # scipy would copy columns to the width of the offsets
        matrix = csr_array((rows.values, rows.columns, rows.offsets.astype(index)), shape=shape)
        matrix.sort_indices()
        columns = matrix.indices.astype(np.int32, copy=False)
        return cls.of(SparseRows(rows.offsets, columns, matrix.data, rows.n_columns))

    @property
    def n_rows(self) -> int:
        """The number of rows of the matrix."""
        return self.lengths.size

    def top_of_each(
        self,
        lists: RankedBatch,
        n_entries: int,
        factors: NDArray[np.float32],
        k: int,
        filters: Sequence[Filter],
        lengths: NDArray[np.int32] | None = None,
    ) -> RankedBatch:
        """The best columns of several sums of rows, each multiplied by the factor of its column.

        Args:
            lists: the rows that each sum adds up, with their weights, all ≥ 0.
            n_entries: the entries that a sum reads at most: those of its first rows, at least of one.
            factors: float32 (n_columns,), ≥ 0.
            k: the columns of each sum at most; only those above 0 count.
            filters: for each sum, the columns to leave out.
            lengths: int32 (n_rows,), how many entries of each row `n_entries` counts; None: those that it has.
        """
        sums = Sums(self.n_columns)
        matrix = self.kernel_arrays(lengths)
        parts = []
        for run in runs_of_one_bitmap(filters):
            exclude = [rows for rows, _ in filters[run]]
            arrays = top_of_each(
                lists.offsets[run.start : run.stop + 1],
                lists.items,
                lists.scores,
                n_entries,
                factors,
                k,
                offsets_of([rows.size for rows in exclude]),
                np.concatenate(exclude),
                filters[run.start][1],
                matrix,
                sums.totals,
                sums.touched,
            )
            parts.append(RankedBatch(*arrays))
        sums.release()
        return parts[0] if len(parts) == 1 else RankedBatch.concat(parts)

    def at(self, rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.float32]:
        """The entry at each pair of row and column, float32 (n,), NaN where there is none."""
        return entries_at(
            rows, columns, self.base.offsets, self.base.columns, self.base.values, self.places, self.values
        )

    def with_entries(
        self,
        rows: NDArray[np.int32],
        columns: NDArray[np.int32],
        values: NDArray[np.float32],
        n_rows: int,
        n_columns: int,
    ) -> PatchedRows:
        """A copy of shape (n_rows, n_columns) with the given entries set; the base is shared.

        `rows`, `columns` and `values` are (n,), in any order; each pair of row and column occurs once.
        """
        added = rows[np.isnan(self.at(rows, columns))]
        lengths = self.lengths
        if n_rows > self.n_rows:
            lengths = np.append(lengths, np.zeros(n_rows - self.n_rows, np.int32))
        elif added.size:
            lengths = lengths.copy()
        np.add.at(lengths, added, 1)
        places, kept = _merge_patches(self.places, self.values, rows.astype(np.int64) << 32 | columns, values)
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
        return PatchedRows.of(patched.merge()) if work > self.base.columns.size else patched

    def without(self, items: NDArray[np.int32]) -> PatchedRows:
        """A copy without the entries of these rows and columns, compacted."""
        whole = self.merge()
        gone = np.zeros(max(self.n_rows, self.n_columns), np.bool_)
        gone[items] = True
        return PatchedRows.of(
            SparseRows(*without_items(whole.offsets, whole.columns, whole.values, gone), self.n_columns)
        )

    def with_columns(self, columns: NDArray[np.int32]) -> PatchedRows:
        """A copy with the entries of these columns, ascending, only, compacted."""
        return PatchedRows.of(self.merge().with_columns(columns))

    def sums(self) -> NDArray[np.float64]:
        """The sum of each row, float64 (n_rows,)."""
        values = self.merge().values
        return np.bincount(np.repeat(np.arange(self.n_rows), self.lengths), values, self.n_rows).astype(np.float64)

    def column_sums(self) -> NDArray[np.float64]:
        """The sum of each column, float64 (n_columns,), to the bit that of the row in the transpose."""
        whole = self.merge()
        return np.bincount(whole.columns, whole.values, self.n_columns).astype(np.float64)

    def scale(self, factor: float) -> PatchedRows:
        """A copy with all entries multiplied by `factor`, compacted."""
        whole = self.merge()
        return PatchedRows.of(replace(whole, values=whole.values * np.float32(factor)))

    def merge(self) -> SparseRows:
        """Base and patch merged into one matrix."""
        if not self.places.size and self.n_rows == self.base.offsets.size - 1:
            return replace(self.base, n_columns=self.n_columns)
        offsets = offsets_of(self.lengths)
        arrays = merge_rows(
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

    def kernel_arrays(self, lengths: NDArray[np.int32] | None = None) -> Matrix:
        """The matrix for kernels; `lengths`: how many entries of each row count, by default those that it has."""
        base = self.base
        patch = self.runs, self.offsets, self.longest, self.places, self.values
        lengths = self.lengths if lengths is None else lengths
        return lengths, base.offsets, base.columns, base.values, *patch

    def arrays(self) -> Arrays:
        """The arrays from which `of_arrays` restores the matrix; base and patch are merged."""
        return self.merge().arrays()

    @classmethod
    def of_arrays(cls, arrays: Arrays, n_columns: int) -> PatchedRows:
        """The matrix whose `arrays()` are given."""
        return cls.of(SparseRows.of_arrays(arrays, n_columns))


@cache
def _compile() -> None:
    """Compile the kernels before the first change, or explanation, needs them."""
    none, offsets = np.empty(0, np.int32), np.zeros(1, np.int64)
    base = offsets, none, np.empty(0, np.float32)
    entries_at(none, none, *base, *NOTHING)
    merge_rows(offsets, *base, none, offsets, *NOTHING)


def _merge_patches(
    places: NDArray[np.int64],
    values: NDArray[np.float32],
    newer_places: NDArray[np.int64],
    newer_values: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Two patches merged, in ascending order of places; where both have an entry, the newer one is kept."""
    every = np.concatenate([places, newer_places])
    order = np.argsort(every, kind="stable")
    every = every[order]
    last = np.append(every[1:] != every[:-1], True)[: every.size]
    return every[last], np.concatenate([values, newer_values])[order][last]


def _runs(places: NDArray[np.int64], n_rows: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The run of each row in `places`, int32 (n_rows,), -1 for none, and the CSR offsets of the runs."""
    rows = places >> 32
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    runs = np.full(n_rows, -1, np.int32)
    runs[rows[starts]] = np.arange(starts.size)
    return runs, np.append(starts, rows.size)
