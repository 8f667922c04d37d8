from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.node2vec import Node2Vec, Node2VecConfig
from multirecall.testing import RetrieverContract, checkerboard, small_shop
from multirecall.testing.worlds import queries


class TestNeighbours(RetrieverContract):
    retriever = Node2Vec
    params = {"dim": 8, "walks_per_node": 2, "walk_length": 10, "p": 0.5, "q": 2.0}
    score_tolerance = 1e-5


class TestWalks(RetrieverContract):
    retriever = Node2Vec
    params = {"serve": "walks", "request_walks": 200}


def fit_path(data: Any, **params: Any) -> Node2Vec:
    path = Node2Vec(Node2VecConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


@pytest.mark.parametrize("params", [{"serve": "walks"}, {"serve": "neighbours", "dim": 8, "walks_per_node": 20}])
def test_stays_within_its_half_of_the_checkerboard(params: dict[str, Any]) -> None:
    """Users and items of like parity are one component: no walk leaves it, and its vectors lie together."""
    data = checkerboard()
    path = fit_path(data, **params)
    for query in queries(data)[: data.n_users]:
        own = Query(query.user, query.history, query.weights, ordered=False, exclude=np.unique(query.history))
        assert path.retrieve(own, 1).items.tolist() == [query.user]


def test_walks_follow_the_history_and_repeat_with_it() -> None:
    data = small_shop()
    path = fit_path(data, serve="walks")
    even = Query(-1, np.array([0, 2, 4], np.int32), np.ones(3, np.float32))
    first, again = path.retrieve(even, 20), path.retrieve(even, 20)
    assert first.items.tolist() == again.items.tolist()
    assert first.scores.tolist() == again.scores.tolist()
    assert {item % 2 for item in first.items.tolist()} == {0}
    odd = Query(-1, np.array([1, 3, 5], np.int32), np.ones(3, np.float32))
    assert {item % 2 for item in path.retrieve(odd, 20).items.tolist()} == {1}


def test_shares_of_visits_add_up() -> None:
    path = fit_path(small_shop(), serve="walks")
    query = Query(-1, np.array([0, 2, 4], np.int32), np.ones(3, np.float32))
    assert path.retrieve(query, 1_000).scores.sum() == pytest.approx(1.0, abs=1e-5)


def test_cold_items_can_be_found_by_neighbours() -> None:
    data = small_shop()
    cold = set(range(data.n_items)) - set(data.interactions.items.tolist())
    path = fit_path(data, dim=8, walks_per_node=2)
    query = Query(-1, np.arange(10, dtype=np.int32), np.ones(10, np.float32))
    assert cold & set(path.retrieve(query, data.n_items).items.tolist())


@pytest.mark.parametrize(("walk_nodes", "per_node"), [(10**8, 5), (2 * 1_070 + 1_069, 2), (1, 1)])
def test_a_large_graph_takes_fewer_walks_from_each_of_its_107_nodes(walk_nodes: int, per_node: int) -> None:
    common = {"dim": 4, "walk_length": 10}
    bounded = fit_path(small_shop(), walks_per_node=5, walk_nodes=walk_nodes, **common)
    plain = fit_path(small_shop(), walks_per_node=per_node, **common)
    query = queries(small_shop())[0]
    assert bounded.retrieve(query, 20).scores.tolist() == plain.retrieve(query, 20).scores.tolist()
