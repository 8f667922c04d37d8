"""Neighbour lists from cells, against the cosines of all pairs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import Scored, rank_items

from multirecall.progress import SILENT
from multirecall.retrievers._neighbours.knn_cells import CELL, VectorCells, cell_lists, expected_scores
from multirecall.retrievers._sparse.patched import PatchedRows
from multirecall.retrievers._sparse.rows import SparseRows
from multirecall.retrievers._sparse.units import unit_rows

Vectors = NDArray[np.float32]


def draw_clusters(n: int, dim: int, seed: int) -> Vectors:
    """Unit vectors around a few centres, which have a direction in common, as trained ones do."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, dim)) + 3 * rng.normal(size=dim)
    vectors = centres[rng.integers(20, size=n)] + rng.normal(0, 0.3, (n, dim))
    units: Vectors = unit_rows(vectors.astype(np.float32))
    return units


def lists(units: Vectors, n_neighbours: int, recall: float = 1.0, threads: int = 1) -> list[Scored]:
    lengths, items, cosines = cell_lists(units, n_neighbours, recall, np.random.default_rng(0), threads, SILENT, "")
    assert items.size == cosines.size == lengths.sum()
    assert lengths.size == len(units)
    ends = np.cumsum(lengths)[:-1]
    pairs = [*zip(np.split(items, ends), np.split(cosines, ends), strict=True)][: len(units)]
    return [dict(zip(near.tolist(), scores.tolist(), strict=True)) for near, scores in pairs]


def grid(n: int, seed: int) -> Vectors:
    """Vectors of four entries .5 or -.5, and zero vectors: cosines are multiples of .5 and exact; many are repeated."""
    rng = np.random.default_rng(seed)
    vectors = rng.choice([-0.5, 0.5], (n, 4)).astype(np.float32)
    vectors[rng.random(n) < 0.1] = 0
    return vectors


@given(st.integers(1, 120), st.integers(1, 130), st.integers(0, 2**32 - 1))
def test_lists_follow_the_ordering_rule_among_equal_vectors(n: int, n_neighbours: int, seed: int) -> None:
    units = grid(n, seed)
    found = lists(units, n_neighbours)
    cosines = units @ units.T
    for row in range(n):
        others = {other: float(cosines[row, other]) for other in range(n) if other != row and cosines[row, other] > 0}
        assert list(found[row]) == rank_items(others)[:n_neighbours]
        assert found[row] == {other: others[other] for other in found[row]}


def test_lists_take_hardly_more_memory_than_they_have() -> None:
    """Of a million items they take gigabytes, so no second copy of all may be made."""
    units = draw_clusters(4_000, 8, 0)
    lists(units[:500], 200)  # compiles
    tracemalloc.start()
    try:
        _, items, cosines = cell_lists(units, 200, 0.9, np.random.default_rng(0), 1, SILENT, "")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert items.size == 4_000 * 200
    assert peak < 1.5 * (items.nbytes + cosines.nbytes)
    rows = PatchedRows.of_unsorted(SparseRows(np.arange(4_001) * 200, items, cosines, 4_000))
    assert np.shares_memory(rows.base.columns, items)
    assert np.shares_memory(rows.base.values, cosines)


def test_lists_with_full_recall_are_those_of_all_cosines() -> None:
    units = draw_clusters(3_000, 7, 0)
    units[5] = 0
    cosines = units.astype(np.float64) @ units.T.astype(np.float64)
    np.fill_diagonal(cosines, -1)
    best = -np.sort(-cosines, axis=1)[:, :30]
    found = lists(units, 30)
    assert found[5] == {}
    missed = 0
    for row in range(3_000):
        assert row not in found[row]
        missed += 30 - len(found[row]) if row != 5 else 0
        for other, score in found[row].items():
            assert score == pytest.approx(cosines[row, other], abs=1e-6)
        missed += sum(score < best[row, 29] - 1e-6 for score in found[row].values())
    assert missed < 3_000 * 30 * 0.001, "the margin is measured on some of the vectors"


@pytest.mark.parametrize("recall", [0.8, 0.95])
def test_lists_have_the_recall_that_is_asked_for_from_a_part_of_the_vectors(recall: float) -> None:
    units = draw_clusters(20_000, 16, 1)
    cells = VectorCells.of(np.arange(20_000, dtype=np.int32), units, np.random.default_rng(0))
    margin = cells.margin(31, recall, np.random.default_rng(0))
    mean, deviation = expected_scores(units[:300], cells.centroids)
    cosines = units[:300] @ units.T
    np.put_along_axis(cosines, np.arange(300)[:, None], -1, axis=1)
    lowest = -np.partition(-cosines, 29, axis=1)[:, 29]
    opened = np.diff(cells.starts) @ (mean + margin * deviation >= lowest)
    assert opened.mean() < 10_000
    found = lists(units, 30, recall)
    share = np.mean([np.mean(np.array([*found[row].values()]) >= lowest[row] - 1e-6) for row in range(300)])
    assert share == pytest.approx(recall, abs=0.02), "no more than what is asked for, since that is wasted work"


def test_any_number_of_threads_finds_the_same() -> None:
    units = np.repeat(draw_clusters(1_500, 8, 2), 2, axis=0)
    assert lists(units, 20, 0.9, threads=3) == lists(units, 20, 0.9)


def test_cells_hold_distinct_vectors_and_are_cut_to_what_fits() -> None:
    rows = np.arange(3, 3_003, dtype=np.int32)
    units = np.repeat(draw_clusters(1_000, 2, 3), 3, axis=0)[np.random.default_rng(0).permutation(3_000)]
    cells = VectorCells.of(rows, units, np.random.default_rng(0))
    assert len(cells.values) == len(np.unique(units, axis=0))
    assert np.diff(cells.starts).max() <= CELL
    assert sorted(cells.rows.tolist()) == rows.tolist()
    for place in range(len(cells.values)):
        own = cells.rows[cells.firsts[place] : cells.firsts[place + 1]]
        assert own.size
        assert own.tolist() == sorted(own.tolist())
        assert (units[own - 3] == cells.values[place]).all()
    for cell in range(len(cells.centroids)):
        own_values = cells.values[cells.starts[cell] : cells.starts[cell + 1]]
        assert cells.centroids[cell] == pytest.approx(own_values.mean(axis=0), abs=1e-6)


def test_more_equal_vectors_than_a_list_holds_and_than_a_cell_holds() -> None:
    units = np.zeros((2 * CELL + 9, 3), np.float32)
    units[: 2 * CELL, 0] = units[2 * CELL :, 1] = 1
    found = lists(units, 4)
    assert [*found[0]] == [1, 2, 3, 4]
    assert [*found[2]] == [0, 1, 3, 4]
    assert [*found[2 * CELL - 1]] == [0, 1, 2, 3]
    assert [*found[2 * CELL + 1]] == [2 * CELL + place for place in (0, 2, 3, 4)]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_vectors(n: int) -> None:
    assert lists(np.eye(2, dtype=np.float32)[:n], 3) == [{}] * n
    assert lists(np.zeros((n, 2), np.float32), 3) == [{}] * n
    assert lists(np.ones((n, 1), np.float32), 3) == [
        {other: 1.0 for other in range(n) if other != row} for row in range(n)
    ]
