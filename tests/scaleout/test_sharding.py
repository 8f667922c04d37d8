"""Splitting a bundle: what is written, what is refused, and that nothing of another split is taken."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from local_replicas import local_replicas
from patience import eventually
from sharded import PATHS, assert_same

from multirecall import Engine, EngineConfig
from multirecall.errors import BundleError, NotFitted, RequestError
from multirecall.scaleout import ShardedEngine, shard_bundle
from multirecall.scaleout.owners import owners_of
from multirecall.scaleout.shard import Shard
from multirecall.scaleout.wire import pack, unpack
from multirecall.testing.worlds import small_shop


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted engine."""
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    with Engine(EngineConfig.model_validate({"paths": PATHS, "threads": 1})).fit(small_shop()) as engine:
        engine.save(folder)
    return folder


def test_the_hash_of_an_id_never_changes() -> None:
    assert owners_of([1, 2, 3, "1", "ä", "item 7"], 7, 0).tolist() == [3, 4, 0, 3, 5, 1]
    assert owners_of(range(5), 1, 9).tolist() == [0] * 5


def test_items_are_spread_evenly() -> None:
    counts = np.bincount(owners_of(range(70_000), 7, 1))
    assert counts.min() > 9_600
    assert counts.max() < 10_400


def test_another_seed_is_another_split() -> None:
    assert owners_of(range(50), 3, 1).tolist() != owners_of(range(50), 3, 2).tolist()


def test_each_shard_has_its_items_and_the_data_lie_on_the_disk_once(bundle: Path, tmp_path: Path) -> None:
    report = shard_bundle(bundle, 3, tmp_path / "out", seed=4)
    expected = np.bincount(owners_of(small_shop().items.ids.ids().tolist(), 3, 4), minlength=3)
    assert report.items == tuple(expected.tolist())
    assert set(report.paths) == {str(one["name"]) for one in PATHS}
    data = [tmp_path / "out/000001/data", *(tmp_path / f"out/shards/{shard}/000001/data" for shard in range(3))]
    assert len({(one / "items/ids.npy").stat().st_ino for one in data}) == 1


def test_live_changes_of_the_bundle_are_split_as_well(tmp_path: Path) -> None:
    with Engine(EngineConfig.model_validate({"paths": PATHS, "threads": 1})).fit(small_shop()) as engine:
        engine.save(tmp_path / "bundle")
        engine.add_items([{"item_id": 990, "group": "even"}])
        engine.remove_items([3])
        shard_bundle(tmp_path / "bundle", 2, tmp_path / "out")
        with ShardedEngine.over(tmp_path / "out", local_replicas(tmp_path / "out")) as over:
            assert over.data.n_items == engine.data.n_items
            assert over.last_change == 0
            for user in (0, 1, 2):
                assert over.retrieve(user, 70).ids.tolist() == engine.retrieve(user, 70).ids.tolist()


