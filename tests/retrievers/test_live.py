"""Live changes: what a path answers after them, against refits and by what new features say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from multirecall.progress import SILENT
from multirecall.protocols import Retriever
from multirecall.query import Query
from multirecall.registry import retriever_class
from multirecall.testing import LiveShop

EMBEDDING: dict[str, dict[str, Any]] = {
    "item2vec": {"dim": 16, "epochs": 30},
    "node2vec": {"dim": 16, "walks_per_node": 20},
    "two_tower": {"dim": 8, "epochs": 20, "learning_rate": 0.01, "id_dropout": 0.3, "precision": "float32"},
}


def fitted(name: str, shop: LiveShop, **params: Any) -> Retriever:
    plugin = retriever_class(name)
    path = plugin(plugin.Config.model_validate(params))
    path.fit(shop.data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def asked(history: list[int]) -> Query:
    return Query(-1, np.array(history, np.int32), np.ones(len(history), np.float32))


def rank(path: Retriever, item: int, history: list[int]) -> int:
    """Where `item` stands for a visitor with this history; the catalogue's size where it is not proposed."""
    items = path.retrieve(asked(history), 1_000).items.tolist()
    return items.index(item) if item in items else 1_000


@pytest.mark.parametrize("name", EMBEDDING)
def test_a_new_item_is_proposed_by_its_features(name: str) -> None:
    """To those who like even items while it says that it is even, and to the others once it says odd."""
    shop = LiveShop()
    path = fitted(name, shop, **EMBEDDING[name])
    even, odd = [0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]
    new = shop.data.n_items
    path = path.with_changes(shop.describe([new], group="even"))
    assert rank(path, new, even) < 20 < rank(path, new, odd)
    path = path.with_changes(shop.describe([new], group="odd"))
    assert rank(path, new, odd) < 20 < rank(path, new, even)


@pytest.mark.parametrize("name", EMBEDDING)
def test_an_event_on_a_new_item_counts_in_the_history(name: str) -> None:
    shop = LiveShop()
    path = fitted(name, shop, **EMBEDDING[name])
    new = shop.data.n_items
    path = path.with_changes(shop.describe([new, new + 1], group="even", title="item"))
    path = path.with_changes(shop.describe([new + 1], group="odd", title="item"))
    for item in (new, new + 1):
        best = path.retrieve(asked([item]), 12).items
        assert (best[best < 65] % 2 == (item - new) % 2).mean() > 0.8


@pytest.mark.parametrize("name", ["item2vec", "node2vec"])
def test_a_new_item_gets_what_the_fit_would_have_given(name: str) -> None:
    """A copy of an item that had no interactions in the fit stands where that one stands."""
    shop = LiveShop()
    path = fitted(name, shop, **EMBEDDING[name])
    new, cold = shop.data.n_items, 62
    path = path.with_changes(shop.describe([new], **shop.data.items.values(cold)))
    ranked = path.retrieve(asked([0, 2, 4, 7]), 1_000)
    scores = dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True))
    assert scores[new] == pytest.approx(scores[cold], rel=1e-5)
