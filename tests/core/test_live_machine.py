"""Random sequences of live changes, saves, loads and crashes, against a plain dictionary."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from concurrent.futures import Future
from functools import cache
from pathlib import Path

import polars as pl
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.data import History

MEMORY = next((str(folder) for folder in [Path("/dev/shm")] if folder.is_dir()), None)
"""Where thousands of small files cost nothing, if the machine has such a place; `test_crash` works on the disk."""

USERS = st.sampled_from([f"u{number}" for number in range(8)])
KNOWN = [f"i{number}" for number in range(12)]
ITEMS = st.sampled_from([*KNOWN, *(f"n{number}" for number in range(6))])
COLOURS = st.sampled_from(["red", "green", "blue", "mauve"])
CONFIG = EngineConfig(
    k=5, paths=tuple(PathConfig(retriever=name) for name in ("item_cf", "user_cf", "popularity", "content"))
)
BASE = [(f"u{number % 5}", KNOWN[(number * 7) % 12], 1_000 + number) for number in range(30)]


@cache
def saved_engine() -> Path:
    """A bundle of an engine that is fitted on `BASE`; each machine works on a copy."""
    home = Path(tempfile.mkdtemp(dir=MEMORY))
    atexit.register(shutil.rmtree, home)
    folder = home / "bundle"
    log = pl.DataFrame(BASE, schema=["user_id", "item_id", "timestamp"], orient="row")
    items = pl.DataFrame({"item_id": KNOWN, "colour": ["red", "green"] * 6})
    with Engine(CONFIG).fit(Dataset.from_frames(log, items)) as engine:
        engine.save(folder)
    return folder


class LiveEngine(RuleBasedStateMachine):
    """What an engine with live changes must do, whatever happens in between."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=MEMORY))
        self.folder = self.home / "bundle"
        self.histories: dict[str, list[tuple[int, int, str]]] = {}
        self.colours: dict[str, str | None] = {item: ("red", "green")[row % 2] for row, item in enumerate(KNOWN)}
        self.removed: set[str] = set()
        self.now = 2_000
        for user, item, at in BASE:
            self.note(user, item, at)

    @initialize()
    def load(self) -> None:
        shutil.copytree(saved_engine(), self.folder)
        self.engine = Engine.load(self.folder)

    @rule(events=st.lists(st.tuples(USERS, ITEMS, st.integers(-50, 50)), min_size=1, max_size=4))
    def add_interactions(self, events: list[tuple[str, str, int]]) -> None:
        self.now += 10
        rows = [{"user_id": user, "item_id": item, "timestamp": self.now + shift} for user, item, shift in events]
        assert self.engine.add_interactions(rows) == len(rows)
        for user, item, shift in events:
            self.note(user, item, self.now + shift)

    @rule(items=st.dictionaries(ITEMS, COLOURS, min_size=1, max_size=3))
    def add_items(self, items: dict[str, str]) -> None:
        self.engine.add_items(pl.DataFrame({"item_id": list(items), "colour": list(items.values())}))
        self.colours |= items
        self.removed -= items.keys()

    @rule(data=st.data(), colour=COLOURS)
    def update_items(self, data: st.DataObject, colour: str) -> None:
        item = data.draw(st.sampled_from(sorted(self.colours)))
        self.engine.update_items([{"item_id": item, "colour": colour}])
        self.colours[item] = colour

    @rule(data=st.data())
    def remove_items(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.colours)), min_size=1, max_size=3, unique=True))
        self.engine.remove_items(chosen)
        self.removed |= set(chosen)

    @rule(user=USERS, item=ITEMS, data=st.data())
    def remove_interactions(self, user: str, item: str, data: st.DataObject) -> None:
        events = self.histories.get(user, [])
        if events and data.draw(st.sampled_from([False, True])):
            at, _, item = data.draw(st.sampled_from(events))
            row: dict[str, object] = {"user_id": user, "item_id": item, "timestamp": at}
            left = [event for event in events if (event[0], event[2]) != (at, item)]
        else:
            row = {"user_id": user, "item_id": item}
            left = [event for event in events if event[2] != item]
        assert self.engine.remove_interactions([row]) == len(events) - len(left)
        self.histories[user] = left

    @rule(users=st.sets(USERS, max_size=2))
    def remove_users(self, users: set[str]) -> None:
        known = [user for user in users if self.engine.data.users.ids.row(user) >= 0]
        assert self.engine.remove_users(users) == len(known)
        for user in users:
            self.histories.pop(user, None)
            assert not len(self.engine.data.history(self.engine.data.users.ids.row(user)).items)

    @rule(user=USERS, seen=st.booleans())
    def retrieve_everything(self, user: str, seen: bool) -> None:
        result = self.engine.retrieve(user, k=100, seen=seen)
        mine = set() if seen else {item for _, _, item in self.histories.get(user, [])}
        assert sorted(result.ids.tolist()) == sorted(self.colours.keys() - self.removed - mine)
        assert result.shortfall == 100 - len(result)

    @rule(user=USERS, colour=COLOURS)
    def retrieve_some(self, user: str, colour: str) -> None:
        if colour not in self.colours.values():
            return
        result = self.engine.retrieve(user, k=100, where={"colour": colour}, seen=True)
        wanted = {item for item, own in self.colours.items() if own == colour} - self.removed
        assert set(result.ids.tolist()) == wanted

    @rule()
    def save(self) -> None:
        self.engine.save(self.folder)

    @rule()
    def load_again(self) -> None:
        self.engine.close()
        self.engine = Engine.load(self.folder)

    @rule()
    def crash(self) -> None:
        """What stands on the disk while the engine is open is all that a dead process leaves."""
        left = self.home / f"left{len(list(self.home.iterdir()))}"
        shutil.copytree(self.folder, left)
        self.engine.close()
        self.folder = left
        self.engine = Engine.load(left)

    @rule()
    def refresh(self) -> None:
        refit: Future[None] = self.engine.refresh()
        refit.result(timeout=60)
        held = {item for events in self.histories.values() for _, _, item in events} | self.removed
        self.colours = {item: colour for item, colour in self.colours.items() if colour or item in held}

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def histories_are_held(self) -> None:
        data = self.engine.data
        for user, events in self.histories.items():
            history: History = data.history(data.users.ids.row(user))
            expected = [item for _, _, item in sorted(events)]
            assert data.items.ids.ids(history.items).tolist() == expected
        assert data.n_items == len(self.colours)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
        shutil.rmtree(self.home)

    def note(self, user: str, item: str, at: int) -> None:
        """Take an event into the model."""
        events = self.histories.setdefault(user, [])
        events.append((at, len(events), item))
        self.colours.setdefault(item, None)


LiveEngine.TestCase.settings = settings(max_examples=15, stateful_step_count=20)
TestLiveEngine = LiveEngine.TestCase
