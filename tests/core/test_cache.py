"""The result cache: what counts as the same request, what is kept, and that nothing stale ever comes back."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import faulty
import numpy as np
import polars as pl
import pytest

from multirecall import Dataset, Engine, EngineConfig, User
from multirecall.engine.cache import description
from multirecall.errors import RequestError
from multirecall.lists import RankedList
from multirecall.testing import small_shop


def engine(size: int = 100, **changed: Any) -> Engine:
    config = {"k": 8, "cache_size": size, "paths": [{"retriever": "item_cf"}, {"retriever": "popularity"}], **changed}
    return Engine(EngineConfig.model_validate(config)).fit(small_shop())


@pytest.fixture(scope="module")
def cached() -> Engine:
    return engine()


@pytest.fixture(scope="module")
def plain() -> Engine:
    return engine(0)


def hits(engine: Engine) -> int:
    return engine.health().cache.hits


REQUESTS: list[dict[str, Any]] = [
    {"user": 1},
    {"user": 1, "k": 9},
    {"user": 1, "seen": True},
    {"user": 1, "exclude": [3]},
    {"user": 1, "exclude": [5]},
    {"user": 1, "exclude": np.array([3, 5])},
    {"user": 1, "where": {"group": "even"}},
    {"user": 1, "where": {"group": ["even", "odd"]}},
    {"user": 1, "where": {"price": {"min": 5}}},
    {"user": 1, "where": {"price": {"max": 5}}},
    {"user": 1, "where": {"arrival": {"max": datetime(2024, 1, 1)}}},
    {"user": User()},
    {"user": User(1)},
    {"user": User(history=[1])},
    {"user": User(1, history=[1])},
    {"user": User(history=[1, 2])},
    {"user": User(history=[2, 1])},
    {"user": User(history=np.array([1, 2, 3]))},
    {"user": User(features={"country": "DE"})},
    {"user": User(terms={"title": "red"})},
    {"user": 1, "context": {"device": "phone"}},
    {"user": 1, "context": {"device": "watch"}},
]


def test_every_part_of_a_request_tells_it_from_others(cached: Engine, plain: Engine) -> None:
    for again in (False, True):
        for request in REQUESTS:
            before = hits(cached)
            answer, expected = cached.retrieve(**request), plain.retrieve(**request)
            assert hits(cached) - before == again, request
            for name in ("ids", "scores", "ranks"):
                assert getattr(answer, name).tolist() == getattr(expected, name).tolist(), request
            assert (answer.paths, answer.n_backfilled, answer.shortfall) == (
                expected.paths,
                expected.n_backfilled,
                expected.shortfall,
            )


def test_deadline_makes_no_difference(cached: Engine) -> None:
    cached.retrieve(7)
    before = hits(cached)
    cached.retrieve(7, deadline_ms=60_000)
    assert hits(cached) == before + 1


DISTINCT: list[Any] = [
    None, True, False, 1, 0, 1.0, "1", b"1", "", "True", "None", "[1]", "1, 2",
    np.int64(1), np.int32(1), np.float64(1.0), np.bool_(True), np.str_("1"),
    (), [], {}, set(), [1], (1,), {1}, [[1]], [1, 2], [2, 1], ["1, 2"], ["1", "2"], [True], ["[1]"], [[], []],
    {"a": 1}, {"a": [1]}, {"a": {"b": 1}}, {"a": 1, "b": 2}, [("a", 1)],
    date(2024, 1, 1), datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC),
    np.array([1]), np.array([1], np.int32), np.array([[1]]), np.array([1.0]), np.array(["1"]),
    np.array(["1"], object), np.array([1], object),
    User(), User(1), User("1"), User(history=[]), User(features={"a": 1}), User(terms={"a": 1}),
]  # fmt: skip


def test_different_values_are_described_differently() -> None:
    texts = [description(value) for value in DISTINCT]
    assert None not in texts
    assert len(set(texts)) == len(DISTINCT)


def test_equal_values_are_described_alike() -> None:
    assert description({3, 1, 2}) == description(frozenset([2, 3, 1]))
    assert description(np.arange(10)[::2]) == description(np.array([0, 2, 4, 6, 8]))
    long = list(range(10_000))
    assert description(long) == description(list(long))
    assert description(long) != description([*long[:-1], -1])
    assert len(description(long) or "") < 100


class Odd(int):
    """An int that is not quite one."""


def test_what_cannot_be_described_is_left_alone(cached: Engine, plain: Engine) -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (Odd(1), iter([1]), (n for n in [1]), range(3), pl.Series([1]), endless, 10**5000, object(), [Odd(1)]):
        assert description(value) is None
    before = hits(cached)
    for _ in range(2):
        assert cached.retrieve(1, exclude=iter([3])).ids.tolist() == plain.retrieve(1, exclude=[3]).ids.tolist()
    assert hits(cached) == before


def test_refused_requests_are_refused_again(cached: Engine) -> None:
    for _ in range(2):
        with pytest.raises(RequestError):
            cached.retrieve(1, where={"nothing": 1})


def test_arrays_of_a_kept_answer_cannot_be_changed(cached: Engine) -> None:
    first = cached.retrieve(11)
    second = cached.retrieve(11)
    for answer in (first, second):
        for array in (answer.ids, answer.scores, answer.ranks):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = array[1]
        answer.status.clear()  # type: ignore[attr-defined]
    assert cached.retrieve(11).status.keys() == {"item_cf", "popularity"}


def test_least_recently_used_goes_first() -> None:
    small = engine(2)
    for user in (1, 2, 1, 3):  # 2 goes
        small.retrieve(user)
    assert (small.health().cache.entries, hits(small)) == (2, 1)
    small.retrieve(1)
    small.retrieve(3)
    assert hits(small) == 3
    small.retrieve(2)
    health = small.health().cache
    assert (health.size, health.entries, health.hits, health.misses) == (2, 2, 3, 4)
    assert health.hit_rate == 3 / 7


def test_engine_without_a_cache_counts_nothing(plain: Engine) -> None:
    plain.retrieve(1)
    health = plain.health().cache
    assert (health.size, health.entries, health.hits, health.misses, health.hit_rate) == (0, 0, 0, 0, 0.0)
    assert plain.retrieve(1).ids.flags.writeable


def smaller_shop() -> Dataset:
    """The shop after half of its events and some of its items have gone."""
    rng = np.random.default_rng(5)
    events = {"user_id": rng.integers(0, 20, 200), "item_id": rng.integers(0, 40, 200)}
    return Dataset.from_frames(pl.DataFrame(events))


def test_no_answer_outlives_its_state(plain: Engine) -> None:
    cached = engine()
    old = cached._state
    answers = {user: cached.retrieve(user).ids.tolist() for user in range(10)}
    cached.fit(smaller_shop())
    fresh = Engine(cached.config).fit(smaller_shop())
    for user in range(10):
        assert cached.retrieve(user).ids.tolist() == fresh.retrieve(user).ids.tolist() != answers[user]
    assert hits(cached) == 0
    # a state that merely takes the place of another, as live changes make them, is told from it as well
    assert old is not None
    assert cached._state is not None
    before = cached._state.version
    cached._state = dataclasses.replace(old)
    assert cached._state.version > before
    for user in range(10):
        assert cached.retrieve(user).ids.tolist() == answers[user]
    assert hits(cached) == 0


class Speechless(faulty.Raises):
    """Answers, but fails when it is asked how it is."""

    def retrieve(self, query: Any, quota: int) -> Any:
        return RankedList.empty()

    @property
    def revision(self) -> int:
        raise RuntimeError("no idea")

    @property
    def trouble(self) -> str | None:
        raise RuntimeError("no idea")


def test_a_path_that_cannot_say_its_revision_is_asked_anew() -> None:
    cached = engine(paths=[{"retriever": "item_cf"}, {"retriever": Speechless}])
    answers = [cached.retrieve(3).ids.tolist() for _ in range(2)]
    assert answers[0] == answers[1]
    assert hits(cached) == 0
    trouble = cached.health().paths["Speechless"].trouble
    assert trouble == "it cannot say whether it is in trouble: RuntimeError: no idea"


def test_answers_of_unwell_paths_are_not_kept(plugins: Callable[..., None]) -> None:
    plugins(raises="faulty:Raises", blocks="faulty:Blocks")
    faulty.Blocks.gate.set()
    for path in ({"retriever": "raises"}, {"retriever": "blocks"}):
        cached = engine(paths=[{"retriever": "item_cf"}, path])
        faulty.Blocks.gate.clear()
        try:
            for _ in range(3):
                assert len(cached.retrieve(1, deadline_ms=20)) == 8
        finally:
            faulty.Blocks.gate.set()
        assert (cached.health().cache.entries, hits(cached)) == (0, 0)


def test_answers_of_an_unwell_fallback_are_not_kept(plugins: Callable[..., None]) -> None:
    plugins(raises="faulty:Raises")
    cached = engine(paths=[{"retriever": "item_cf"}], fallback={"retriever": "raises"})
    for _ in range(2):
        assert cached.retrieve(1, 60).n_backfilled > 0
    assert cached.health().cache.entries == 0
    cached.retrieve(1, 3)
    assert cached.health().cache.entries == 1, "a request that needs no fallback is none the worse"


def test_many_threads_share_a_cache(cached: Engine, plain: Engine) -> None:
    small = engine(5)
    expected = [plain.retrieve(user).ids.tolist() for user in range(12)]
    wrong: list[int] = []

    def ask(seed: int) -> None:
        users = np.random.default_rng(seed).integers(0, 12, 100).tolist()
        wrong.extend(user for user in users if small.retrieve(user).ids.tolist() != expected[user])

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    health = small.health().cache
    assert not wrong
    assert health.hits + health.misses == 600
    assert health.hits > 0
    assert health.entries == 5
