"""Items and events that hardly anybody has, added live to an engine of one path, and what must hold ever after."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from multirecall import Engine, EngineConfig, User
from multirecall.data import ChangeKind
from multirecall.errors import MultirecallError
from multirecall.testing import small_shop

HNSW = {"index": {"kind": "hnsw"}}
RETRIEVERS: dict[str, dict[str, Any]] = {
    "als": HNSW,
    "content": {"jaccard": ["tags"]},
    "ease": {},
    "graph_filter": {},
    "item2vec": {},
    "item_cf": {},
    "next_item": {},
    "node2vec": {},
    "popularity": {"segment": "country"},
    "sequence": {},
    "two_tower": {"epochs": 1, **HNSW},
    "user_cf": {},
}
"""All of them, with graphs where they have an index."""

LONG = "a1b2c3d4" * 40
ODD_VALUES: dict[str, list[Any]] = {
    "title": [
        f"see https://example.org/{LONG}",
        "word " * 2_000,
        "x" * 10_000,
        "ก" * 3_000,
        "北京大学" * 200,
        "cut in half \ud83d",
        "\udc00",
        "a\0b",
        "",
        None,
        "a" + "\u0301" * 500,
        "\u200d\u200c\ufeff",
        "İ ﬁ ß ½ ﷺ",
        "🎉" * 100,
    ],
    "tags": [
        [f"tag{number}" for number in range(5_000)],
        ["t" * 256],
        ["t" * 257],
        ["a\0b"],
        ["\ud800"],
        ["", " ", "red", "red"],
        [],
        None,
    ],
    "group": ["g" * 256, "g" * 257, "a\0b", "", " ", "\ud800", None],
    "price": [1e300, -1.7e308, 1.7e308, 5e-324, -0.0, float("nan"), float("inf"), None],
    "arrival": [datetime(1, 1, 1), datetime(9999, 12, 31), None],
    "item_id": ["i" * 256, "i" * 257, "a\0b", "", "\ud800", "\u200b"],
}
"""Of items, by field of `small_shop`."""

ODD_EVENTS: dict[str, list[Any]] = {
    "user_id": ODD_VALUES["item_id"],
    "item_id": ODD_VALUES["item_id"],
    "weight": [0.0, 1e-300, 1e9, 1e300, -1.0, float("nan"), float("inf")],
    "timestamp": [datetime(1, 1, 1), datetime(9999, 12, 31)],
}
"""Of events, by column."""

PLAIN = {"title": "red item number 7", "tags": ["red"], "group": "even", "price": 9.5, "arrival": datetime(2023, 8, 1)}
REFIT_S = 120.0
"""Longer than any refit takes."""


class Odd(NamedTuple):
    """A change of one row with one odd value, that of `field`."""

    kind: ChangeKind
    field: str
    row: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind} with {self.field} = {self.row[self.field]!r:.40}"


def odd_changes() -> list[Odd]:
    """One for each odd value."""
    event = {"user_id": "u1", "item_id": "i1", "weight": 1.0, "timestamp": datetime(2023, 12, 1)}
    return [
        *(
            Odd("add_items", field, {"item_id": f"odd-{field}-{number}", **PLAIN, field: value})
            for field, values in ODD_VALUES.items()
            for number, value in enumerate(values)
        ),
        *(
            Odd("add_interactions", field, {**event, field: value})
            for field, values in ODD_EVENTS.items()
            for value in values
        ),
        Odd("add_items", "item_id", {"item_id": "odd-bare"}),
    ]


def bear_odd_changes(retriever: str, folder: Path) -> Counter[str]:
    """Make every odd change to an engine of this path alone, and prove what must hold. How many were taken and refused.

    Each is refused with its field named, and nothing has changed, or it is there for good: the path goes on taking
    changes and answering, and a refit, a save and a load go through with all of them and after they were removed.
    """
    path = {"retriever": retriever, "params": RETRIEVERS[retriever]}
    outcomes: Counter[str] = Counter()
    with Engine(EngineConfig.model_validate({"k": 5, "paths": [path]})).fit(small_shop("str")) as engine:
        engine.save(folder)
        for odd in odd_changes():
            outcomes["taken" if takes_change(engine, odd) else "refused"] += 1
            prove(engine, f"after {odd}")
    with Engine.load(folder) as engine:
        prove(engine, "after the journal was replayed")
        engine.refresh().result(REFIT_S)
        prove(engine, "after a refit")
        engine.save(folder)
    with Engine.load(folder) as engine:
        prove(engine, "after save and load")
        engine.remove_items(
            [id_ for id_ in engine.data.items.ids.ids().tolist() if small_shop("str").items.ids.row(id_) < 0]
        )
        engine.refresh().result(REFIT_S)
        prove(engine, "after they were removed")
    return outcomes


def takes_change(engine: Engine, odd: Odd) -> bool:
    """Whether the change was taken; where it was not, nothing may have changed, and the error must name the field."""
    before = engine.health()
    try:
        getattr(engine, odd.kind)([odd.row])
    except MultirecallError as fault:
        if f"{odd.kind}: column {odd.field!r}, row 0 (the first is 0)" not in str(fault):
            raise AssertionError(f"{odd}: the error does not name the field: {fault}") from None
        if engine.health() != before:
            raise AssertionError(f"{odd} was refused, but something has changed") from None
        return False
    return True


def prove(engine: Engine, when: str) -> None:
    """What must hold: the path takes an ordinary item, is well, and answers for users, batches and searches."""
    engine.add_items([{"item_id": "plain", **PLAIN}])
    users = [User("u1"), User(history=["plain", "i3"]), User(terms={"title": "red \ud800 " + LONG, "tags": ["\0"]})]
    states = [engine.retrieve(user, seen=True).status for user in users] + [engine.retrieve_batch(users).status]
    for name, health in engine.health().paths.items():
        if health.stale is not None or health.failed or any(status[name].detail for status in states):
            raise AssertionError(f"{name} {when}: {health.stale or health.last_fault}")
