"""An engine over shards: its answers are those of the engine that was sharded, to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from local_replicas import local_replicas
from sharded import PATHS, VISITORS, assert_same

from multirecall import Dataset, Engine, EngineConfig, User
from multirecall.datasets import generate
from multirecall.scaleout import ShardedEngine, shard_bundle
from multirecall.testing.worlds import small_shop

FUSIONS = (
    {"strategy": "weighted_sum", "params": {"normaliser": "z_score"}},
    {"strategy": "rrf"},
    {"strategy": "cascade", "params": {"on_duplicate": "replace"}},
)
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"exclude": [2, 4, 6], "seen": True},
    {"where": {"group": ["even"], "price": {"max": 12.0}}},
)
SPLITS = [(1, 0), (2, 5), (3, 1), (7, 2)]


@pytest.fixture(scope="module", params=range(len(FUSIONS)), ids=lambda one: str(FUSIONS[one]["strategy"]))
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Path]]:
    """A fitted engine, and its bundle."""
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    config = EngineConfig.model_validate({"k": 15, "paths": PATHS, "fusion": FUSIONS[request.param], "threads": 1})
    with Engine(config).fit(small_shop()) as engine:
        engine.save(folder)
        yield engine, folder


@contextmanager
def sharded(bundle: Path, out: Path, n_shards: int, seed: int = 0, n_replicas: int = 1) -> Iterator[ShardedEngine]:
    """The engine over local replicas of the shards of a bundle."""
    shard_bundle(bundle, n_shards, out, seed=seed)
    with ShardedEngine.over(out, local_replicas(out, n_replicas)) as engine:
        yield engine


def assert_engines_same(one: Engine, other: Engine) -> None:
    """Both answer every call alike."""
    users = [*one.data.users.ids.ids().tolist(), *VISITORS, 10_000]
    for filters in FILTERS:
        for user in users:
            assert_same(one.retrieve(user, **filters), other.retrieve(user, **filters))
        both = [engine.retrieve_batch(users, **filters) for engine in (one, other)]
        for mine, theirs in zip(*both, strict=True):
            assert_same(mine, theirs)
    live = [item for item in one.data.items.ids.ids().tolist() if item in set(one.retrieve(User(), 1000).ids.tolist())]
    for item in live[::7]:
        assert_same(one.similar(item, 12), other.similar(item, 12))
        assert_same(one.similar(item, 12, where={"group": "odd"}), other.similar(item, 12, where={"group": "odd"}))
        for user in (users[3], VISITORS[1]):
            assert one.explain(user, item) == other.explain(user, item)


@pytest.mark.parametrize(("n_shards", "seed"), SPLITS)
def test_answers_are_those_of_the_whole(whole: tuple[Engine, Path], tmp_path: Path, n_shards: int, seed: int) -> None:
    engine, bundle = whole
    with sharded(bundle, tmp_path / "shards", n_shards, seed) as over:
        assert_engines_same(engine, over)


def live_changes() -> list[tuple[str, Any]]:
    """Changes of every kind, on items of the split and on later ones."""
    base = small_shop().items
    assert set(base.features) >= {"group", "tags", "title", "price", "arrival"}
    late = [
        {"item_id": 900 + number, "group": "even" if number % 2 else "odd", "title": f"red item number {number}"}
        for number in range(9)
    ]
    events = [
        {"user_id": 1 + number % 5, "item_id": 900 + number % 9, "timestamp": 1_708_000_000 + number}
        for number in range(40)
    ]
    mixed = [
        {"user_id": 500 + number % 3, "item_id": (number * 7) % 60, "timestamp": 1_708_100_000 + number}
        for number in range(30)
    ]
    return [
        ("add_interactions", mixed),
        ("add_items", late),
        ("add_interactions", events),
        ("remove_items", [4, 902, 17]),
        ("update_items", [{"item_id": 8, "price": 3.0}, {"item_id": 903, "title": "green item"}]),
        ("remove_interactions", [{"user_id": 500, "item_id": 0}]),
        ("add_items", [{"item_id": 4, "title": "blue item number 4"}]),
        ("remove_users", [2, 501]),
    ]


@pytest.mark.parametrize(("n_shards", "seed"), [(2, 3), (3, 4)])
def test_live_changes_reach_the_shards(whole: tuple[Engine, Path], tmp_path: Path, n_shards: int, seed: int) -> None:
    _, bundle = whole
    shutil.copytree(bundle, tmp_path / "copy")
    with (
        Engine.load(tmp_path / "copy") as engine,
        sharded(bundle, tmp_path / "shards", n_shards, seed, n_replicas=2) as over,
    ):
        for kind, rows in live_changes():
            assert getattr(over, kind)(rows) == getattr(engine, kind)(rows)
            assert over.last_change == engine.last_change
            for user in (0, 1, 3, 500, 502, VISITORS[1]):
                assert_same(engine.retrieve(user), over.retrieve(user))
        assert_engines_same(engine, over)
        assert all(one.up and one.seq == over.last_change for one in over.shard_health())
        assert all(one.memory_bytes and one.trouble is None for one in over.health().paths.values())
    with (
        Engine.load(tmp_path / "copy") as engine,
        ShardedEngine.over(tmp_path / "shards", local_replicas(tmp_path / "shards")) as again,
    ):
        assert_engines_same(engine, again)


def test_what_a_fit_learned_holds_in_the_shards(tmp_path: Path) -> None:
    log = generate(n_users=900, n_items=300, n_interactions=25_000, seed=3)
    paths = [{"retriever": name} for name in ("item_cf", "user_cf", "sequence", "content", "popularity")]
    with Engine(EngineConfig.model_validate({"paths": paths, "k": 15})) as engine:
        engine.fit(Dataset.from_frames(log.interactions, log.items, log.users)).save(tmp_path / "bundle")
        report = engine.fusion_report()
        assert report is not None
        assert report.settings
        with sharded(tmp_path / "bundle", tmp_path / "shards", 3) as over:
            for user in engine.data.users.ids.ids()[:40].tolist():
                assert_same(engine.retrieve(user), over.retrieve(user))
            mine, theirs = (one.path_lists(["u00001", "u00002"]) for one in (engine, over))
            for name, batch in mine.items():  # those that the fusion dropped are asked as well
                assert batch.items.tolist() == theirs[name].items.tolist()
                assert batch.scores.tobytes() == theirs[name].scores.tobytes()
