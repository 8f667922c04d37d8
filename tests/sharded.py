"""An engine that tests split into shards, and the comparison of its answers."""

from __future__ import annotations

from typing import Any

from multirecall import Candidates, User

EXACT = {"index": {"kind": "exact"}}
PATHS: tuple[dict[str, Any], ...] = (
    {"name": "cf", "retriever": "item_cf", "quota": 20},
    {"name": "users", "retriever": "user_cf", "quota": 20},
    {"name": "after", "retriever": "sequence", "quota": 20},
    {"name": "words", "retriever": "content", "quota": 20},
    {"name": "top", "retriever": "popularity", "quota": 10},
    {"name": "factors", "retriever": "als", "quota": 20, "params": {"dim": 8, "epochs": 2, **EXACT}},
)
VISITORS = (User(), User(history=[3, 4, 5, 3]), User(features={"country": "DE"}), User(terms={"group": "even"}))


def assert_same(one: Candidates, other: Candidates) -> None:
    """All but the times is equal to the bit."""
    assert one.ids.tolist() == other.ids.tolist()
    assert one.scores.tobytes() == other.scores.tobytes()
    assert one.ranks.tolist() == other.ranks.tolist()
    assert [(name, s.state, s.count, s.detail) for name, s in one.status.items()] == [
        (name, s.state, s.count, s.detail) for name, s in other.status.items()
    ]
    for name in ("n_backfilled", "shortfall", "known", "unknown_items", "paths"):
        assert getattr(one, name) == getattr(other, name)
