"""`Engine.refresh` with another config, and with what was learned kept or learned anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty import Rows
from patience import PATIENCE_S

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.config import FusionConfig
from multirecall.data import DataConfig
from multirecall.datasets import generate
from multirecall.engine.fitting import kept_report
from multirecall.engine.state import Blueprint
from multirecall.errors import CannotFit, ConfigError, RequestError
from multirecall.learning.report import FusionReport
from multirecall.progress import Progress

LOG = generate(150, 120, 5_000, seed=3)
DATA = Dataset.from_frames(LOG.interactions, LOG.items)
RRF = FusionConfig(strategy="rrf")


def config_of(*paths: str, **options: Any) -> EngineConfig:
    return EngineConfig(paths=tuple(PathConfig(retriever=name) for name in paths), fusion=RRF, **options)


def answers(engine: Engine) -> list[tuple[Any, ...]]:
    batch = engine.retrieve_batch(DATA.users.ids.ids()[:40], 30)
    return [tuple(batch.ids.tolist()), tuple(batch.scores.tolist())]


def test_another_config_serves_what_a_fit_of_it_would_and_is_stored(tmp_path: Path) -> None:
    new = config_of("item_cf", "popularity", k=25, cache_size=10)
    with Engine(config_of("popularity", cache_size=3)).fit(DATA) as engine, Engine(new).fit(DATA) as fresh:
        engine.save(tmp_path / "b")
        engine.refresh(new).result(PATIENCE_S)
        assert engine.config == new
        assert engine.paths == ("item_cf", "popularity")
        assert answers(engine) == answers(fresh)
        assert len(engine.retrieve("u00001")) == 25
        assert engine.health().cache.size == 10
        assert [one.config_hash for one in Engine.versions(tmp_path / "b")] != [engine.health().config_hash]
        engine.save(tmp_path / "b")
        hashes = [one.config_hash for one in Engine.versions(tmp_path / "b")]
        assert hashes[1] == engine.health().config_hash == fresh.health().config_hash != hashes[0]
        expected = answers(engine)
    with Engine.load(tmp_path / "b") as again:
        assert answers(again) == expected
        assert again.config.k == 25


def test_what_cannot_be_fitted_leaves_the_config_as_it_was() -> None:
    with Engine(config_of("popularity")).fit(Dataset.from_frames(LOG.interactions)) as engine:
        before = engine.config
        with pytest.raises(ConfigError, match=r"\[data\] section"):
            engine.refresh(config_of("popularity", data=DataConfig(half_life_days=3.0)))
        with pytest.raises(ConfigError, match="neighbours"):
            engine.refresh(EngineConfig(paths=(PathConfig(retriever="item_cf", params={"neighbours": -1}),)))
        with pytest.raises(CannotFit, match="content"):
            engine.refresh(config_of("content")).result(PATIENCE_S)
        assert engine.config is before
        assert engine.paths == ("popularity",)


class Gated(Rows):
    """Is fitted once the gate is open."""

    gate = threading.Event()

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        assert self.gate.wait(PATIENCE_S)
        super().fit(data, rng=rng, progress=progress)


def test_a_refit_of_another_config_does_not_join_one_that_runs(plugins: Callable[..., None]) -> None:
    plugins(gated=f"{__name__}:Gated")
    Gated.gate.set()
    with Engine(config_of("gated")).fit(DATA) as engine:
        Gated.gate.clear()
        running = engine.refresh()
        with pytest.raises(RequestError, match="a refit runs already"):
            engine.refresh(config_of("popularity"))
        assert engine.refresh() is running
        Gated.gate.set()
        running.result(PATIENCE_S)
        assert engine.paths == ("gated",)


class Nobody:
    """Chooses no variant."""

    def choose(self, *_: object) -> None:
        return None


def test_variants_are_made_for_paths_that_must_stay() -> None:
    with Engine(config_of("popularity", "item_cf")).fit(DATA) as engine:
        engine.use_variants(Nobody(), {"b": engine.config})
        with pytest.raises(RequestError, match="end them with use_variants"):
            engine.refresh(config_of("popularity"))
        engine.refresh(config_of("item_cf", "popularity", k=9)).result(PATIENCE_S)
        assert engine.config.k == 9


LEARNED = FusionReport(
    "learned",
    strategy="rrf",
    params={"k": 7},
    weights={"item_cf": 2.0},
    dropped={"popularity": "it adds nothing"},
    settings={"item_cf": {"user_exponent": 0.4}},
)
AUTO_CF = PathConfig(retriever="item_cf", params={"user_exponent": "auto"})


def kept(*paths: PathConfig, fusion: str = "auto", report: FusionReport | None = LEARNED) -> FusionReport | None:
    config = EngineConfig(paths=paths, fusion=FusionConfig(strategy=fusion))
    return kept_report(report, Blueprint.of(config), ("item_cf", "popularity"))


def test_what_is_kept_gives_way_to_what_the_config_names() -> None:
    popularity = PathConfig(retriever="popularity")
    same = kept(AUTO_CF, popularity)
    assert same is not None
    assert (same.weights, same.dropped, same.settings["item_cf"]["user_exponent"]) == (
        LEARNED.weights,
        LEARNED.dropped,
        0.4,
    )
    named = kept(
        PathConfig(
            retriever="item_cf",
            params={"user_exponent": 0.9, "source_exponent": 0.5, "target_exponent": 0.5, "half_life": 3.0},
        ),
        popularity,
    )
    assert named is not None
    assert named.settings == {}
    settings_only = kept(AUTO_CF, fusion="rrf")
    assert settings_only is not None
    assert (settings_only.strategy, settings_only.weights) == ("", {})
    assert settings_only.settings["item_cf"]["user_exponent"] == 0.4
    assert kept(popularity, fusion="rrf") is None


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(RequestError, match=r"for other paths \(ease in only one"):
        kept(AUTO_CF, PathConfig(retriever="popularity"), PathConfig(retriever="ease"))
    with pytest.raises(RequestError, match="no fusion was learned before"):
        kept(AUTO_CF, PathConfig(retriever="popularity"), report=None)
    with pytest.raises(RequestError, match="no fusion was learned before"):
        kept(AUTO_CF, PathConfig(retriever="popularity"), report=FusionReport("the config names the fusion"))


def test_a_kept_fusion_is_that_of_before_and_one_learned_anew_is_that_of_a_first_fit() -> None:
    log = generate(900, 300, 30_000, seed=5).interactions
    paths = (AUTO_CF, PathConfig(retriever="popularity"), PathConfig(retriever="user_cf"))
    with Engine(EngineConfig(paths=paths)).fit(Dataset.from_frames(log[:25_000])) as engine:
        first = engine.fusion_report()
        assert first is not None
        assert first.weights
        engine.add_interactions(log[25_000:])
        engine.refresh(fusion="keep").result(PATIENCE_S)
        kept = engine.fusion_report()
        assert kept is not None
        assert (kept.weights, kept.settings, kept.refits) == (first.weights, first.settings, 1)
        engine.refresh(fusion="learn").result(PATIENCE_S)
        learned = engine.fusion_report()
        with Engine(engine.config).fit(engine.data.compact()) as fresh:
            anew = fresh.fusion_report()
        assert learned is not None
        assert anew is not None
        assert (learned.weights, learned.settings, learned.n_requests) == (anew.weights, anew.settings, anew.n_requests)
        assert learned.refits == 0
