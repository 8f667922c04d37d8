"""A service under load while its data change, are fitted anew and rolled back: what must hold of each answer.

First two workers of `multirecall serve --writable` take the changes over HTTP. Then a service only follows the bundle,
which this process writes, and rolls back: a bundle can be rolled back by nobody else while it has a writer.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

import numpy as np
from _served import Served, serving

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate

SEED = 7
PATHS = ("item_cf", "user_cf", "content", "popularity")
K = 20
PRICE = 30.0
CLIENTS = 3
BREATH_S = 0.01
"""Between two requests of a client, so that the load is steady and a machine of two cores is not swamped."""

CHANGES_A_REFIT = 25
NEW_ITEMS = 100
"""Items that join; later they are changed, so that the growth of memory is not that of the catalogue."""

WARM = 0.25
"""The share of a phase after which the growth of memory is looked at."""


@dataclass
class Truth:
    """What was acknowledged; every answer to a request that names `version` must agree with it."""

    removed: set[str] = field(default_factory=set)
    seen: dict[str, set[str]] = field(default_factory=dict)
    version: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def copied(self, user: str) -> tuple[set[str], set[str], int]:
        """The removed items, the items that a user has seen, and the version of both."""
        with self.lock:
            return set(self.removed), set(self.seen.get(user, ())), self.version


@dataclass
class Seen:
    """What a run has seen.

    Attributes:
        statuses: how many answers had each status.
        done: how many changes of each kind were acknowledged.
        wrong: a sentence for each answer that was wrong.
        memory: for each process, seconds and MiB.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def growth(self) -> dict[int, dict[str, float]]:
        """For each process the slope of its memory after the warm-up, MiB an hour, and its standard error."""
        found = {}
        for pid, points in self.memory.items():
            times, mib = np.array(points[int(len(points) * WARM) :]).T
            if times.size > 2:
                (slope, level), covariance = np.polyfit(times, mib, 1, cov="unscaled")
                spread = float(np.std(mib - slope * times - level, ddof=2))
                error = spread * float(covariance[0, 0]) ** 0.5
                found[pid] = {"mib_an_hour": float(slope) * 3600, "error": error * 3600, "last_mib": float(mib[-1])}
        return found


def soak(folder: Path, seconds: float) -> Seen:
    """Serve, change and check for so many seconds, half of them with each service."""
    log = generate(200, 300, 6_000, seed=SEED)
    data = Dataset.from_frames(log.interactions, log.items, log.users)
    config = EngineConfig.model_validate(
        {"paths": [{"retriever": name} for name in PATHS], "fusion": {"strategy": "rrf"}, "seed": SEED}
    )
    users, items = data.users.ids.ids().tolist(), data.items.ids.ids().tolist()
    bundle, seen, truth = folder / "bundle", Seen(), Truth()
    with Engine(config).fit(data) as engine:
        engine.save(bundle)
    with serving(bundle, "--writable", "--workers", "2") as served, _clients(served, users, truth, seen):
        _change(_Over(served), items, users, truth, seen, seconds / 2)
    with serving(bundle) as served, _clients(served, users, truth, seen):
        _change(_Here(bundle), items, users, truth, seen, seconds / 2)
    return seen


