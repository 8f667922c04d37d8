"""A trace fuses the lists of one request again: as the engine does, or as another config would."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import faulty
import numpy as np
import pytest

from multirecall import Candidates, Engine, EngineConfig, User
from multirecall.config import PathConfig
from multirecall.engine.learned import Learned
from multirecall.engine.state import with_learned
from multirecall.engine.what_if import moves
from multirecall.errors import ConfigError, PathError, PluginError, RequestError, UntrustedPlugin
from multirecall.fusion.weighted_sum import Normaliser
from multirecall.learning.report import FusionReport
from multirecall.registry import FUSIONS
from multirecall.testing import small_shop

NAMES = ("item_cf", "user_cf", "content", "popularity")
USERS = (1, 7, 41, User(), User(history=[3, 4]))
FORMS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in FUSIONS.names()),
    *(("weighted_sum", {"normaliser": name}) for name in get_args(Normaliser)),
    ("cascade", {"on_duplicate": "skip"}),
    (
        "learned",
        {"intercept": -3.0, "paths": {"item_cf": {"presence": 1.0, "z_score": 0.5}, "content": {"log_rank": 2}}},
    ),
]


def engine_of(**config: Any) -> Engine:
    paths = [{"retriever": name, "quota": 10} for name in NAMES]
    return Engine(EngineConfig.model_validate({"paths": paths, **config})).fit(small_shop())


def assert_same(one: Candidates, other: Candidates) -> None:
    assert one.ids.tolist() == other.ids.tolist()
    assert one.scores.tolist() == other.scores.tolist()
    assert one.ranks.tolist() == other.ranks.tolist()
    assert (one.paths, one.n_backfilled, one.shortfall) == (other.paths, other.n_backfilled, other.shortfall)
    assert (one.known, one.unknown_items) == (other.known, other.unknown_items)
    assert [one.status[name].state for name in one.paths] == [other.status[name].state for name in one.paths]
    assert [one.status[name].count for name in one.paths] == [other.status[name].count for name in one.paths]


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize(("strategy", "params"), FORMS)
def test_a_trace_that_nothing_was_changed_in_is_what_retrieve_gives(
    strategy: str, params: dict[str, Any], segmented: bool
) -> None:
    fusion = {"strategy": strategy, "params": params}
    segments = [{"max_history": 15, "weights": {"content": 3.0}, "fusion": fusion}] if segmented else []
    engine = engine_of(fusion={"strategy": "rrf"} if segmented else fusion, segments=segments)
    ways: list[dict[str, Any]] = [{}, {"where": {"price": {"max": 9.0}}}, {"exclude": [2, 999], "seen": True}]
    lengths, backfilled = set(), 0
    for user in USERS:
        for way in ways:
            for k in (5, 64):  # 64 need the fallback, and more than the catalogue has
                trace, expected = engine.trace(user, k, **way), engine.retrieve(user, k, **way)
                for again in (trace.fuse(), trace.fuse(trace.config), trace.fuse(trace.vary())):
                    assert_same(again, expected)
                backfilled += expected.n_backfilled
                lengths.add(trace.segment)
    assert backfilled
    assert lengths == ({0, None} if segmented else {None})


@pytest.mark.parametrize(("strategy", "params"), FORMS)
def test_a_variation_is_what_an_engine_of_that_config_gives(strategy: str, params: dict[str, Any]) -> None:
    segments = [{"max_history": 15, "weights": {"content": 3.0}}]
    engine = engine_of(segments=segments)
    for user in USERS:
        trace = engine.trace(user, 30)
        config = trace.vary(
            weights={"item_cf": 2.5},
            quotas={"popularity": 50, "content": 3},  # 50 are more than were asked for
            enabled={"user_cf": False},
            strategy=strategy,
            params=params,
        )
        with Engine(config).fit(small_shop()) as other:
            expected = other.retrieve(user, 30)
        varied = trace.fuse(config)
        assert varied.ids.tolist() == expected.ids.tolist()
        assert varied.scores.tolist() == expected.scores.tolist()
        assert varied.n_backfilled == expected.n_backfilled
        assert (varied.paths, varied.ranks.tolist()) == (expected.paths, expected.ranks.tolist())
        assert trace.segment is None or config.fusion == trace.vary().fusion, "other users keep their fusion"
        assert EngineConfig.model_validate(tomllib.loads(trace.to_toml(config))) == config
        assert trace.widen(config).lists["popularity"].items.size > 10
        assert_same(trace.widen(config).fuse(), engine.retrieve(user, 30))


def test_a_failing_path_is_told_and_the_others_are_fused() -> None:
    config = {"paths": [{"retriever": "item_cf"}, {"retriever": faulty.Raises, "name": "broken"}]}
    engine = Engine(EngineConfig.model_validate(config)).fit(small_shop())
    trace = engine.trace(1, 10)
    assert trace.status["broken"].state == "failed"
    assert trace.status["broken"].detail == "RuntimeError: out of order"
    assert trace.lists["broken"].items.size == 0 < trace.lists["item_cf"].items.size
    assert_same(trace.fuse(), engine.retrieve(1, 10))
    assert set(trace.barred()) == {"item_cf"}
    with pytest.raises(PathError, match="out of order"):
        trace.fuse(trace.vary(enabled={"item_cf": False}))
    assert trace.fuse(trace.vary(enabled={"broken": False})).paths == ("item_cf",)


def test_where_every_path_fails_there_is_still_a_trace() -> None:
    config = {"paths": [{"retriever": faulty.Raises, "name": "broken", "required": True}]}
    trace = Engine(EngineConfig.model_validate(config)).fit(small_shop()).trace(1, 10)
    assert trace.status["broken"].state == "failed"
    with pytest.raises(PathError, match="required path 'broken' failed: RuntimeError: out of order"):
        trace.fuse()


def test_a_dropped_path_is_asked_and_may_be_switched_on() -> None:
    engine = engine_of()
    report = FusionReport(
        "kept", strategy="rrf", weights=dict.fromkeys(NAMES[:3], 1.0), dropped={"popularity": "the others do as well"}
    )
    assert engine._state is not None
    engine._state = with_learned(engine._state, engine.config, Learned(report))
    trace = engine.trace(1, 10)
    assert trace.dropped == {"popularity": "the others do as well"}
    assert trace.status["popularity"].state == "ok"
    assert_same(trace.fuse(), engine.retrieve(1, 10))
    assert trace.fuse().status["popularity"].state == "dropped"
    on = trace.fuse(trace.vary(enabled={"popularity": True}))
    assert on.status["popularity"].state == "ok"
    assert (on.ranks[:, 3] >= 0).any()


def test_what_the_filters_took_out_has_its_place_and_its_reason() -> None:
    engine = engine_of()
    where = {"price": {"max": 9.0}}
    everything = engine.path_lists([1], seen=True)
    known = {*engine.trace(1).history[0].tolist()}
    proposed = [item for ranked in everything.values() for item in ranked[0].items.tolist()]
    unwanted = next(item for item in proposed if item not in known)
    trace = engine.trace(1, 10, exclude=[unwanted], where=where)
    cheap = set(np.flatnonzero(engine.data.items.features["price"].values <= 9.0).tolist())  # type: ignore[union-attr]
    met = set()
    for name, barred in trace.barred().items():
        first = everything[name][0].items.tolist()
        gone = [item for item in first if item == unwanted or item in known or item not in cheap]
        assert barred.ids.tolist() == gone
        for item, place, reason in zip(gone, barred.places.tolist(), barred.reasons, strict=True):
            before = first[: first.index(item)]
            assert place == len([one for one in before if one not in gone])
            assert reason == ("excluded" if item == unwanted else "seen" if item in known else "where")
            met.add(reason)
    assert met == {"excluded", "seen", "where"}


def test_the_history_is_that_of_the_request() -> None:
    engine = engine_of()
    ids, times = engine.trace(1).history
    events = engine.data.history(1)
    assert times is not None
    assert events.times is not None
    assert (ids.tolist(), times.tolist()) == (events.items.tolist(), events.times.tolist())
    assert engine.trace(User(history=[3, 4])).history[0].tolist() == [3, 4]


def test_moves_tell_what_entered_left_and_moved() -> None:
    earlier = engine_of().retrieve(1, 5)
    later = replace(earlier, ids=np.array([99, *earlier.ids[[1, 0, 3]].tolist()]))
    changed = moves(earlier, later)
    assert changed.before.tolist() == [-1, 1, 0, 3]
    assert changed.left.tolist() == earlier.ids[[2, 4]].tolist()
    assert changed.left_ranks.tolist() == [2, 4]


def test_wrong_choices_name_place_value_and_remedy() -> None:
    trace = engine_of().trace(1)
    with pytest.raises(RequestError, match=r"weights: no path is named 'item-cf'; did you mean 'item_cf'\?"):
        trace.vary(weights={"item-cf": 1.0})
    with pytest.raises(ConfigError, match=r"what-if: paths\[0\].weight: .* greater than 0, got 0"):
        trace.vary(weights={"item_cf": 0.0})
    with pytest.raises(ConfigError, match="no path is enabled"):
        trace.vary(enabled=dict.fromkeys(NAMES, False))
    with pytest.raises(PluginError, match="rff"):
        trace.fuse(trace.vary(strategy="rff"))
    with pytest.raises(UntrustedPlugin):
        trace.fuse(trace.vary(strategy="os.path:join"))
    with pytest.raises(ConfigError, match="rank_constant"):
        trace.fuse(trace.vary(strategy="rrf", params={"rank_constant": -1}))
    with pytest.raises(RequestError, match="config: no path is named 'item_cf'"):
        trace.fuse(EngineConfig(paths=(PathConfig(retriever="popularity"),)))


def test_a_trace_of_a_bundle_is_that_of_its_engine(tmp_path: Path) -> None:
    engine = engine_of()
    engine.save(tmp_path / "bundle")
    with Engine.load(tmp_path / "bundle") as loaded:
        assert_same(loaded.trace(1, 20).fuse(), engine.retrieve(1, 20))
