"""Thirty seconds of load on real services, while their data change, are fitted anew and rolled back."""

from __future__ import annotations

import json
from email.message import Message
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from _soak import PRICE, K, Seen, Truth, ask_once, soak

SECONDS = 30.0


def test_no_answer_is_wrong_while_everything_changes(tmp_path: Path) -> None:
    seen = soak(tmp_path, SECONDS)
    assert seen.wrong[:3] == []
    assert set(seen.statuses) == {200}
    assert seen.statuses[200] > 100
    assert {"events", "remove", "add", "refresh", "rollback"} <= set(seen.done), "something was never tried"


class Connection:
    """Gives one answer to whatever is asked."""

    def __init__(self, said: Any, status: int = 200, version: int = 7) -> None:
        self.said, self.status, self.headers = said, status, Message()
        self.headers["X-Version"] = str(version)

    def request(self, *_: object) -> None:
        """Any request will do."""

    def getresponse(self) -> Connection:
        return self

    def read(self) -> bytes:
        return json.dumps(self.said).encode()


def answer(**changed: Any) -> dict[str, Any]:
    items = [f"i{number}" for number in range(K)]
    prices = [PRICE] * K
    return {
        "items": items,
        "fields": {"price": prices},
        "shortfall": 0,
        "status": {"item_cf": {"state": "ok"}},
        **changed,
    }


def faults(connection: Connection) -> list[str]:
    """What is wrong with 20 answers, some of them to requests for what is cheap."""
    truth = Truth(removed={"gone"}, seen={"u1": {"known"}}, version=7)
    seen = Seen()
    for number in range(20):
        ask_once(cast(Any, connection), Random(number), ["u1"], truth, seen)
    return seen.wrong


def test_a_right_answer_is_not_wrong() -> None:
    assert faults(Connection(answer())) == []


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        (Connection(answer(), status=500), "500"),
        (Connection(answer(), version=6), "a version before the one asked for"),
        (Connection(answer(items=["i1"] * K)), "an item twice"),
        (Connection(answer(shortfall=1)), "too few items"),
        (Connection(answer(items=["gone", *answer()["items"][1:]])), "a removed item"),
        (Connection(answer(items=["known", *answer()["items"][1:]])), "a seen item"),
        (Connection(answer(fields={"price": [PRICE + 1] * K})), "an item too dear"),
        (Connection(answer(fields={"price": [None] * K})), "an item too dear"),
        (Connection(answer(status={"item_cf": {"state": "late"}})), "a path that is not ok"),
    ],
)
def test_each_fault_is_noticed(connection: Connection, said: str) -> None:
    found = faults(connection)
    assert found
    assert all(one.startswith(said) for one in found)