class _Over:
    """Changes over HTTP; the service refits."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def add_events(self, rows: list[dict[str, Any]]) -> int:
        return self._send("POST", "/v1/interactions", {"interactions": rows})

    def remove_items(self, ids: list[str]) -> int:
        return self._send("DELETE", "/v1/items", {"item_ids": ids})

    def add_items(self, rows: list[dict[str, Any]]) -> int:
        return self._send("POST", "/v1/items", {"items": rows})

    def refit(self) -> str:
        self._send("POST", "/v1/refresh", {"save": True}, also=(409,))
        return "refresh"

    def close(self) -> None:
        """Nothing is held."""

    def _send(self, method: str, path: str, body: Any, also: tuple[int, ...] = ()) -> int:
        with closing(HTTPConnection("127.0.0.1", self._served.port, timeout=30)) as connection:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = json.loads(answer.read())
            if answer.status not in (200, 202, *also):
                raise AssertionError(f"{method} {path}: {answer.status} {said}")
            return int(said.get("version", 0))


class _Here:
    """Changes by the engine that writes the bundle; after each second refit the bundle is rolled back."""

    def __init__(self, bundle: Path) -> None:
        self._bundle, self._engine, self._refits = bundle, Engine.load(bundle), 0

    def add_events(self, rows: list[dict[str, Any]]) -> int:
        self._engine.add_interactions(rows)
        return self._engine.last_change

    def remove_items(self, ids: list[str]) -> int:
        self._engine.remove_items(ids)
        return self._engine.last_change

    def add_items(self, rows: list[dict[str, Any]]) -> int:
        self._engine.add_items(rows)
        return self._engine.last_change

    def refit(self) -> str:
        self._refits += 1
        if self._refits % 2:
            self._engine.refresh().result()
            self._engine.save(self._bundle)
            return "refresh"
        self._engine.close()
        Engine.rollback(self._bundle)
        self._engine = Engine.load(self._bundle)
        return "rollback"

    def close(self) -> None:
        self._engine.close()


def _change(
    writer: _Over | _Here, items: list[str], users: list[str], truth: Truth, seen: Seen, seconds: float
) -> None:
    """Change the data until the time is over, and note what was acknowledged."""
    chance, end = Random(SEED), monotonic() + seconds
    with closing(writer):
        turn = 0
        while monotonic() < end:
            turn += 1
            kind = (
                "refit"
                if turn % CHANGES_A_REFIT == 0
                else chance.choice(("events", "events", "events", "remove", "add"))
            )
            left = [item for item in items if item not in truth.removed]
            if kind == "refit":
                kind = writer.refit()
            elif kind == "events":
                user, item = chance.choice(users), chance.choice(left)
                version = writer.add_events([{"user_id": user, "item_id": item, "timestamp": 1_800_000_000 + turn}])
                with truth.lock:
                    truth.version = version
                    truth.seen.setdefault(user, set()).add(item)
            elif kind == "remove" and len(left) > 150:
                item = chance.choice(left)
                version = writer.remove_items([item])
                with truth.lock:
                    truth.version = version
                    truth.removed.add(item)
            else:
                kind, name = "add", f"new-{turn % NEW_ITEMS}"
                version = writer.add_items([{"item_id": name, "title": "a new thing", "price": 5.0 + turn % 50}])
                with truth.lock:
                    truth.version = version
            seen.done[kind] += 1
            sleep(5 * BREATH_S)


@contextmanager
def _clients(served: Served, users: list[str], truth: Truth, seen: Seen) -> Iterator[None]:
    """Clients that ask and check, and a look at the memory each second, until the block ends."""
    stop = threading.Event()

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as fault:  # noqa: BLE001 - what ends a client is a wrong answer too
            seen.wrong.append(f"{type(fault).__name__}: {fault}")

    def ask(number: int) -> None:
        chance = Random(number)
        with closing(HTTPConnection("127.0.0.1", served.port, timeout=30)) as connection:
            while not stop.wait(BREATH_S):
                ask_once(connection, chance, users, truth, seen)

    def weigh() -> None:
        start = monotonic()
        while not stop.wait(1.0):
            for pid in (served.pid, *_children(served.pid)):
                kib = [line.split()[1] for line in _lines(f"/proc/{pid}/status") if line.startswith("VmRSS")]
                if kib:
                    seen.memory.setdefault(pid, []).append((monotonic() - start, int(kib[0]) / 1024))

    jobs = [lambda number=number: ask(number) for number in range(CLIENTS)]
    threads = [threading.Thread(target=run, args=(job,)) for job in (*jobs, weigh)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def ask_once(connection: HTTPConnection, chance: Random, users: list[str], truth: Truth, seen: Seen) -> None:
    """Ask for a user, in a third of the cases for cheap items only, and note what is wrong with the answer."""
    user, cheap = chance.choice(users), chance.random() < 0.3
    removed, own, version = truth.copied(user)
    body: dict[str, Any] = {"user_id": user, "k": K, "fields": ["price"]}
    if cheap:
        body["where"] = {"price": {"max": PRICE}}
    headers = {"Content-Type": "application/json", "X-Min-Version": str(version), "X-Deadline-Ms": "10000"}
    connection.request("POST", "/v1/retrieve", json.dumps(body), headers)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    seen.statuses[answer.status] += 1
    if answer.status != 200:
        seen.wrong.append(f"{answer.status}: {said}")
        return
    found, prices = said["items"], said["fields"]["price"]
    faults = {
        "a version before the one asked for": int(answer.headers["X-Version"]) < version,
        "an item twice": len(set(found)) < len(found),
        "too few items": len(found) + said["shortfall"] != K,
        "a removed item": bool(removed & set(found)),
        "a seen item": bool(own & set(found)),
        "an item too dear": cheap and any(price is None or price > PRICE for price in prices),
        "a path that is not ok": any(one["state"] != "ok" for one in said["status"].values()),
    }
    seen.wrong.extend(f"{fault}: {body} got {said}" for fault, wrong in faults.items() if wrong)


def _children(pid: int) -> list[int]:
    return [int(one) for line in _lines(f"/proc/{pid}/task/{pid}/children") for one in line.split()]


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text().splitlines()
    except OSError:  # the process has ended meanwhile
        return []
