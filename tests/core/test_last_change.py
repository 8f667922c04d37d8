"""The number by which a reader knows that it has what was written, in whichever process."""

from __future__ import annotations

from pathlib import Path

import pytest
from patience import eventually

from multirecall import Engine, EngineConfig
from multirecall.engine import follower
from multirecall.errors import BundleHeld, RequestError
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
