from __future__ import annotations

import re
import tracemalloc

import numpy as np
import polars as pl
import pytest

from multirecall.data import Dataset
from multirecall.errors import CannotFit
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._sparse.spectrum import right_singular_vectors
from multirecall.retrievers.graph_filter import GraphFilter, GraphFilterConfig
from multirecall.testing import RetrieverContract, checkerboard, small_shop
from multirecall.testing.worlds import queries

MEBIBYTE = 2**20

Matrix = np.typing.NDArray[np.float64]


class TestLowPass(RetrieverContract):
    retriever = GraphFilter
    params = {"dim": 6}


class TestWithFirstOrder(RetrieverContract):
    retriever = GraphFilter
    params = {"dim": 4, "first_order": 2.0, "half_life": None, "neighbours": 9}


def fit_path(data: Dataset, **params: object) -> GraphFilter:
    path = GraphFilter(GraphFilterConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def power(values: Matrix, exponent: float) -> Matrix:
    return np.where(values > 0, np.maximum(values, 1e-30) ** exponent, 0.0)


def textbook(data: Dataset, config: GraphFilterConfig) -> Matrix:
    """Dense: numpy's full SVD, and the definition."""
    x = data.interactions.matrix.toarray().astype(np.float64)
    users, items = x.sum(axis=1), x.sum(axis=0)
    source = power(items, -config.item_exponent)
    r = power(users, -config.user_exponent)[:, None] * x * source
    v = np.linalg.svd(r)[2][: config.dim].T
    scores: Matrix = source[:, None] * (v @ v.T + config.first_order * r.T @ r) * power(items, config.target_exponent)
    return scores


@pytest.mark.parametrize("first_order", [0.0, 3.0])
@pytest.mark.parametrize("exponents", [(0.5, 0.5, 0.5), (0.3, 0.4, 0.2)])
def test_equals_the_dense_textbook(first_order: float, exponents: tuple[float, float, float]) -> None:
    data = small_shop(timestamps=False)
    user, item, target = exponents
    path = fit_path(
        data,
        dim=5,
        iterations=30,
        first_order=first_order,
        user_exponent=user,
        item_exponent=item,
        target_exponent=target,
        neighbours=data.n_items,
        half_life=None,
    )
    expected = textbook(data, path.config)
    for row in range(data.n_items):
        ranked = path.retrieve(Query(-1, np.array([row], np.int32), np.ones(1, np.float32)), data.n_items)
        assert set(np.flatnonzero(expected[row] > 1e-3).tolist()) <= set(ranked.items.tolist())
        np.testing.assert_allclose(ranked.scores, expected[row, ranked.items], atol=1e-3)


def test_subspace_is_that_of_the_full_decomposition() -> None:
    """The first vectors span the same space as numpy's, where the values are told apart."""
    matrix = small_shop().interactions.matrix
    found = right_singular_vectors(matrix, 4, 30, np.random.default_rng(0), SILENT, "")
    expected = np.linalg.svd(matrix.toarray())[2][:4].T
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-4)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-3)


def test_more_vectors_than_rank_are_left_out() -> None:
    """A single row has rank one."""
    row = small_shop().interactions.matrix[:1]
    assert right_singular_vectors(row, 50, 2, np.random.default_rng(0), SILENT, "").shape == (row.shape[1], 1)


def test_stays_within_its_half_of_the_checkerboard() -> None:
    """Two vectors are the two halves; within a half all items are alike."""
    data = checkerboard()
    path = fit_path(data, dim=2)
    for query in queries(data)[: data.n_users]:
        own = Query(query.user, query.history, query.weights, ordered=False, exclude=np.unique(query.history))
        assert path.retrieve(own, 1).items.tolist() == [query.user]


@pytest.mark.parametrize(
    ("n_users", "n_items", "params"),
    [(6_000, 500, {"dim": 300, "neighbours": 20}), (300, 2_500, {"dim": 100, "neighbours": 1_000})],
)
def test_takes_no_more_memory_than_it_says(n_users: int, n_items: int, params: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    log = {"user_id": np.arange(20_000) % n_users, "item_id": rng.integers(0, n_items, 20_000)}
    data = Dataset.from_frames(pl.DataFrame(log))
    assert data.interactions.matrix.nnz
    with pytest.raises(CannotFit, match="or lower dim or neighbours") as fault:
        fit_path(data, memory_bytes=1, **params)
    said = int(re.search(r"needs ([\d,]+) bytes", str(fault.value))[1].replace(",", ""))  # type: ignore[index]
    fit_path(data, memory_bytes=said, **params)
    tracemalloc.start()
    try:
        fit_path(data, iterations=1, **params)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said / 2 < taken < said + 4 * MEBIBYTE


def test_a_bound_that_is_too_low_is_named() -> None:
    message = r"graph_filter: the fit of 42 users and 65 items needs [\d,]+ bytes, more than memory_bytes = 1,000"
    with pytest.raises(CannotFit, match=message):
        fit_path(small_shop(), memory_bytes=1_000)
