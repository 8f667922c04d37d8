"""The number by which a reader knows that it has what was written, in whichever process."""

from __future__ import annotations

from pathlib import Path

import pytest
from patience import eventually

from multirecall import Engine, EngineConfig
from multirecall.engine import follower
from multirecall.errors import BundleError, BundleHeld, RequestError
from multirecall.testing import small_shop

EVENT = [{"user_id": 3, "item_id": 5, "timestamp": 1_720_000_000}]


def shop() -> Engine:
    return Engine(EngineConfig.model_validate({"paths": [{"retriever": "popularity"}]})).fit(small_shop())


def test_changes_have_one_number_in_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "INTERVAL_S", 3_600.0)  # so that only `look_now` makes it look
    with shop() as writer:
        writer.add_interactions(EVENT)
        assert writer.last_change == writer.data_version, "without a bundle"
        writer.save(tmp_path / "bundle")
        with Engine.load(tmp_path / "bundle", follow=True) as reader:
            for number in (1, 2):
                writer.add_interactions(EVENT)
                assert writer.last_change == number
                assert reader.last_change < number
                reader.look_now()
                eventually(lambda number=number: reader.last_change == number)  # type: ignore[misc]
            writer.save(tmp_path / "bundle")
            writer.refresh().result(timeout=120)
            assert writer.last_change == 2, "neither a save nor a refit is a change"
            writer.save(tmp_path / "bundle")
            reader.look_now()
            eventually(lambda: reader.health().store.version == "000003")  # type: ignore[union-attr]
            assert reader.last_change == 2
    Engine.rollback(tmp_path / "bundle")
    with Engine.load(tmp_path / "bundle") as again:
        assert again.last_change == 2


def test_a_state_is_loaded_again_whatever_came_after_it(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    with shop() as writer:
        writer.save(bundle)
        lists = []
        for _ in range(3):
            lists.append(writer.retrieve(3, 5).ids.tolist())
            writer.add_interactions([{**EVENT[0], "item_id": lists[-1][0]}])
        writer.save(bundle)
    for number, expected in enumerate(lists):
        with Engine.load(bundle, version="000001", last_change=number) as engine:
            assert engine.retrieve(3, 5).ids.tolist() == expected
    assert len({*map(tuple, lists)}) == 3
    with pytest.raises(BundleError, match="has no change 4 that follows change 0"):
        Engine.load(bundle, version="000001", last_change=4)
    with pytest.raises(BundleError, match="has no change 2 that follows change 3"):
        Engine.load(bundle, version="000002", last_change=2)
    with pytest.raises(RequestError, match="last_change goes with a version"):
        Engine.load(bundle, last_change=1)


def test_a_bundle_is_held_before_the_first_change(tmp_path: Path) -> None:
    with shop() as writer:
        writer.hold()  # of no bundle
        writer.save(tmp_path / "bundle")
    with Engine.load(tmp_path / "bundle") as first, Engine.load(tmp_path / "bundle") as second:
        first.hold()
        with pytest.raises(BundleHeld):
            second.hold()
        first.close()
        second.hold()
        second.add_interactions(EVENT)
    with (
        Engine.load(tmp_path / "bundle", follow=True) as reader,
        pytest.raises(RequestError, match="only follows"),
    ):
        reader.hold()
