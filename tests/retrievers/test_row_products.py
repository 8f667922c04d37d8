from __future__ import annotations

import numpy as np
import pytest

from multirecall.kernels import Array, kernel
from multirecall.retrievers._graph.row_products import BLOCK, LANES, add_rows, copy_row, dots_of_block, padded

DIMS = [LANES, 3 * LANES, BLOCK * LANES, (2 * BLOCK + 1) * LANES]
"""Rows of less than a block of vectors, of a whole one, and of blocks with a rest."""


@kernel
def dots(rows: Array, start: int, row: Array, place: int, dim: int, out: Array, first: int) -> None:
    dots_of_block(rows, start, row, place, dim, out, first)


@kernel
def add(out: Array, first: int, weights: Array, weight: int, step: int, rows: Array, start: int, n: int) -> None:
    add_rows(out, first, weights, weight, step, rows, start, n, out.size - first - LANES)


@kernel
def copy(out: Array, first: int, rows: Array, start: int, dim: int) -> None:
    copy_row(out, first, rows, start, dim)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("dim", "least"), [(1, 16), (16, 16), (17, 32), (64, 64)])
def test_rows_are_padded_to_whole_vectors(dim: int, least: int) -> None:
    assert padded(dim) == least


@pytest.mark.parametrize("dim", DIMS)
def test_inner_products_of_a_block(dim: int) -> None:
    rows, row, out = normal(BLOCK, dim), normal(dim), np.full(BLOCK + 3, 9, np.float32)
    dots(np.append(normal(7), rows.ravel()), 7, np.append(normal(2), row), 2, dim, out, 1)
    np.testing.assert_allclose(out[1 : 1 + BLOCK], rows @ row, rtol=1e-4, atol=1e-4)
    assert out[[0, -2, -1]].tolist() == [9, 9, 9]


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_weighted_rows_are_added(dim: int, n: int) -> None:
    rows, weights, out = normal(3, dim), normal(10), normal(5 + dim + LANES)
    before = out.copy()
    add(out, 5, weights, 1, 3, np.append(normal(2), rows.ravel()), 2, n)
    np.testing.assert_allclose(out[5:-LANES], before[5:-LANES] + weights[1::3][:n] @ rows[:n], rtol=1e-4, atol=1e-4)
    assert (out[:5] == before[:5]).all()
    assert (out[-LANES:] == before[-LANES:]).all()


@pytest.mark.parametrize("dim", DIMS)
def test_a_row_is_copied(dim: int) -> None:
    rows, out = normal(3 * dim), np.zeros(dim + 2, np.float32)
    copy(out, 1, rows, dim, dim)
    assert out[1:-1].tolist() == rows[dim : 2 * dim].tolist()
    assert out[[0, -1]].tolist() == [0, 0]
