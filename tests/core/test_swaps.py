"""Many threads ask while the state is replaced: every answer is wholly one state's, and no thread stays behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from patience import eventually

from multirecall import Dataset, Engine, EngineConfig
from multirecall.engine.deadline import Deadline
from multirecall.engine.runner import run_paths
from multirecall.query import Query

BOUND_S = 20.0
N_THREADS = 4
SWAPS = 6
USERS = range(12)

Answer = tuple[list[int], list[float], list[list[int]]]


def world(seed: int) -> Dataset:
    """25 users and 40 items or more, so that lists, rows and sizes differ from one world to the next."""
    rng = np.random.default_rng(seed)
    n_items = 40 + 7 * seed
    events = {"user_id": rng.integers(0, 25, 400), "item_id": rng.integers(0, n_items, 400)}
    return Dataset.from_frames(pl.DataFrame(events))


def config(cache_size: int) -> EngineConfig:
    paths: list[dict[str, Any]] = [{"retriever": "rows", "name": "threaded"}, {"retriever": "item_cf", "quota": 9}]
    fallback = {"retriever": "rows"}
    return EngineConfig.model_validate({"k": 30, "paths": paths, "fallback": fallback, "cache_size": cache_size})


def answer(engine: Engine, user: int) -> Answer:
    result = engine.retrieve(user)
    assert all(one.state == "ok" for one in result.status.values())
    return result.ids.tolist(), result.scores.tolist(), result.ranks.tolist()


def worker_threads() -> int:
    return sum(thread.name in ("multirecall-threaded", "multirecall-fallback") for thread in threading.enumerate())


@pytest.mark.parametrize("cache_size", [0, 8, 1000])
def test_every_answer_is_one_of_the_states(plugins: Callable[..., None], cache_size: int) -> None:
    plugins(rows="faulty:Rows")
    before = worker_threads()
    worlds = [world(seed) for seed in range(3)]
    known: dict[int, list[Answer]] = {user: [] for user in USERS}
    for one in worlds:
        with Engine(config(0)) as alone:
            alone.fit(one)
            for user in USERS:
                known[user].append(answer(alone, user))
    assert all(len({str(one) for one in answers}) == len(worlds) for answers in known.values())
    engine = Engine(config(cache_size)).fit(worlds[0])
    over = threading.Event()
    wrong: list[object] = []
    seen: set[int] = set()

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not over.is_set():
            user = int(rng.integers(len(USERS)))
            try:
                got = answer(engine, user)
                seen.add(known[user].index(got))
            except Exception as fault:  # noqa: BLE001 - whatever it is, the test must show it
                wrong.append((user, fault))
                return

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(N_THREADS)]
    for thread in threads:
        thread.start()
    for swap in range(SWAPS):
        engine.fit(worlds[(swap + 1) % len(worlds)])
        served = (swap + 1) % len(worlds)
        assert answer(engine, 3) == known[3][served], "who asks after the swap gets the new state"
        seen.discard(served)
        eventually(lambda served=served: served in seen or wrong)  # type: ignore[misc]
    over.set()
    for thread in threads:
        thread.join(BOUND_S)
    assert not wrong
    if cache_size == 1000:
        assert engine.health().cache.hits > 0
    engine.close()
    for thread in threading.enumerate():
        if thread.name in ("multirecall-threaded", "multirecall-fallback"):
            thread.join(0.5)
    assert worker_threads() <= before


def test_request_finishes_on_the_state_it_began_on(plugins: Callable[..., None]) -> None:
    plugins(rows="faulty:Rows")
    engine = Engine(config(0)).fit(world(0))
    old = engine._state
    assert old is not None
    nobody = Query(-1, np.empty(0, np.int32), np.empty(0, np.float32))
    expected = [one.ranked for one in run_paths(old.paths, old.windows, nobody, Deadline(None))]
    engine.fit(world(1))
    for _ in range(3):
        outcomes = run_paths(old.paths, old.windows, nobody, Deadline(BOUND_S * 1e3))
        assert [one.state for one in outcomes] == ["ok", "ok"]
        for outcome, one in zip(outcomes, expected, strict=True):
            assert one is not None
            assert outcome.ranked is not None
            assert outcome.ranked.items.tolist() == one.items.tolist()
    engine.close()