@pytest.mark.parametrize("shards", [0, -1, 1.5, True, "2"])
def test_the_number_of_shards_is_checked(bundle: Path, tmp_path: Path, shards: Any) -> None:
    with pytest.raises(RequestError, match=f"shards must be a whole number > 0, got {shards!r}"):
        shard_bundle(bundle, shards, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_not_written_to(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(BundleError, match="is not empty; choose another folder"):
        shard_bundle(bundle, 2, tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_filled_and_a_draft_that_was_left_replaced(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.draft/shards/0").mkdir(parents=True)
    shard_bundle(bundle, 2, tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_a_sharded_bundle_is_no_bundle_of_one_engine(bundle: Path, tmp_path: Path) -> None:
    shard_bundle(bundle, 2, tmp_path / "out")
    with pytest.raises(BundleError, match=r"is sharded, .*ShardedEngine.connect"):
        Engine.load(tmp_path / "out")
    with pytest.raises(BundleError, match="is not sharded; make shards with `multirecall shard`"):
        ShardedEngine.over(bundle, [])


def test_a_path_that_cannot_be_split_stands_whole_or_is_refused(tmp_path: Path) -> None:
    walks = {"name": "walks", "retriever": "node2vec", "params": {"serve": "walks", "dim": 8}}
    paths = [PATHS[0], walks]
    with Engine(EngineConfig.model_validate({"paths": paths, "k": 10})).fit(small_shop()) as engine:
        engine.save(tmp_path / "bundle")
        with pytest.raises(RequestError, match="path 'walks' cannot be split, its retriever has no `part`"):
            shard_bundle(tmp_path / "bundle", 2, tmp_path / "out", strict=True)
        assert not (tmp_path / "out").exists()
        report = shard_bundle(tmp_path / "bundle", 2, tmp_path / "out")
        assert (report.paths["walks"].whole, report.paths["cf"].whole) == (0, None)
        with ShardedEngine.over(tmp_path / "out", local_replicas(tmp_path / "out")) as over:
            for user in (0, 1, 2, 3):
                assert_same(engine.retrieve(user), over.retrieve(user))
            for one in (over, engine):  # items that join belong to one shard, but a whole path has all of them
                one.add_items([{"item_id": 900 + number, "group": "even"} for number in range(6)])
                one.add_interactions(
                    [{"user_id": 1, "item_id": 900 + number, "timestamp": 1_708_000_000} for number in range(6)]
                )
            for user in (0, 1, 2, 3):
                assert_same(engine.retrieve(user, 60), over.retrieve(user, 60))


def test_shards_of_nothing_that_can_be_split_are_refused(tmp_path: Path) -> None:
    walks = {"name": "walks", "retriever": "node2vec", "params": {"serve": "walks", "dim": 8}}
    with Engine(EngineConfig.model_validate({"paths": [walks]})).fit(small_shop()) as engine:
        engine.save(tmp_path / "bundle")
    with pytest.raises(RequestError, match="no path of this bundle can be split"):
        shard_bundle(tmp_path / "bundle", 2, tmp_path / "out")


def test_another_client_follows_the_one_that_writes(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shard_bundle(bundle, 2, out)
    with (
        ShardedEngine.over(out, local_replicas(out)) as writer,
        ShardedEngine.over(out, local_replicas(out), follow=True) as follower,
    ):
        writer.remove_items([6, 8])
        eventually(lambda: follower.last_change == 1)
        assert_same(writer.retrieve(3, 60), follower.retrieve(3, 60))
        with pytest.raises(RequestError, match="only follows its bundle"):
            follower.remove_items([7])
        assert [one.seq for one in follower.shard_health()] == [1, 1]


@pytest.mark.parametrize("part", ["shards/1", "000001"])
def test_parts_of_another_split_are_refused(bundle: Path, tmp_path: Path, part: str) -> None:
    for seed in (0, 1):
        shard_bundle(bundle, 2, tmp_path / str(seed), seed=seed)
    shutil.rmtree(tmp_path / "0" / part)
    shutil.copytree(tmp_path / "1" / part, tmp_path / "0" / part)
    with pytest.raises(BundleError, match=r"is not what was sharded|do not belong together"):
        ShardedEngine.over(tmp_path / "0", local_replicas(tmp_path / "0"))


def test_a_damaged_shard_is_refused(bundle: Path, tmp_path: Path) -> None:
    shard_bundle(bundle, 2, tmp_path / "out")
    file = next((tmp_path / "out/shards/1/000001/paths").rglob("*.npy"))
    content = file.read_bytes()
    file.unlink()  # other shards may have the same one
    file.write_bytes(content + b"x")
    with pytest.raises(BundleError, match="damaged"):
        Shard(str(tmp_path / "out"), 1)


def test_an_engine_of_shards_is_opened_with_connect(bundle: Path) -> None:
    with pytest.raises(RequestError, match=r"open .* with ShardedEngine\.connect if it is sharded, else with Engine"):
        ShardedEngine.load(bundle, follow=True)
    with ShardedEngine() as engine:
        assert engine.shard_health() == ()
        with pytest.raises(NotFitted):
            engine.retrieve(1)


def test_what_needs_the_whole_is_refused(bundle: Path, tmp_path: Path) -> None:
    shard_bundle(bundle, 2, tmp_path / "out")
    with ShardedEngine.over(tmp_path / "out", local_replicas(tmp_path / "out")) as over:
        for call in (over.refresh, lambda: over.fit(small_shop()), lambda: over.save(tmp_path / "copy")):
            with pytest.raises(RequestError, match=r"this engine is sharded.* fit an engine on `engine.data`"):
                call()
        with pytest.raises(RequestError, match="gives no item vectors"):
            over.vectors("factors")
        with pytest.raises(RequestError, match="sends features, terms and context as JSON"):
            over.retrieve(0, context={"when": object()})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
columns = st.sampled_from(["<i4", "<i8", "<f4", "<f8", "|b1", "|u1"]).flatmap(
    lambda code: arrays(code, st.integers(0, 9))
)


@given(st.dictionaries(st.text(), values, max_size=3), st.dictionaries(st.text(max_size=5), columns, max_size=4))
def test_a_message_comes_out_as_it_went_in(plain: dict[str, Any], named: dict[str, Any]) -> None:
    got, read = unpack(pack(plain, named))
    assert got == plain
    assert list(read) == list(named)
    for name, array in named.items():
        assert read[name].dtype == array.dtype
        assert read[name].tobytes() == array.tobytes()
        assert read[name].flags.writeable


def test_a_message_holds_no_objects() -> None:
    head = b'[{}, [["x", "|O", [1]]]]'
    with pytest.raises(ValueError, match="holds no arrays of object"):
        unpack(len(head).to_bytes(8, "little") + head + bytes(32))
