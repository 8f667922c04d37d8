from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.query import Query
from multirecall.retrievers._sparse.rows import SparseRows
from multirecall.sums import ENTRIES_TO_SCAN, Sums

N_ROWS, N_COLUMNS = 30, 4_000


def matrix(seed: int, per_row: int) -> tuple[SparseRows, np.ndarray]:
    """A sparse matrix with small whole values, so that sums are exact and ties are many; and the same, dense."""
    rng = np.random.default_rng(seed)
    dense = np.zeros((N_ROWS, N_COLUMNS), np.float32)
    for row in dense:
        row[rng.choice(N_COLUMNS, per_row, replace=False)] = rng.integers(1, 5, per_row)
    rows, columns = np.nonzero(dense)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=N_ROWS))])
    return SparseRows(offsets, columns.astype(np.int32), dense[rows, columns], N_COLUMNS), dense


@pytest.mark.parametrize("per_row", [20, 300])
@given(
    seed=st.integers(0, 10**6),
    asked=st.lists(st.integers(0, N_ROWS - 1), max_size=20, unique=True),
    exclude=st.sets(st.integers(0, N_COLUMNS - 1), max_size=200),
    forbidden=st.sets(st.integers(0, N_COLUMNS - 1), max_size=200),
    k=st.integers(1, 50),
)
def test_equals_the_dense_product(
    per_row: int, seed: int, asked: list[int], exclude: set[int], forbidden: set[int], k: int
) -> None:
    sparse, dense = matrix(seed, per_row)
    allowed = np.ones(N_COLUMNS, np.bool_)
    allowed[list(forbidden)] = False
    rows = np.array(asked, np.int32)
    weights = np.arange(1, rows.size + 1, dtype=np.float32)
    nobody = Query(-1, rows, weights, exclude=np.array(sorted(exclude), np.int32), allowed=allowed)
    sums = Sums(N_COLUMNS)
    sparse.add(rows, weights, sums)
    if asked:
        assert (sums.size < 0) == (per_row * len(asked) > N_COLUMNS // ENTRIES_TO_SCAN)
    ranked = sums.top_for(nobody, k)
    expected = weights @ dense[rows]
    expected[list(exclude | forbidden)] = 0
    order = np.lexsort((np.arange(N_COLUMNS), -expected))
    wanted = [column for column in order.tolist() if expected[column] > 0][:k]
    assert ranked.items.tolist() == wanted
    assert ranked.scores.tolist() == expected[wanted].tolist()


def test_sums_of_an_abandoned_request_do_not_reach_the_next() -> None:
    sparse, dense = matrix(1, 600)
    rows, weights = np.array([3], np.int32), np.ones(1, np.float32)
    sparse.add(rows, weights, Sums(N_COLUMNS))
    sums = Sums(N_COLUMNS)
    sparse.add(rows, weights, sums)
    _, scores = sums.top(N_COLUMNS)
    assert sorted(scores.tolist()) == sorted(dense[3][dense[3] > 0].tolist())


def test_scratch_serves_matrices_of_different_width() -> None:
    wide, narrow = Sums(1000), Sums(10)
    assert (wide.totals.size, narrow.totals.size) == (1000, 10)
    assert Sums(2000).totals.size == 2000


@pytest.mark.parametrize("per_row", [20, 1_500])
def test_rows_and_columns_that_came_after_the_matrix_are_passed_over(per_row: int) -> None:
    sparse, dense = matrix(2, per_row)
    later = np.array([3, N_ROWS, N_ROWS + 10**6], np.int32)
    sums = Sums(N_COLUMNS)
    sparse.add(later, np.ones(3, np.float32), sums)
    assert (sums.size < 0) == (per_row > N_COLUMNS // ENTRIES_TO_SCAN)
    exclude = np.array([5, N_COLUMNS, N_COLUMNS + 10**6], np.int32)
    items, scores = sums.top_among(N_COLUMNS, exclude, np.ones(N_COLUMNS + 7, np.bool_))
    wanted = np.flatnonzero(dense[3])
    assert sorted(items.tolist()) == wanted[wanted != 5].tolist()
    assert sorted(scores.tolist()) == sorted(dense[3][wanted[wanted != 5]].tolist())


def test_released_sums_leave_nothing_behind() -> None:
    for n in (1, N_COLUMNS):  # few columns, which are recorded, and too many
        sums = Sums(N_COLUMNS)
        sums.add(np.arange(n, dtype=np.int32), np.ones(n, np.float32))
        assert (sums.size < 0) == (n > N_COLUMNS // ENTRIES_TO_SCAN)
        sums.release()
        after = Sums(N_COLUMNS)
        assert not after.totals.any()
        after.add(np.array([0, 2], np.int32), np.ones(2, np.float32))
        assert after.top(5)[0].tolist() == [0, 2]


def test_sums_that_end_early_do_not_free_the_memory_of_others() -> None:
    first, second = Sums(N_COLUMNS), Sums(N_COLUMNS)
    second.add(np.array([1], np.int32), np.ones(1, np.float32))
    first.top(1)
    third = Sums(N_COLUMNS)
    assert not np.shares_memory(second.totals, third.totals)
    third.add(np.array([2], np.int32), np.ones(1, np.float32))
    assert second.top(5)[0].tolist() == [1]
    assert third.top(5)[0].tolist() == [2]
