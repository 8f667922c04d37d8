"""A source of history and observers: what they change in an answer, and that no fault of theirs reaches a request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from patience import PATIENCE_S, eventually

from multirecall import Candidates, Dataset, Engine, EngineConfig, User
from multirecall.engine import feeds, lookup
from multirecall.online import Observation, Recent
from multirecall.testing import small_shop

NEWEST = 1_900_000_000


def shop(ids: str = "int", timestamps: bool = True, **changed: Any) -> Engine:
    config = {"k": 8, "paths": [{"retriever": "item_cf"}, {"retriever": "popularity"}], **changed}
    return Engine(EngineConfig.model_validate(config)).fit(small_shop(ids, timestamps))


@pytest.fixture
def engine() -> Engine:
    return shop()


class Source:
    """Knows what it is given."""

    def __init__(self, **known: Recent) -> None:
        self.known = known
        self.asked: list[list[Any]] = []

    def read(self, users: Sequence[Any], deadline: float) -> Sequence[Recent]:
        self.asked.append(list(users))
        return [self.known.get(f"user{user}", Recent()) for user in users]


class Answers:
    """A source whose `read` is a function."""

    def __init__(self, read: Callable[[Sequence[Any], float], Any]) -> None:
        self.read = read


class Notes(list[Observation]):
    """An observer that keeps what it sees."""

    def observe(self, observation: Observation) -> None:
        self.append(observation)


def views(*items: Any, start: int = NEWEST, **features: Any) -> Recent:
    return Recent(items, range(start, start + len(items)), [None] * len(items), features)


def same(left: Candidates, right: Candidates) -> bool:
    return np.array_equal(left.ids, right.ids) and np.array_equal(left.scores, right.scores)


def test_recent_events_make_a_history(engine: Engine) -> None:
    """A new user, of whom the source knows three events, gets what a user with that history gets."""
    expected = engine.retrieve(User(history=[2, 4, 6]))
    engine.use_history(Source(user777=views(2, 4, 6)))
    found = engine.retrieve(777)
    assert same(found, expected)
    assert found.store == "ok"
    assert not same(found, engine.retrieve(778)), "a user of whom the source knows nothing"


@pytest.mark.parametrize("timestamps", [True, False])
def test_they_are_merged_with_the_stored_history(timestamps: bool) -> None:
    engine = shop(timestamps=timestamps)
    history = engine.data.history(engine.data.users.ids.row(1))
    stored = engine.data.items.ids.ids(history.items).tolist()
    new = [item for item in range(60) if item not in stored][:2]
    engine.use_history(Source(user1=views(*new)))
    found = engine.retrieve(1, k=200)
    assert not set(found.ids.tolist()) & {*stored, *new}, "what the source knows counts as seen"
    if timestamps:
        assert same(found, engine.retrieve(User(1, history=[*stored, *new]), k=200))
    assert set(new) <= set(engine.retrieve(1, k=200, seen=True).ids.tolist())


def test_an_event_that_the_bundle_has_counts_once(engine: Engine) -> None:
    expected, data = engine.retrieve(1), engine.data
    history = data.history(data.users.ids.row(1))
    assert history.times is not None
    ids = data.items.ids.ids(history.items).tolist()
    engine.use_history(Source(user1=Recent(ids, [time + 0.25 for time in history.times.tolist()], [None] * len(ids))))
    assert same(engine.retrieve(1), expected)


def test_events_between_the_stored_ones_take_their_place() -> None:
    """`next_item` reads the newest events; an old event of the source is not the newest."""
    engine = shop(paths=[{"retriever": "next_item"}])
    expected = engine.retrieve(1, k=20, seen=True)
    engine.use_history(Source(user1=views(2, start=1)))
    assert engine.retrieve(1, k=20, seen=True).ids.tolist() == expected.ids.tolist()
    engine.use_history(Source(user1=views(2)))
    assert engine.retrieve(1, k=20, seen=True).ids.tolist() != expected.ids.tolist()


def test_event_weights_are_those_of_the_config() -> None:
    log = small_shop(features=False).interactions
    frame = {"user_id": log.users, "item_id": log.items, "event": np.where(log.items % 3, "view", "buy")}
    data = Dataset.from_frames(pl.DataFrame(frame), event_weights={"buy": 5.0})
    engine = Engine(EngineConfig.model_validate({"paths": [{"retriever": "item_cf"}]})).fit(data)
    answers = []
    for names in (["buy", "view"], ["view", "buy"], [None, "unheard of"]):
        engine.use_history(Source(user777=Recent([2, 5], [NEWEST, NEWEST + 1], names)))
        answers.append(engine.path_lists([777])["item_cf"][0].scores.tolist())
    assert answers[0] != answers[1]
    assert answers[2] == engine.path_lists([User(history=[2, 5])])["item_cf"][0].scores.tolist()


def test_text_is_read_in_the_kind_of_the_field(engine: Engine) -> None:
    """A store holds text: item ids and features become what the bundle has."""
    expected = engine.retrieve(User(history=[2, 4], features={"country": "FR"}))
    source = Source(user777=Recent(["2", "4", "10000"], [2, 3, 4], [None] * 3, {"country": "FR", "shoe_size": "41"}))
    engine.use_history(source)
    found = engine.retrieve(777)
    assert same(found, expected)
    assert found.unknown_items == (10_000,)


def test_the_requests_own_words_come_first() -> None:
    engine = shop(paths=[{"retriever": "popularity", "params": {"segment": "country"}}])
    french, german = (engine.retrieve(User(features={"country": one})) for one in ("FR", "DE"))
    assert not same(french, german)
    engine.use_history(Source(user777=Recent(features={"country": "FR"})))
    assert same(engine.retrieve(777), french)
    assert same(engine.retrieve(User(777, features={"country": "DE"})), german)


def test_all_calls_see_the_same_history(engine: Engine) -> None:
    engine.use_history(source := Source(user777=views(2, 4, 6), user1=views(8)))
    singles = [engine.retrieve(user) for user in (777, 1, 2)]
    source.asked.clear()
    batch = engine.retrieve_batch([777, 1, 2])
    assert source.asked == [[777, 1, 2]], "one call for all users"
    assert batch.store == "ok"
    assert all(same(one, other) for one, other in zip(singles, batch, strict=True))
    top = int(singles[0].ids[0])
    assert engine.explain(777, top).rank == 0
    lists = engine.path_lists([777, 1, 2])
    assert len(lists["item_cf"][0]) > 0, "the new user has a history"


def test_visitors_are_not_asked_for(engine: Engine) -> None:
    engine.use_history(source := Source())
    assert engine.retrieve(User(history=[2])).store is None
    assert source.asked == []


def test_without_a_source_nothing_is_said(engine: Engine) -> None:
    assert engine.retrieve(1).store is None
    assert "store" not in engine.retrieve(1).to_dict()
    engine.use_history(Source())
    assert engine.retrieve(1).to_dict()["store"] == "ok"
    engine.use_history(None)
    assert engine.retrieve(1).store is None


FAULTS: dict[str, Callable[[Sequence[Any], float], Any]] = {
    "raises": lambda users, deadline: 1 // 0,
    "too few": lambda users, deadline: [],
    "none": lambda users, deadline: None,
    "other lengths": lambda users, deadline: [Recent([1, 2], [1], [None])],
    "no time": lambda users, deadline: [Recent([1], [float("nan")], [None])],
    "no id": lambda users, deadline: [Recent(["x"], [1], [None])],
    "no list": lambda users, deadline: [Recent(5, 6, 7)],  # type: ignore[arg-type]
    "wrong feature": lambda users, deadline: [Recent(features={"country": 5})],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_source_fails_no_request(engine: Engine, fault: str) -> None:
    expected = engine.retrieve(1)
    engine.use_history(Answers(FAULTS[fault]))
    for _ in range(7):
        found = engine.retrieve(1)
        assert same(found, expected)
        assert found.store == "failed"
    assert all(status.state == "ok" for status in found.status.values())
    health = engine.health().source
    assert health is not None
    assert health.failed + health.skipped == 7
    assert health.last_fault


def test_a_late_source_is_left_behind(engine: Engine) -> None:
    expected, release = engine.retrieve(1), threading.Event()

    def read(users: Sequence[Any], deadline: float) -> list[Recent]:
        assert release.wait(PATIENCE_S)
        return [views(2, 4) for _ in users]

    engine.use_history(Answers(read))
    try:
        found = engine.retrieve(1, deadline_ms=40)
    finally:
        release.set()
    assert found.store == "late"
    assert found.ids.size == expected.ids.size


def test_its_own_timeout_means_late(engine: Engine) -> None:
    def read(users: Sequence[Any], deadline: float) -> list[Recent]:
        raise TimeoutError("no answer")

    engine.use_history(Answers(read))
    assert engine.retrieve(1).store == "late"


def test_a_lost_source_is_asked_now_and_then_and_comes_back(engine: Engine) -> None:
    lost, calls = True, 0

    def read(users: Sequence[Any], deadline: float) -> list[Recent]:
        nonlocal calls
        calls += 1
        if lost:
            raise ConnectionError("nobody there")
        return [views(2, 4, 6) for _ in users]

    moment = 0.0
    engine._source = lookup.Lookup(Answers(read), lambda: moment)
    for _ in range(20):
        assert engine.retrieve(777).store == "failed"
    assert calls == 5
    moment = 1.1 * lookup.RETRY_S
    assert engine.retrieve(777).store == "failed"
    assert calls == 6
    lost, moment = False, 2.2 * lookup.RETRY_S
    assert engine.retrieve(777).store == "ok"
    assert same(engine.retrieve(777), engine.retrieve(User(history=[2, 4, 6])))


def test_the_cache_knows_what_the_source_said() -> None:
    engine = shop(cache_size=10)
    engine.use_history(source := Source(user777=views(2, 4, 6)))
    first = engine.retrieve(777)
    assert same(engine.retrieve(777), first)
    assert engine.health().cache.hits == 1
    source.known["user777"] = views(2, 4, 6, 9)
    assert not same(engine.retrieve(777), first)
    engine.use_history(None)
    assert engine.retrieve(777).store is None


def test_observers_see_each_answer() -> None:
    engine = shop(cache_size=10, segments=[{"max_history": 0}])
    notes, others = Notes(), Notes()
    stop = engine.observe(notes)
    engine.observe(others)
    answers = [engine.retrieve(1), engine.retrieve(1), engine.retrieve(User()), engine.retrieve_batch([1, User()], k=3)]
    answers.append(engine.similar(2, k=4))
    eventually(lambda: len(notes) == len(others) == 5)
    assert [one.call for one in notes] == ["retrieve"] * 3 + ["retrieve_batch", "similar"]
    assert [one.cached for one in notes] == [False, True, False, False, False]
    assert [one.segments.tolist() for one in notes] == [[1], [1], [0], [1, 0], [1]]
    assert [one.k for one in notes] == [8, 8, 8, 3, 4]
    assert all(one.answer.status.keys() == {"item_cf", "popularity"} and one.ms > 0 for one in notes)
    assert all(one.answer is answer for one, answer in zip(notes, answers, strict=True))
    stop()
    engine.retrieve(2)
    eventually(lambda: len(others) == 6)
    assert len(notes) == 5


def test_an_observer_that_raises_fails_nothing_and_sees_the_next(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Notes()

    class Raises:
        def observe(self, observation: Observation) -> None:
            seen.append(observation)
            raise RuntimeError("out of paper")

    engine.observe(Raises())
    for user in range(3):
        assert len(engine.retrieve(user)) == 8
    eventually(lambda: len(seen) == 3)
    engine.close()
    assert [record.getMessage() for record in caplog.records if "observer" in record.getMessage()] == [
        "observer Raises failed; later faults are not logged"
    ]


def test_an_observer_that_hangs_misses_answers_and_blocks_none(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feeds, "LONGEST_QUEUE", 2)
    began, release = threading.Event(), threading.Event()

    class Hangs(Notes):
        def observe(self, observation: Observation) -> None:
            began.set()
            assert release.wait(PATIENCE_S)
            super().observe(observation)

    engine.observe(slow := Hangs())
    engine.retrieve(1)
    assert began.wait(PATIENCE_S)
    for user in range(5):
        engine.retrieve(user)
    assert engine.health().missed == 3
    assert "observer Hangs is too slow: it misses answers" in caplog.text
    release.set()
    eventually(lambda: len(slow) == 3)
