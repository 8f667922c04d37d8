"""Kernels over a sparse matrix (the base) and a patch: entries that replace entries of the base or are new.

In all kernels, `offsets`, int64 (n + 1,), `columns`, int32 (nnz,), and `values`, float32 (nnz,), are the base as CSR,
with ascending columns in each row. The entries of the patch are `places`, int64 (m,), row · 2³² + column, ascending,
and `patch_values`, float32 (m,). They are grouped into runs, one for each row of the patch: `runs[r]` is the run of
row `r`, -1 if it has none, and run `i` is `patch_offsets[i]:patch_offsets[i + 1]`. The patch may have more rows than
the base.
"""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.sums import scale_sums, take_top

from .found_lists import Lists, filled, put_list, room_for
from .rows import AHEAD, fetch_row

Matrix = tuple[Array, Array, Array, Array, Array, Array, int, Array, Array]
"""A `PatchedRows` for kernels: the number of entries of each row, int32 (n_rows,); offsets, columns and values of the
base; the number of each row's run, the offsets of runs, the length of the longest; places and values of the patch."""

COLUMN = 0xFFFFFFFF
"""Mask of the column in a place."""


@kernel
def add_patched(
    rows: Array,
    weights: Array,
    matrix: Matrix,
    totals: Array,
    touched: Array,
    size: int,
) -> int:
    """Add weighted rows to the accumulator `totals`, `touched` (see `Sums`), in place, and return its new `size`.

    Where the patch replaces an entry, the addend of the base is undone. So each column gets its addends in the order
    of `rows`, as it would from a matrix without a patch.
    """
    lengths, offsets, columns, values, runs, patch_offsets, longest, places, patch_values = matrix
    if size >= 0:
        n_entries = size
        for row in rows:
            n_entries += lengths[row]
        if n_entries > touched.size:
            size = -1
    before = np.empty(longest, np.float32)
    for position in range(rows.size):
        fetch_row(rows, position + AHEAD, offsets, columns, values)
        row, weight = rows[position], weights[position]
        if weight == 0.0:
            continue
        first, last = 0, 0
        if longest and runs[row] >= 0:
            first, last = patch_offsets[runs[row]], patch_offsets[runs[row] + 1]
        for entry in range(first, last):
            before[entry - first] = totals[places[entry] & COLUMN]
        if row + 1 < offsets.size:
            if size < 0:
                for entry in range(offsets[row], offsets[row + 1]):
                    totals[np.uint32(columns[entry])] += weight * values[entry]  # unsigned: none counts from the end
            else:
                for entry in range(offsets[row], offsets[row + 1]):
                    column = columns[entry]
                    total = totals[column]
                    changed = total + weight * values[entry]
                    touched[size] = column
                    size += (total == 0.0) & (changed != 0.0)
                    totals[column] = changed
        for entry in range(first, last):
            column = np.int32(places[entry] & COLUMN)
            changed = before[entry - first] + weight * patch_values[entry]
            if size >= 0 and totals[column] == 0.0 and changed != 0.0:
                touched[size] = column
                size += 1
            totals[column] = changed
    return size


@kernel
def top_of_each(
    bounds: Array,
    rows: Array,
    weights: Array,
    n_entries: int,
    factors: Array,
    k: int,
    exclude_bounds: Array,
    exclude: Array,
    allowed: Array,
    matrix: Matrix,
    totals: Array,
    touched: Array,
) -> Lists:
    """The best `k` columns of each of several sums of weighted rows, as CSR; see `PatchedRows.top_of_each`.

    The rows of sum `s` are `rows[bounds[s] : bounds[s + 1]]`, and what it leaves out is between two of
    `exclude_bounds`. `totals` and `touched` are those of a `Sums`, all of whose totals are 0, and are so again.
    """
    lengths = matrix[0]
    lists = room_for(bounds.size - 1, min(k, totals.size))
    for number in range(bounds.size - 1):
        start, stop = bounds[number], bounds[number]
        n_read = 0
        while stop < bounds[number + 1] and (stop == start or n_read + lengths[rows[stop]] <= n_entries):
            n_read += lengths[rows[stop]]
            stop += 1
        size = add_patched(rows[start:stop], weights[start:stop], matrix, totals, touched, 0)
        scale_sums(totals, touched, size, factors)
        own = exclude[exclude_bounds[number] : exclude_bounds[number + 1]]
        best, best_scores = take_top(totals, touched, size, k, own, allowed)
        put_list(lists, number, best, best_scores)
    return filled(lists)


@kernel
def entries_at(
    rows: Array, columns: Array, offsets: Array, base_columns: Array, base_values: Array, places: Array, values: Array
) -> Array:
    """The entry at each pair of row and column, float32, NaN where there is none."""
    found = np.full(rows.size, np.nan, np.float32)
    for position in range(rows.size):
        row, column = rows[position], columns[position]
        place = np.int64(row) << 32 | np.int64(column)
        entry = np.searchsorted(places, place)
        if entry < places.size and places[entry] == place:
            found[position] = values[entry]
        elif row + 1 < offsets.size:
            start, stop = offsets[row], offsets[row + 1]
            entry = start + np.searchsorted(base_columns[start:stop], column)
            if entry < stop and base_columns[entry] == column:
                found[position] = base_values[entry]
    return found


@kernel
def merge_rows(
    merged_offsets: Array,
    offsets: Array,
    columns: Array,
    values: Array,
    runs: Array,
    patch_offsets: Array,
    places: Array,
    patch_values: Array,
) -> tuple[Array, Array]:
    """The columns and values of all rows, in which entries of the patch replace those of the base."""
    out_columns = np.empty(merged_offsets[-1], np.int32)
    out_values = np.empty(merged_offsets[-1], np.float32)
    filled = 0
    for row in range(merged_offsets.size - 1):
        entry, stop = 0, 0
        if row + 1 < offsets.size:
            entry, stop = offsets[row], offsets[row + 1]
        run = runs[row]
        if run >= 0:
            for patch in range(patch_offsets[run], patch_offsets[run + 1]):
                column = np.int32(places[patch] & COLUMN)
                while entry < stop and columns[entry] < column:
                    out_columns[filled], out_values[filled] = columns[entry], values[entry]
                    entry += 1
                    filled += 1
                if entry < stop and columns[entry] == column:
                    entry += 1
                out_columns[filled], out_values[filled] = column, patch_values[patch]
                filled += 1
        rest = stop - entry
        out_columns[filled : filled + rest] = columns[entry:stop]
        out_values[filled : filled + rest] = values[entry:stop]
        filled += rest
    return out_columns, out_values


@kernel
def without_items(offsets: Array, columns: Array, values: Array, gone: Array) -> tuple[Array, Array, Array]:
    """The matrix, as CSR, without the entries of the rows and columns where `gone`, bool, is True."""
    kept_offsets = np.zeros_like(offsets)
    kept_columns, kept_values = np.empty_like(columns), np.empty_like(values)
    filled = 0
    for row in range(offsets.size - 1):
        if not gone[row]:
            for entry in range(offsets[row], offsets[row + 1]):
                kept_columns[filled], kept_values[filled] = columns[entry], values[entry]
                filled += not gone[columns[entry]]
        kept_offsets[row + 1] = filled
    return kept_offsets, kept_columns[:filled].copy(), kept_values[:filled].copy()
