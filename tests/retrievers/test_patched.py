"""Matrices and tables that take changes, against dense ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import SILENT
from multirecall.retrievers._neighbours.knn import entries_for_items, lowest_of_lists, nearest_neighbours
from multirecall.retrievers._sparse.patch_kernels import add_patched
from multirecall.retrievers._sparse.patched import PatchedRows
from multirecall.retrievers._sparse.rows import SparseRows
from multirecall.retrievers._sparse.units import unit_rows
from multirecall.retrievers._vector_table import VectorTable
from multirecall.sums import Sums
from multirecall.topk import ALL_ALLOWED

SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=6)


def totals(rows: PatchedRows, asked: NDArray[np.int32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    sums = Sums(rows.n_columns)
    sums.size = add_patched(asked, weights, rows.kernel_arrays(), sums.totals, sums.touched, sums.size)
    found: NDArray[np.float32] = sums.totals.copy()
    sums.top(1)
    return found


@given(SIZES, st.integers(0, 2**32 - 1))
def test_patched_rows_equal_a_dense_matrix(sizes: list[int], seed: int) -> None:
    """Through patches that add, replace, grow and are joined; entries of 0 stay entries; former states stay."""
    rng = np.random.default_rng(seed)
    dense: NDArray[Any] = rng.choice([0.0, 1.0, 2.5], (5, 90)).astype(np.float32)
    held: NDArray[Any] = rng.random(dense.shape) < 0.3
    dense *= held
    lengths = held.sum(axis=1)
    matrix = SparseRows(
        np.append(0, np.cumsum(lengths)), np.nonzero(held)[1].astype(np.int32), dense[held].astype(np.float32), 90
    )
    rows = PatchedRows.of(matrix)
    states = []
    for size in sizes:
        grown = dense.shape[0] + int(rng.integers(0, 3)), dense.shape[1] + int(rng.integers(0, 3))
        places = rng.choice(grown[0] * grown[1], size, replace=False)
        own, columns = (part.astype(np.int32) for part in np.divmod(places, grown[1]))
        values = rng.choice([0.0, 1.0, 3.5], size).astype(np.float32)
        rows = rows.with_entries(own, columns, values, *grown)
        dense, held = (np.pad(one, [(0, grown[axis] - one.shape[axis]) for axis in (0, 1)]) for one in (dense, held))
        dense[own, columns], held[own, columns] = values, True
        states.append((rows, dense.copy(), held.copy()))
    for state, expected, entries in states:
        assert (state.n_rows, state.n_columns) == expected.shape
        assert state.lengths.tolist() == entries.sum(axis=1).tolist()
        asked = rng.permutation(state.n_rows).astype(np.int32)
        weights = rng.choice([0.0, 0.5, 1.0], asked.size).astype(np.float32)
        np.testing.assert_allclose(totals(state, asked, weights), weights @ expected[asked], rtol=1e-6)
        assert totals(state, asked, weights).tolist() == totals(PatchedRows.of(state.merge()), asked, weights).tolist()
        every = [part.ravel().astype(np.int32) for part in np.indices(expected.shape)]
        np.testing.assert_array_equal(state.at(*every), np.where(entries, expected, np.nan).ravel())
        np.testing.assert_allclose(state.sums(), expected.sum(axis=1), rtol=1e-6)
        np.testing.assert_allclose(totals(state.scale(0.5), asked, weights), weights @ expected[asked] / 2, rtol=1e-6)
        assert_top_of_each(state, expected, entries, rng)


def assert_top_of_each(
    rows: PatchedRows, dense: NDArray[np.float32], held: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Several sums in one call are those of a dense matrix, each cut, scaled and filtered by itself."""
    n_rows, n_columns = dense.shape
    asked = [rng.permutation(n_rows)[: rng.integers(0, n_rows + 1)].astype(np.int32) for _ in range(4)]
    weights = [rng.choice([0.0, 0.5, 1.0], one.size).astype(np.float32) for one in asked]
    factors = rng.choice([0.0, 1.0, 2.0], n_columns).astype(np.float32)
    bitmaps: list[NDArray[np.bool_]] = [ALL_ALLOWED, np.asarray(rng.random(n_columns) < 0.5)]
    filters = [
        (np.flatnonzero(rng.random(n_columns) < 0.2).astype(np.int32), bitmaps[place // 2]) for place in range(4)
    ]
    n_entries, k = int(rng.integers(0, held.sum() + 2)), int(rng.integers(0, n_columns + 2))
    lists = RankedBatch.from_lists([RankedList(*one) for one in zip(asked, weights, strict=True)])
    found = rows.top_of_each(lists, n_entries, factors, k, filters)
    assert len(found) == 4
    for place, (own, weight) in enumerate(zip(asked, weights, strict=True)):
        exclude, allowed = filters[place]
        read = np.cumsum(held[own].sum(axis=1)) <= n_entries
        read[:1] = True
        scores = (weight[read] @ dense[own[read]] * factors).astype(np.float32)
        scores[exclude] = 0
        scores[~allowed if allowed.size else slice(0, 0)] = 0
        best = np.lexsort((np.arange(n_columns), -scores))[:k]
        best = best[scores[best] > 0]
        assert found[place].items.tolist() == best.tolist()
        assert found[place].scores.tolist() == scores[best].tolist()


def test_work_on_patches_ends_in_the_base() -> None:
    rows = PatchedRows.of(SparseRows.of_matrix(csr_array(np.ones((20, 20), np.float32))))
    most = 0
    for number in range(200):
        one = np.array([number % 20], np.int32)
        rows = rows.with_entries(one, np.array([number // 20], np.int32), np.full(1, 2.0, np.float32), 20, 20)
        most = max(most, rows.places.size)
    assert rows.base.values.sum() > 400
    assert most < 40


def test_rows_and_columns_leave() -> None:
    dense = np.arange(1, 26, dtype=np.float32).reshape(5, 5)
    rows = PatchedRows.of(SparseRows.of_matrix(csr_array(dense))).with_entries(
        np.array([5], np.int32), np.array([1], np.int32), np.ones(1, np.float32), 6, 5
    )
    left = rows.without(np.array([1, 3], np.int32))
    expected = np.vstack([dense, [0, 1, 0, 0, 0]])
    expected[[1, 3]] = 0
    expected[:, [1, 3]] = 0
    for row in range(6):
        assert totals(left, np.array([row], np.int32), np.ones(1, np.float32)).tolist() == expected[row].tolist()


def test_vector_table_equals_a_plain_one() -> None:
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(10, 3)).astype(np.float32)
    table = VectorTable.of(plain.copy())
    states: list[tuple[VectorTable, NDArray[Any]]] = [(table, plain.copy())]
    for changed in ([10, 11], [3, 12, 10], [3], []):
        rows = np.array(changed, np.int32)
        vectors = rng.normal(size=(rows.size, 3)).astype(np.float32)
        table = table.with_rows(rows, vectors)
        plain = np.vstack([plain, np.zeros((max(0, max(changed, default=0) + 1 - len(plain)), 3), np.float32)])
        plain[rows] = vectors
        states.append((table, plain.copy()))
    assert len(table.extra) == 4
    for state, expected in states:
        assert (state.whole() == expected).all()
        places, rows = state.locate(np.array([9, 0, 3], np.int32))
        assert (rows[places] == expected[[9, 0, 3]]).all()


@pytest.mark.parametrize("n_neighbours", [5, 100])
def test_joining_items_stand_in_the_lists_of_their_neighbours(n_neighbours: int) -> None:
    """Their own lists are those of a refit; another's gets each of them that it is near to and a refit lists there."""
    units = unit_rows(np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32))
    new = np.arange(50, 60, dtype=np.int32)
    lists = PatchedRows.of_unsorted(nearest_neighbours(units[:50], n_neighbours, SILENT, ""))
    lowest = lowest_of_lists(lists.base.offsets, lists.base.values, n_neighbours)
    live = lists_of(lists.with_entries(*entries_for_items(new, units, lowest, n_neighbours), 60, 60).merge())
    before, refitted = lists_of(lists.merge()), lists_of(nearest_neighbours(units, n_neighbours, SILENT, ""))
    joined = 0
    for row in range(50):
        worst = min(before[row].values()) if len(before[row]) == n_neighbours else 0.0
        expected = {item for item in new.tolist() if row in refitted[item] and refitted[item][row] > worst}
        assert live[row].keys() - before[row].keys() == expected
        assert expected >= {item for item in refitted[row] if item >= 50 and row in refitted[item]}
        joined += len(expected)
    assert joined
    for row in new.tolist():
        assert live[row] == pytest.approx(refitted[row], rel=1e-5)


def lists_of(rows: SparseRows) -> list[dict[int, float]]:
    """The entries of each row by column."""
    bounds = zip(rows.offsets.tolist(), rows.offsets.tolist()[1:], strict=False)
    columns, values = rows.columns.tolist(), rows.values.tolist()
    return [dict(zip(columns[start:stop], values[start:stop], strict=True)) for start, stop in bounds]
