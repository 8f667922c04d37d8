"""Live changes: what a path answers after them, against refits and by what new features say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multirecall.data import Dataset
from multirecall.progress import SILENT
from multirecall.protocols import Retriever
from multirecall.query import Query
from multirecall.registry import retriever_class
from multirecall.testing import LiveShop
from multirecall.testing.worlds import queries

EMBEDDING: dict[str, dict[str, Any]] = {
    "item2vec": {"dim": 16, "epochs": 30, "subsample": 0.0},
    "node2vec": {"dim": 16, "walks_per_node": 20},
    "two_tower": {"dim": 8, "epochs": 40, "learning_rate": 0.02, "id_dropout": 0.5, "precision": "float32"},
}


def fit_path(name: str, shop: LiveShop, **params: Any) -> Retriever:
    plugin = retriever_class(name)
    path = plugin(plugin.Config.model_validate(params))
    path.fit(shop.data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def query_of(history: list[int]) -> Query:
    return Query(-1, np.array(history, np.int32), np.ones(len(history), np.float32))


def rank(path: Retriever, item: int, history: list[int]) -> int:
    """Where `item` stands for a visitor with this history; the catalogue's size where it is not proposed."""
    items = path.retrieve(query_of(history), 1_000).items.tolist()
    return items.index(item) if item in items else 1_000


@pytest.mark.parametrize("name", EMBEDDING)
def test_a_new_item_is_proposed_by_its_features(name: str) -> None:
    """To those who like even items while it says that it is even, and to the others once it says odd."""
    shop = LiveShop(fields=["group"])
    path = fit_path(name, shop, **EMBEDDING[name])
    even, odd = [0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]
    new = shop.data.n_items
    path = path.with_changes(shop.describe([new], group="even"))
    assert rank(path, new, even) < 30 < rank(path, new, odd)
    path = path.with_changes(shop.describe([new], group="odd"))
    assert rank(path, new, odd) < 30 < rank(path, new, even)


@pytest.mark.parametrize("name", EMBEDDING)
def test_an_event_on_a_new_item_counts_in_the_history(name: str) -> None:
    shop = LiveShop(fields=["group"])
    path = fit_path(name, shop, **EMBEDDING[name])
    new = shop.data.n_items
    path = path.with_changes(shop.describe([new, new + 1], group="even"))
    path = path.with_changes(shop.describe([new + 1], group="odd"))
    for item in (new, new + 1):
        best = path.retrieve(query_of([item]), 12).items
        assert (best[best < 65] % 2 == (item - new) % 2).mean() > 0.8


@pytest.mark.parametrize("name", ["item2vec", "node2vec"])
def test_a_new_item_gets_what_the_fit_would_have_given(name: str) -> None:
    """A copy of an item that had no interactions in the fit stands where that one stands."""
    shop = LiveShop(fields=["group"])
    path = fit_path(name, shop, **EMBEDDING[name])
    new, cold = shop.data.n_items, 62
    path = path.with_changes(shop.describe([new], **shop.data.items.values(cold)))
    ranked = path.retrieve(query_of([0, 2, 4, 7]), 1_000)
    scores = dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True))
    assert scores[new] == pytest.approx(scores[cold], rel=1e-5)


EXACT: list[tuple[str, dict[str, Any]]] = [
    ("popularity", {"half_life_days": 20.0}),
    ("popularity", {"half_life_days": None}),
    ("popularity", {"segment": "country", "smoothing": 5.0}),
    ("user_cf", {}),
    ("user_cf", {"neighbours": 4, "entries": 100, "half_life": None, "similarity_exponent": 2.0}),
]


@pytest.mark.parametrize(("seed", "half_life_days"), [(0, None), (1, None), (2, 30.0)])
@pytest.mark.parametrize(("name", "params"), EXACT)
def test_random_events_equal_a_refit(
    name: str, params: dict[str, Any], seed: int, half_life_days: float | None, tmp_path: Path
) -> None:
    """Known and unknown users and items, pairs again and again, no weight, and times before and after the newest."""
    shop = LiveShop(half_life_days=half_life_days)
    path = fit_path(name, shop, **params)
    rng = np.random.default_rng(seed)
    for step in range(6):
        n = int(rng.choice([1, 5, 60]))
        users, items = rng.integers(0, 50 + 3 * step, n), rng.integers(0, 70 + 3 * step, n)
        weights = rng.choice([0.0, 0.1, 1.0, 2.0, 3.7], n)
        path = path.with_changes(shop.interact(users, items, weights, rng.uniform(-90, 9 * step, n)))
        if step == 3:
            path.save(tmp_path)
            path = type(path).load(path.config, tmp_path, shop.data)
        assert_equals_refit(path, fit_path(name, shop, **params), shop.data)


def assert_equals_refit(path: Retriever, refitted: Retriever, data: Dataset) -> None:
    """The same items, where scores are more than rounding apart, and the same scores."""
    for query in queries(data):
        ranked, expected = path.retrieve(query, data.n_items), refitted.retrieve(query, data.n_items)
        own, theirs = (ranks.scores[np.argsort(ranks.items)] for ranks in (ranked, expected))
        assert sorted(ranked.items.tolist()) == sorted(expected.items.tolist())
        np.testing.assert_allclose(own, theirs, rtol=1e-5)


def test_user_cf_equals_a_refit_to_the_bit() -> None:
    """Sums add up in one order, whether an entry was there in the fit, joined, or went into the base since."""
    shop = LiveShop()
    path = fit_path("user_cf", shop)
    rng = np.random.default_rng(0)
    for _ in range(12):
        users, items = rng.integers(0, shop.data.n_users, 40), rng.integers(0, shop.data.n_items, 40)
        path = path.with_changes(shop.interact(users, items, rng.choice([1.0, 2.0, 4.0], 40)))
        refitted = fit_path("user_cf", shop)
        for query in queries(shop.data):
            ranked, expected = path.retrieve(query, 30), refitted.retrieve(query, 30)
            assert ranked.items.tolist() == expected.items.tolist()
            assert ranked.scores.tolist() == expected.scores.tolist()


def test_user_cf_outlives_many_half_lives() -> None:
    """Old weights fade to nothing beside new ones, in steps and in one leap, and float32 holds both."""
    shop = LiveShop(half_life_days=1.0)
    path = fit_path("user_cf", shop)
    for day in (10, 30, 45, 400):
        path = path.with_changes(shop.interact([1, 2, 1], [7, 7, 9], 1.0, float(day)))
        for query in queries(shop.data):
            ranked = path.retrieve(query, 10)
            assert np.isfinite(ranked.scores).all()
    assert_equals_refit(path, fit_path("user_cf", shop), shop.data)
