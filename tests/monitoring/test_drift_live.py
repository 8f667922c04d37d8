"""Drift while an engine serves: figures counted by hand, what begins anew, and what counts nowhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from patience import eventually

from multirecall import Engine, EngineConfig, User
from multirecall.chance import share_of
from multirecall.monitoring.drift import DriftSettings, DriftWatch, LiveDrift
from multirecall.online import Exploration
from multirecall.testing import small_shop

CONFIG = {
    "k": 8,
    "paths": [{"retriever": "item_cf"}, {"retriever": "popularity"}],
    "fusion": {"strategy": "rrf"},
}
ABSENT = 9_999


def watched(**settings: Any) -> tuple[Engine, DriftWatch]:
    engine = Engine(EngineConfig.model_validate(CONFIG)).fit(small_shop())
    watch = DriftWatch(engine, DriftSettings.model_validate({"share": 1.0, **settings}))
    engine.observe(watch)
    return engine, watch


def after(watch: DriftWatch, answers: int) -> LiveDrift:
    """The figures once this number of answers is counted."""
    eventually(lambda: watch.figures().answers == answers)
    return watch.figures()


def test_figures_are_those_counted_by_hand() -> None:
    engine, watch = watched()
    asked: list[Any] = [1, 2, 77_777, User(history=[8, 10, ABSENT]), User(1, history=[3]), User()]
    answers = [engine.retrieve(one) for one in asked]
    found = after(watch, len(asked))
    assert found.unknown_users == pytest.approx(1 / 4), "1, 2 and 1 again are known; two visitors have no id"
    lengths = [small_shop().history(small_shop().users.ids.row(user)).items.size for user in (1, 2)]
    assert found.unknown_items == pytest.approx(1 / (sum(lengths) + 3 + 1))
    first = [(one.ranks >= 0) & (one.ranks < 8) for one in answers]
    for number, path in enumerate(("item_cf", "popularity")):
        own = sum(int(one[:, number].sum()) for one in first)
        both = sum(int(one.all(axis=1).sum()) for one in first)
        assert found.paths[path].now.contribution == pytest.approx(own / sum(map(len, answers)))
        assert found.paths[path].now.overlap == pytest.approx(both / own)
        empty = np.mean([one.status[path].count == 0 for one in answers])
        assert found.paths[path].now.empty == pytest.approx(empty)
        assert found.paths[path].before is None, "the newest answers are the first ones still"
    assert found.paths["item_cf"].now.empty > 0 == found.paths["popularity"].now.empty
    engine.close()


def test_a_batch_counts_as_its_single_requests() -> None:
    (one, by_one), (other, by_batch) = watched(), watched()
    for user in range(6):
        one.retrieve(user)
    other.retrieve_batch(list(range(6)))
    assert after(by_one, 6) == after(by_batch, 6)
    one.close()
    other.close()


def test_users_without_history_show_as_a_path_that_goes_empty() -> None:
    engine, watch = watched(answers=20)
    for user in range(20):
        engine.retrieve(user)
    after(watch, 20)
    for _ in range(20):
        engine.retrieve(User())
    eventually(lambda: watch.figures().paths["item_cf"].now.empty == 1.0)
    path = watch.figures().paths["item_cf"]
    assert path.before is not None
    assert path.before.empty == 0.0
    assert path.now.contribution == 0.0 < path.before.contribution
    assert path.scores is not None
    engine.close()


def test_what_counts_nowhere() -> None:
    engine, watch = watched(share=0.3)
    engine.similar(3)
    chosen = [number for number in range(60) if share_of(f"r{number}", "drift") < 0.3]
    for number in range(60):
        engine.retrieve(number % 40, request_id=f"r{number}")
    found = after(watch, len(chosen))
    assert 5 < found.answers < 35
    engine.close()


def test_a_refit_begins_anew() -> None:
    engine, watch = watched()
    engine.retrieve(1)
    after(watch, 1)
    engine.retrieve(2)
    after(watch, 2)
    engine.refresh().result()
    engine.retrieve(3)
    assert after(watch, 1).answers == 1
    engine.close()


def test_events_since_the_fit_show_new_items_and_another_popularity() -> None:
    engine, watch = watched()
    engine.retrieve(1)
    found = after(watch, 1)
    assert math.isnan(found.unknown_events)
    assert found.popularity is None
    rng = np.random.default_rng(1)
    start = 1_800_000_000
    same = small_shop().interactions.items
    engine.add_interactions(
        [{"user_id": int(rng.integers(0, 40)), "item_id": int(same[n]), "timestamp": start + n} for n in range(300)]
    )
    quiet = watch.figures()
    assert quiet.unknown_events == 0.0
    assert quiet.popularity is not None
    engine.add_interactions(
        [
            {"user_id": int(rng.integers(0, 40)), "item_id": 500 + n % 3, "timestamp": start + 400 + n}
            for n in range(100)
        ]
    )
    moved = watch.figures()
    assert moved.unknown_events == pytest.approx(0.25)
    assert moved.popularity is not None
    assert moved.popularity.psi > quiet.popularity.psi + 0.2
    engine.close()


def test_nothing_is_told_before_the_first_answer() -> None:
    engine, watch = watched()
    found = watch.figures()
    assert (found.answers, found.paths) == (0, {})
    assert math.isnan(found.unknown_users)
    engine.close()


def test_explored_answers_and_cache_hits_are_read_too() -> None:
    engine = Engine(EngineConfig.model_validate({**CONFIG, "cache_size": 10})).fit(small_shop())
    watch = DriftWatch(engine, DriftSettings(share=1.0))
    engine.observe(watch)
    engine.retrieve(1)
    engine.retrieve(1)
    engine.use_exploration(Exploration(slots=3, share=1.0))
    engine.retrieve_batch([1, User()])
    assert after(watch, 4).answers == 4
    engine.close()
