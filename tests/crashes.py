"""A child process that changes and saves an engine until it is killed, and what its survivor must then be.

Every operation follows from its number and the operations before it, so the child, the model and the engine that never
crashed can each be brought to any number.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from multirecall import Dataset, Engine, EngineConfig, PathConfig

N_USERS, N_ITEMS = 40, 60
COLOURS = ("red", "green", "blue", "black")
NOW = 1_700_000_000
CONFIG = EngineConfig(
    k=30,
    paths=tuple(PathConfig(retriever=name) for name in ("popularity", "user_cf", "item_cf", "content")),
)
WATCHED = tuple(f"u{number}" for number in range(0, N_USERS, 5))
KINDS = ("interactions", "new_items", "changed_items", "removed_items", "save", "refresh")
SHARES = (0.5, 0.1, 0.1, 0.1, 0.14, 0.06)


@dataclass
class Model:
    """What the engine must hold after the first `done` operations, as plain dictionaries."""

    done: int = 0
    histories: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    colours: dict[str, str | None] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)

    @classmethod
    def at(cls, done: int) -> Model:
        """The model after so many operations."""
        log, items = base_frames()
        model = cls(colours=dict(items.iter_rows()))
        for user, item, at in log.iter_rows():
            model._note(user, item, at)
        while model.done < done:
            model.advance()
        return model

    def operation(self) -> tuple[str, Any]:
        """The next operation: its kind, and what it is given."""
        rng = random.Random(self.done)
        kind = rng.choices(KINDS, SHARES)[0]
        items = sorted(self.colours)
        if kind == "interactions":
            return kind, [
                {
                    "user_id": f"u{rng.randrange(N_USERS + 5 + self.done // 10)}",
                    "item_id": rng.choice([*items, f"e{self.done}"]),
                    "timestamp": NOW + rng.randrange(-1000, 100 * (self.done + 1)),
                }
                for _ in range(rng.randint(1, 20))
            ]
        if kind == "new_items":
            fresh = [{"item_id": f"n{self.done}-{one}", "colour": rng.choice(COLOURS)} for one in range(3)]
            return kind, [*fresh, {"item_id": rng.choice(items), "colour": rng.choice(COLOURS)}]
        if kind == "changed_items":
            return kind, [{"item_id": item, "colour": rng.choice(COLOURS)} for item in rng.sample(items, 3)]
        if kind == "removed_items":
            return kind, rng.sample(items, 2)
        return kind, None

    def advance(self) -> None:
        """Take the next operation."""
        kind, given = self.operation()
        if kind == "interactions":
            for event in given:
                self._note(event["user_id"], event["item_id"], event["timestamp"])
        elif kind in ("new_items", "changed_items"):
            self.colours |= {row["item_id"]: row["colour"] for row in given}
            if kind == "new_items":
                self.removed -= {row["item_id"] for row in given}
        elif kind == "removed_items":
            self.removed |= set(given)
        self.done += 1

    def contents(self) -> dict[str, Any]:
        """What `contents_of` must find in an engine."""
        return {
            "histories": {user: [item for _, _, item in sorted(events)] for user, events in self.histories.items()},
            "colours": self.colours,
            "removed": self.removed,
        }

    def _note(self, user: str, item: str, at: int) -> None:
        events = self.histories.setdefault(user, [])
        events.append((at, len(events), item))
        self.colours.setdefault(item, None)


def base_frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    """The log and the item table that every engine here begins with."""
    rng = np.random.default_rng(1)
    log = pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in rng.integers(0, N_USERS, 600)],
            "item_id": [f"i{number}" for number in rng.integers(0, N_ITEMS, 600)],
            "timestamp": NOW - np.arange(600)[::-1],
        }
    )
    items = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(N_ITEMS)],
            "colour": [COLOURS[number % len(COLOURS)] for number in range(N_ITEMS)],
        }
    )
    return log, items


def new_engine() -> Engine:
    """An engine before the first operation."""
    log, items = base_frames()
    return Engine(CONFIG).fit(Dataset.from_frames(log, items))


def perform(engine: Engine, operation: tuple[str, Any], save: Callable[[], None]) -> None:
    """Let an engine carry an operation out; `save` is what saving means to it."""
    kind, given = operation
    if kind == "refresh":
        engine.refresh().result(timeout=60)
        save()
    elif kind == "save":
        save()
    else:
        calls: dict[str, Callable[[Any], int]] = {
            "interactions": engine.add_interactions,
            "new_items": engine.add_items,
            "changed_items": engine.update_items,
            "removed_items": engine.remove_items,
        }
        calls[kind](given)


def contents_of(engine: Engine) -> dict[str, Any]:
    """What an engine holds, in external ids."""
    data = engine.data
    items, users = data.items.ids.ids(), data.users.ids.ids()
    histories = {user: items[data.history(row).items].tolist() for row, user in enumerate(users.tolist())}
    removed = np.zeros(data.n_items, np.bool_) if data.removed is None else data.removed
    colour = data.items.features["colour"]
    return {
        "histories": {user: history for user, history in histories.items() if history},
        "colours": {item: colour.value(row) for row, item in enumerate(items.tolist())},
        "removed": set(items[removed].tolist()),
    }


def child(folder: Path, done: int, acknowledged: Connection) -> None:
    """Carry operations out one after another, and tell after each how many are done."""
    with Engine.load(folder) as engine:
        model = Model.at(done)
        while True:
            perform(engine, model.operation(), lambda: engine.save(folder))
            model.advance()
            acknowledged.send(model.done)


class Harness:
    """Kills a child again and again; what survives is compared with the model and with an engine that never crashed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.kills = 0
        self.operations = 0
        self.killed_in: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._random = random.Random(seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["multirecall.engine", "multirecall.datasets", "crashes"])
        self._model = Model.at(0)
        self._reference = new_engine()
        with new_engine() as engine:
            engine.save(folder)

    def kill_once(self) -> None:
        """One child, killed at a random moment, and its survivor examined.

        Raises:
            AssertionError: an acknowledged operation is lost, or half of one is there, or answers differ.
        """
        before = self._newest_version()
        acknowledged = self._killed_child()
        with Engine.load(self.folder) as survivor:
            found = contents_of(survivor)
            while self._model.done < acknowledged:
                before += self._model.operation()[0] in ("save", "refresh")
                self._advance()
            kind, _ = self._model.operation()
            self.killed_in[kind] += 1
            if self._newest_version() > before or found != self._model.contents():
                self._advance()
            assert found == self._model.contents(), f"after {acknowledged} acknowledged operations"
            self._compare(survivor)
        self.kills += 1
        self.operations = self._model.done

    def _killed_child(self) -> int:
        """Let a child run for a random while; how many operations are acknowledged in all."""
        here, there = self._context.Pipe(duplex=False)
        process = self._context.Process(target=child, args=(self.folder, self._model.done, there), daemon=True)
        process.start()
        there.close()
        acknowledged = self._model.done
        try:
            for _ in range(self._random.randint(1, 12)):
                assert here.poll(60), "the child does not answer"
                acknowledged = here.recv()
            time.sleep(self._random.uniform(0, 0.02))
            process.kill()
            process.join()
            while here.poll(0):
                acknowledged = here.recv()
        except EOFError:
            pass
        finally:
            process.kill()
            process.join()
        assert process.exitcode == -9, f"the child ended with {process.exitcode}"
        return int(acknowledged)

    def _newest_version(self) -> int:
        return max(int(version.name) for version in Engine.versions(self.folder))

    def _advance(self) -> None:
        kind, given = self._model.operation()
        perform(self._reference, (kind, given), lambda: None)
        self._model.advance()

    def _compare(self, survivor: Engine) -> None:
        for user in WATCHED:
            ours, theirs = survivor.retrieve(user, seen=True), self._reference.retrieve(user, seen=True)
            np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-3, atol=1e-6)
            assert set(ours.ids.tolist()).isdisjoint(self._model.removed)
