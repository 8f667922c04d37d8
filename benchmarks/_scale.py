"""The arithmetic of docs/scale.md: memory, network and computing time of a large catalogue from measured figures."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from statistics import mean
from typing import Any

ITEMS, USERS, EVENTS_A_USER = 10**8, 10**9, 50
REQUESTS_A_SECOND = 1_000
SHARDS = (4, 10, 25, 50, 100)
GB = 1e9


@dataclass(frozen=True, slots=True)
class PerItem:
    """Bytes for an item of the catalogue.

    Attributes:
        divided: those that one shard holds.
        repeated: those that every shard holds.
    """

    divided: float
    repeated: float

    def of_shard(self, shards: int, items: int = ITEMS) -> float:
        """The bytes of one shard."""
        return items * (self.divided / shards + self.repeated)

    def of_all(self, shards: int, replicas: int = 1, items: int = ITEMS) -> float:
        """The bytes of all replicas of all shards."""
        return replicas * shards * self.of_shard(shards, items)


def per_item(size: dict[str, Any], without: tuple[str, ...] = ()) -> PerItem:
    """The sum over all paths but those `without`, and the item table, which every shard holds."""
    paths = [own for name, own in size["paths"].items() if name not in without]
    return PerItem(sum(own["divided"] for own in paths), sum(own["repeated"] for own in paths) + size["data"]["item"])


def histories_bytes(size: dict[str, Any], users: int = USERS, events: int = EVENTS_A_USER) -> float:
    """The bytes of the histories of all users, which a shard would hold if they came from no source outside."""
    data = size["data"]
    return float(users * (data["user"] + events * data["event"]))


def request_bytes(size: dict[str, Any], shards: int) -> tuple[float, float]:
    """The bytes that a client sends for a request, and those that it gets back from all shards."""
    return shards * size["sent_bytes"], shards * size["answer_bytes"]


def gigabits(n_bytes: float, requests: float = REQUESTS_A_SECOND) -> float:
    """Gigabits a second at a rate of requests."""
    return n_bytes * requests * 8 / 1e9


def growth(small: dict[str, Any], large: dict[str, Any]) -> float:
    """The exponent with which the mean time of a shard grows with its items, between two measured sizes."""
    times = [mean(size["service_ms"]) for size in (small, large)]
    return log(times[1] / times[0]) / log(large["items"] / small["items"])


def service_ms(small: dict[str, Any], large: dict[str, Any], items: float) -> float:
    """The mean time of a shard of some items if it grows on as between the measured sizes."""
    return float(mean(large["service_ms"]) * (items / large["items"]) ** growth(small, large))


def cores(shards: int, ms: float, merge_ms: float, requests: float = REQUESTS_A_SECOND, load: float = 0.5) -> float:
    """The cores that answer so many requests a second at this load of each: those of all shards and of the clients."""
    return requests * (shards * ms + merge_ms) / 1e3 / load
