"""Replay under the logged config gives the logged answers, to the byte, whatever the engine did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from faulty import Raises
from logged import frame_of, logging, shop_engine
from patience import eventually
from plug_in_fusion import Alternate

from multirecall import Engine, EngineConfig, User
from multirecall.engine.variants import Interleaving
from multirecall.engine.width import AdaptiveWidth
from multirecall.errors import DataError, UntrustedPlugin
from multirecall.monitoring.replay import replay
from multirecall.monitoring.request_log.parts import write_frame
from multirecall.online import Exploration
from multirecall.testing import small_shop

PATHS = ("item_cf", "user_cf", "popularity")
USERS: list[Any] = [*range(12), User(history=[2, 4]), User(), 999]


def config(**changed: Any) -> EngineConfig:
    paths = [{"retriever": name, "quota": 15} for name in PATHS]
    return EngineConfig.model_validate({"k": 12, "paths": paths, "fusion": {"strategy": "rrf"}, **changed})


LEARNED = {
    "strategy": "learned",
    "params": {
        "intercept": -3.0,
        "paths": {"item_cf": {"log_rank": 0.7}, "popularity": {"presence": -0.1, "min_max": 1.0}},
    },
}
SEGMENTS = [{"max_history": 10, "weights": {"popularity": 5.0}}, {"max_history": 16, "fusion": {"strategy": "cascade"}}]
CONFIGS = {
    "rrf": config(),
    "weighted_sum": config(fusion={"strategy": "weighted_sum", "params": {"normaliser": "z_score"}}),
    "cascade": config(fusion={"strategy": "cascade"}),
    "learned": config(fusion=LEARNED),
    "segments": config(segments=SEGMENTS),
    "narrow": config(paths=[{"retriever": name, "quota": 2} for name in PATHS]),
    "cached": config(cache_size=50),
}


class Spread:
    """Gives users one variant after another."""

    def __init__(self, names: list[str | None]) -> None:
        self._names = names

    def choose(self, user: Any, context: Mapping[str, Any], request_id: str) -> str | None:
        return self._names[sum(map(ord, request_id)) % len(self._names)]


def ask(engine: Engine, name: str) -> None:
    """Ask in every way."""
    for number, user in enumerate(USERS):
        engine.retrieve(user, request_id=f"{name} {number}")
        engine.retrieve(user, 30, exclude=[3, 7], where={"group": "odd"}, seen=number % 2 == 0)
    engine.retrieve_batch(USERS, 9, request_id=name)
    engine.retrieve_batch([])
    engine.similar(4, 8)
    engine.retrieve(3, 500)


def is_narrower(engine: Engine) -> bool:
    for _ in range(100):
        engine.note_refused(1e6)
    return engine.retrieve(3).level > 0


def assert_same(folder: Path, n: int) -> None:
    found = replay(folder).sameness
    assert found is not None
    assert (found.equal, found.differ, found.untold, found.examples) == (n, 0, 0, [])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_fusion(name: str, tmp_path: Path) -> None:
    engine = Engine(CONFIGS[name]).fit(small_shop())
    with logging(engine, tmp_path) as log:
        ask(engine, name)
        ask(engine, name)
    assert frame_of(tmp_path)["cached"].any() == (name == "cached")
    assert_same(tmp_path, log.health.written)


def test_exploration_variants_and_interleaving(tmp_path: Path) -> None:
    engine = Engine(CONFIGS["rrf"]).fit(small_shop())
    mixed = Interleaving(CONFIGS["learned"], CONFIGS["segments"])
    chooser = Spread([None, "cascade", "segments", "mixed"])
    with logging(engine, tmp_path) as log:
        engine.use_exploration(Exploration(slots=4, share=0.5))
        ask(engine, "explored")
        engine.use_variants(chooser, {"cascade": CONFIGS["cascade"], "segments": CONFIGS["segments"], "mixed": mixed})
        ask(engine, "varied")
        engine.use_exploration(None)
        ask(engine, "plain")
    frame = frame_of(tmp_path)
    assert set(frame["variant"]) == {None, "cascade", "segments", "mixed"}
    assert max(frame["place"].explode().drop_nulls().to_list()) > 12
    assert max(frame["team"].explode().drop_nulls().to_list()) == 1
    assert_same(tmp_path, log.health.written)


def test_live_items_and_a_refit_meanwhile(tmp_path: Path) -> None:
    engine = Engine(CONFIGS["rrf"]).fit(small_shop())
    with logging(engine, tmp_path) as log:
        for item in (900, -5):
            engine.add_interactions([{"user_id": 3, "item_id": item, "timestamp": 1_707_776_000}])
            ask(engine, f"live {item}")
        engine.refresh().result()
        ask(engine, "refitted")
        engine.remove_items([2, 4, 6])
        ask(engine, "removed")
    frame = frame_of(tmp_path)
    assert frame["catalogue"].n_unique() == 2
    assert_same(tmp_path, log.health.written)


def test_backfill_and_paths_that_fail(tmp_path: Path) -> None:
    paths = [{"retriever": "item_cf", "quota": 3}, {"name": "broken", "retriever": Raises}]
    engine = Engine(config(paths=paths)).fit(small_shop())
    with logging(engine, tmp_path) as log:
        ask(engine, "failing")
    frame = frame_of(tmp_path)
    assert (frame["n_backfilled"] > 0).sum() > 20
    assert {"failed", "skipped"} & set(frame["paths"].explode().struct.field("state"))
    assert_same(tmp_path, log.health.written)


def test_less_than_full_width(tmp_path: Path) -> None:
    engine = Engine(config(paths=[{"retriever": name, "quota": 40} for name in PATHS])).fit(small_shop())
    with logging(engine, tmp_path) as log:
        engine.use_adaptive_width(AdaptiveWidth(target_ms=1.0))
        eventually(lambda: is_narrower(engine))
        for user in USERS:
            engine.retrieve(user)
    assert max(frame_of(tmp_path)["level"].to_list()) > 0
    assert_same(tmp_path, log.health.written)


def test_a_fusion_of_ones_own_is_named_by_the_caller(tmp_path: Path) -> None:
    engine = Engine(config(fusion={"strategy": Alternate})).fit(small_shop())
    with logging(engine, tmp_path):
        engine.retrieve(3)
    with pytest.raises(UntrustedPlugin, match="Alternate"):
        replay(tmp_path)
    found = replay(tmp_path, plugins=[Alternate]).sameness
    assert found is not None
    assert found.equal == 1


def test_what_was_changed_is_found(tmp_path: Path) -> None:
    engine = shop_engine()
    with logging(engine, tmp_path):
        engine.retrieve_batch([1, 2, 3], request_id="many")
    (part,) = tmp_path.glob("day=*/*.parquet")
    frame = pl.read_parquet(part)
    scores = frame["scores"].to_list()
    scores[1][4] = float(np.nextafter(scores[1][4], 1.0))
    write_frame(part, frame.with_columns(scores=pl.Series(scores)))
    found = replay(tmp_path).sameness
    assert found is not None
    assert (found.equal, found.differ, found.examples) == (2, 1, ["many/1"])


def test_a_log_without_its_tables_is_refused(tmp_path: Path) -> None:
    engine = shop_engine()
    with logging(engine, tmp_path):
        engine.retrieve(1)
    (config_file,) = tmp_path.glob("configs/*.json")
    config_file.unlink()
    with pytest.raises(DataError, match="a config of the log cannot be read"):
        replay(tmp_path)
