"""Shards that are gone, slow or behind: what an answer lacks, that it says so, and how they come back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_replicas import LocalReplica, local_replicas
from patience import eventually
from sharded import PATHS, VISITORS, assert_same

from multirecall import Engine, EngineConfig, User
from multirecall.errors import PathError
from multirecall.scaleout import ShardedEngine, replicas, shard_bundle, shards
from multirecall.scaleout.latencies import LEAST
from multirecall.scaleout.layout import Layout
from multirecall.scaleout.owners import owners_of
from multirecall.testing.worlds import small_shop

N_SHARDS = 3
USERS = (0, 1, 5, 17, *VISITORS)
Over = tuple[ShardedEngine, list[list[LocalReplica]]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted engine, of which one path is required."""
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    paths = [{**one, "required": one["name"] == "cf"} for one in PATHS]
    with Engine(EngineConfig.model_validate({"k": 15, "paths": paths, "threads": 1})).fit(small_shop()) as engine:
        engine.save(folder)
    return folder


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    """Its shards."""
    shard_bundle(bundle, N_SHARDS, tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture
def over(folder: Path) -> Iterator[Over]:
    """An engine over two replicas of each shard, and the replicas."""
    members = local_replicas(folder, 2)
    with ShardedEngine.over(folder, members) as engine:
        yield engine, members
        for one in (one for own in members for one in own):
            one.gate.set()


def is_full(engine: Engine, user: Any) -> bool:
    return all(one.state == "ok" for one in engine.retrieve(user).status.values())


def lists_of(engine: Engine, user: Any) -> set[object]:
    """The items that any path proposes, as many as it can."""
    trace = engine.trace(user, 1_000)
    wide = trace.widen(trace.vary(quotas=dict.fromkeys(trace.paths, 1_000)))
    return {item for one in wide.lists.values() for item in engine.data.items.ids.ids(one.items).tolist()}


def test_one_replica_of_each_shard_is_enough(bundle: Path, over: Over) -> None:
    engine, members = over
    for shard, own in enumerate(members):
        own[shard % 2].kill()
    with Engine.load(bundle) as whole:
        for user in USERS:
            assert_same(whole.retrieve(user), engine.retrieve(user))


def test_an_answer_says_which_shard_it_lacks(bundle: Path, folder: Path, over: Over) -> None:
    engine, members = over
    for one in members[1]:
        one.kill()
    split = {name for name, place in Layout.read(folder).paths.items() if place.shard is None}
    assert {"cf", "words", "top"} <= split
    with Engine.load(bundle) as whole:
        for user in USERS:
            answer = engine.retrieve(user)
            assert set(answer.ids[: len(answer) - answer.n_backfilled].tolist()) <= lists_of(whole, user)
            for candidate in answer:
                owner = owners_of([candidate.item_id], N_SHARDS, 0)[0]
                assert owner != 1 or not split & candidate.provenance.keys()
            for name in split:
                status = answer.status[name]
                assert status.state == "partial", name
                assert "shard 1: failed: no replica of it is up" in str(status.detail)
                assert "the process is gone" in str(status.detail)
                assert "shard 0" not in str(status.detail)
    assert engine.health().paths["cf"].partial > 0
    assert engine.similar(7).status["cf"].state == "partial"
    with pytest.raises(PathError, match="path 'cf': shard 1: no replica of it is up"):
        engine.neighbours("cf")
    batch = engine.retrieve_batch(list(USERS))
    assert {batch.status[name].state for name in split} == {"partial"}


def test_without_any_shard_a_request_fails_as_without_any_path(over: Over) -> None:
    engine, members = over
    everyone = [one for own in members for one in own]
    for one in everyone:
        one.kill()
    with pytest.raises(PathError, match="required path 'cf' failed: shard 0: failed: no replica of it is up"):
        engine.retrieve(0)
    for one in everyone:
        one.restart()
    eventually(lambda: all(one.up for one in engine.shard_health()))
    assert is_full(engine, 0)


def test_a_shard_that_is_late_is_left_out(over: Over) -> None:
    engine, members = over
    for one in members[2]:
        one.gate.clear()
    answer = engine.retrieve(3, deadline_ms=150.0)
    assert answer.status["top"].state == "partial"
    assert "shard 2: late: no answer within" in str(answer.status["top"].detail)
    assert len(answer) == 15
    for one in members[2]:
        one.gate.set()
    eventually(lambda: is_full(engine, 3))


def test_a_request_without_a_deadline_does_not_hang(over: Over, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, members = over
    monkeypatch.setattr(shards, "PATIENCE_S", 0.2)
    for one in members[0]:
        one.gate.clear()
    assert "shard 0: late" in str(engine.retrieve(3).status["top"].detail)
    assert "shard 0: late" in str(engine.similar(7).status["cf"].detail)
    assert "shard 0: late" in str(engine.retrieve_batch([3]).status["top"].detail)


def test_a_batch_is_sent_once(over: Over) -> None:
    engine, members = over
    for _ in range(LEAST):
        engine.retrieve(0)
    for one in (one for own in members for one in own):
        one.calls.clear()
    engine.retrieve_batch(list(range(40)) * 20)
    assert sorted(sum(one.calls.count("ask") for one in own) for own in members) == [1] * N_SHARDS


def test_a_slow_replica_is_passed_over_after_the_usual_time(bundle: Path, over: Over) -> None:
    engine, members = over
    for _ in range(LEAST):
        engine.retrieve(0)
    members[0][0].gate.clear()
    before = [one.calls.count("ask") for one in members[0]]
    with Engine.load(bundle) as whole:
        for user in USERS:  # without a deadline: only another replica can answer
            assert_same(whole.retrieve(user), engine.retrieve(user))
    asked = [one.calls.count("ask") - number for one, number in zip(members[0], before, strict=True)]
    assert asked[0] >= 1
    assert asked[1] == len(USERS)


def test_a_replica_catches_up_before_it_serves(bundle: Path, tmp_path: Path, over: Over) -> None:
    engine, members = over
    members[0][0].kill()
    events = [{"user_id": 700 + number % 4, "item_id": number % 60, "timestamp": 1_708_000_000} for number in range(50)]
    later = [{"item_id": 900, "group": "even", "title": "blue item"}]
    shutil.copytree(bundle, tmp_path / "copy")
    with Engine.load(tmp_path / "copy") as copy:
        for one in (engine, copy):  # the change is acknowledged though a replica is gone
            one.add_interactions(events)
            one.add_items(later)
        members[0][0].calls.clear()
        members[0][0].restart()
        eventually(lambda: all(one.up for one in engine.shard_health()))
        calls = [call for call in members[0][0].calls if call not in ("ping", "health")]
        assert calls[0] == "apply"
        for own in members:
            own[1].kill()
        for user in (*USERS, 700, 703):
            assert_same(copy.retrieve(user), engine.retrieve(user))


def test_a_replica_that_lost_its_changes_answers_nothing(over: Over) -> None:
    engine, members = over
    engine.remove_items([6, 8])
    members[0][0].restart()  # so quickly that no call has failed
    for _ in range(2):
        for user in USERS:
            answer = engine.retrieve(user, 60)
            assert {6, 8}.isdisjoint(answer.ids.tolist())
            assert {one.state for one in answer.status.values()} == {"ok"}
    eventually(lambda: all(one.up and one.seq == 1 for one in engine.shard_health()))


def test_a_replica_that_is_silent_gets_no_requests(over: Over, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, members = over
    monkeypatch.setattr(replicas, "SILENT_S", 0.2)
    members[2][1].gate.clear()
    eventually(lambda: [(one.shard, one.replica) for one in engine.shard_health() if not one.up] == [(2, 1)])
    assert is_full(engine, 0)
    members[2][1].gate.set()
    eventually(lambda: all(one.up and one.fault is None for one in engine.shard_health()))


def test_a_change_does_not_wait_for_a_replica_that_hangs(over: Over, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, members = over
    monkeypatch.setattr(replicas, "APPLY_S", 0.2)
    members[1][0].gate.clear()
    assert engine.remove_items([6]) == 1
    down = [(one.shard, one.replica) for one in engine.shard_health() if not one.up]
    assert down == [(1, 0)]
    assert 6 not in engine.retrieve(User(), 60).ids
    members[1][0].gate.set()
    eventually(lambda: all(one.up and one.seq == 1 for one in engine.shard_health()))
