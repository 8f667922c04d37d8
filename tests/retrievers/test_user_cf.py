from __future__ import annotations

import numpy as np
import pytest
from worlds import weighted_shop

from multirecall.data import Dataset
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.user_cf import UserCF, UserCFConfig
from multirecall.testing import RetrieverContract, checkerboard, small_shop
from multirecall.testing.worlds import queries


class TestUserCF(RetrieverContract):
    retriever = UserCF
    exact_live = True


class TestBounded(RetrieverContract):
    retriever = UserCF
    exact_live = True
    params = {"neighbours": 5, "entries": 60, "half_life": None}


def fit_path(data: Dataset, **params: object) -> UserCF:
    path = UserCF(UserCFConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def textbook(data: Dataset, history: dict[int, float], config: UserCFConfig) -> dict[int, float]:
    """The definition, dense; scores are divided by the power of the largest similarity."""
    x = data.interactions.matrix.toarray().astype(np.float64)
    per_user, per_item = x.sum(axis=1), x.sum(axis=0)
    holders = np.bincount(data.interactions.matrix.indices, minlength=data.n_items)
    idf = np.log(1 + data.n_users / np.maximum(holders, 1)) ** config.idf_exponent
    similar = np.zeros(data.n_users)
    for user in np.flatnonzero(per_user > 0).tolist():
        overlap = sum(weight * idf[item] * x[user, item] for item, weight in history.items())
        similar[user] = overlap / per_user[user] ** config.user_exponent
    nearest = sorted(np.flatnonzero(similar > 0).tolist(), key=lambda user: (-similar[user], user))
    scores = np.zeros(data.n_items)
    for user in nearest[: config.neighbours]:
        share = (similar[user] / similar.max()) ** config.similarity_exponent
        scores += share * x[user] / np.maximum(per_item, 1e-9) ** config.target_exponent
    return {item: score for item, score in enumerate(scores.tolist()) if score > 0}


@pytest.mark.parametrize("params", [{}, {"neighbours": 6, "similarity_exponent": 2.0}, {"idf_exponent": 0.0}])
@pytest.mark.parametrize("world", ["plain", "weighted"])
def test_equals_the_dense_textbook(world: str, params: dict[str, object]) -> None:
    data = small_shop(timestamps=False) if world == "plain" else weighted_shop()
    path = fit_path(data, half_life=None, **params)
    for query in queries(data):
        newest = dict(zip(query.history.tolist(), query.weights.tolist(), strict=True))
        ranked = path.retrieve(query, data.n_items)
        expected = textbook(data, newest, path.config)
        assert dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True)) == pytest.approx(
            expected, rel=1e-4
        )


def test_entries_bound_what_is_read() -> None:
    """With room for one item's users, only the newest item counts."""
    data = small_shop()
    path = fit_path(data, entries=1, half_life=None)
    long, short = (
        path.retrieve(Query(-1, np.array(history, np.int32), np.ones(len(history), np.float32)), 50)
        for history in ([1, 3, 8], [8])
    )
    assert long.items.tolist() == short.items.tolist()
    assert set(long.items.tolist()) <= set(range(0, 60, 2))


def test_knows_the_checkerboard() -> None:
    data = checkerboard()
    path = fit_path(data)
    for query in queries(data)[: data.n_users]:
        own = Query(query.user, query.history, query.weights, ordered=False, exclude=np.unique(query.history))
        assert path.retrieve(own, 1).items.tolist() == [query.user]
