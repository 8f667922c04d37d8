from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from worlds import weighted_shop

from multirecall.data import Dataset
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._als import half_step
from multirecall.retrievers.als import ALS, ALSConfig
from multirecall.testing import RetrieverContract, checkerboard, small_shop
from multirecall.testing.worlds import queries


class TestALS(RetrieverContract):
    retriever = ALS
    params = {"dim": 8, "epochs": 4}
    score_tolerance = 1e-5


class TestThreadedGraphIndex(RetrieverContract):
    retriever = ALS
    params = {"dim": 8, "epochs": 4, "threads": 2, "index": {"kind": "hnsw"}}
    score_tolerance = 1e-5

    def test_same_seed_same_result(self) -> None:  # type: ignore[override]
        pytest.skip("several threads build another graph each time")


def fit_path(data: Dataset, **params: object) -> ALS:
    path = ALS(ALSConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def solution(
    row: np.typing.NDArray[np.float64],
    items: np.typing.NDArray[np.float64],
    unobserved: float,
    penalty: float,
) -> Any:
    """The minimum of `Σ x (w·h - 1)² + α Σ (w·h)² + penalty ‖w‖²` over `w`, dense."""
    left = items.T @ np.diag(row) @ items + unobserved * items.T @ items + penalty * np.eye(items.shape[1])
    return np.linalg.solve(left, items.T @ row)


def test_half_step_equals_the_dense_solution() -> None:
    """With as many steps as dimensions, conjugate gradient is exact."""
    matrix = weighted_shop().interactions.matrix
    rng = np.random.default_rng(0)
    items = rng.standard_normal((matrix.shape[1], 6)).astype(np.float32)
    users = rng.standard_normal((matrix.shape[0], 6)).astype(np.float32)
    penalties = rng.uniform(0.5, 2, matrix.shape[0]).astype(np.float32)
    with ThreadPoolExecutor(2) as pool:
        half_step(matrix, items, penalties, 0.3, users, 20, pool)
    for user, row in enumerate(matrix.toarray().astype(np.float64)):
        expected = solution(row, items.astype(np.float64), 0.3, float(penalties[user]))
        np.testing.assert_allclose(users[user], expected, atol=1e-4)


def test_rows_without_entries_become_zero() -> None:
    """However many half-steps they go through, and from values whose squares underflow too."""
    matrix = weighted_shop().interactions.matrix
    matrix.data[: matrix.indptr[1]] = 0.0
    rng = np.random.default_rng(0)
    items = rng.standard_normal((matrix.shape[1], 4)).astype(np.float32)
    users = np.full((matrix.shape[0], 4), 1e-30, np.float32)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(3):
            half_step(matrix, items, np.ones(matrix.shape[0], np.float32), 0.3, users, 3, pool)
    assert not users[0].any()
    assert np.isfinite(users).all()


def penalties(x: np.typing.NDArray[np.float64], config: ALSConfig) -> Any:
    """The penalty of each row, `regularisation` in the mean."""
    scales = (x.sum(axis=1) + config.unobserved * x.shape[1]) ** config.frequency_exponent
    return config.regularisation * scales / scales.mean()


def objective(data: Dataset, path: ALS) -> float:
    """The loss with every user vector at its best, for the item vectors that were found."""
    config, x = path.config, data.interactions.matrix.toarray().astype(np.float64)
    items = path._vectors.astype(np.float64)
    user_penalties, item_penalties = penalties(x, config), penalties(x.T, config)
    pairs = zip(x, user_penalties, strict=True)
    users = np.array([solution(row, items, config.unobserved, one) for row, one in pairs])
    fits = users @ items.T
    loss = (x * (fits - 1) ** 2).sum() + config.unobserved * (fits**2).sum()
    return float(loss + user_penalties @ (users**2).sum(axis=1) + item_penalties @ (items**2).sum(axis=1))


def test_epochs_lower_the_objective() -> None:
    data = weighted_shop()
    losses = [objective(data, fit_path(data, dim=4, epochs=epochs, regularisation=1.0)) for epochs in (1, 3, 30)]
    assert losses[0] > losses[1] >= losses[2]


def test_request_solves_for_the_user() -> None:
    data = weighted_shop()
    path = fit_path(data, dim=6, half_life=None, regularisation=1.0)
    config, items = path.config, path._vectors.astype(np.float64)
    x = data.interactions.matrix.toarray().astype(np.float64)
    scales = x.sum(axis=1) + config.unobserved * data.n_items
    for query in queries(data):
        row = np.zeros(data.n_items)
        row[query.history] = query.weights
        penalty = config.regularisation * (row.sum() + config.unobserved * data.n_items) / scales.mean()
        expected = items @ solution(row, items, config.unobserved, penalty)
        ranked = path.retrieve(query, data.n_items)
        np.testing.assert_allclose(ranked.scores, expected[ranked.items], atol=1e-4)


def test_threads_change_no_vector() -> None:
    data = small_shop()
    one, two = fit_path(data, dim=8), fit_path(data, dim=8, threads=2)
    np.testing.assert_array_equal(one._vectors, two._vectors)


def test_items_without_interactions_are_not_proposed() -> None:
    data = small_shop()
    cold = set(range(data.n_items)) - set(data.interactions.items.tolist())
    ranked = fit_path(data, dim=8).retrieve(queries(data)[0], data.n_items)
    assert cold
    assert not cold & set(ranked.items.tolist())


def test_knows_the_checkerboard() -> None:
    data = checkerboard()
    path = fit_path(data, dim=4, regularisation=1.0)
    for query in queries(data)[: data.n_users]:
        own = Query(query.user, query.history, query.weights, ordered=False, exclude=np.unique(query.history))
        assert path.retrieve(own, 1).items.tolist() == [query.user]
