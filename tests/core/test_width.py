"""Adaptive width: it falls while answers are too slow, grows when there is time, and changes nothing but the width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from index_helpers import never_scan
from service_client import detail, fitted, serving

from multirecall import Engine, EngineConfig
from multirecall.engine.variants import Interleaving
from multirecall.engine.width import AdaptiveWidth, WidthControl
from multirecall.errors import ConfigError, RequestError
from multirecall.query import Query
from multirecall.retrievers._index.exact import ExactConfig
from multirecall.retrievers._index.hnsw import HnswConfig
from multirecall.retrievers._index.ivf import IvfConfig
from multirecall.retrievers._index.kinds import build_index
from multirecall.serving import ServeSettings
from multirecall.testing import small_shop

PATHS = [{"retriever": name, "quota": 40} for name in ("item_cf", "user_cf", "content", "popularity")]
SETTINGS = AdaptiveWidth(target_ms=100)


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Load:
    """Answers of some duration, period by period."""

    def __init__(self, settings: AdaptiveWidth = SETTINGS) -> None:
        self.clock = Clock()
        self.control = WidthControl(settings, 10, self.clock)

    def periods(self, n: int, *waited_ms: float, busy_ms: float = 1.0, rate: int = 20) -> list[int]:
        """The level after each of `n` periods with `rate` answers, which waited so long, again and again."""
        levels = []
        for _ in range(n):
            for number in range(rate):
                self.clock.now += 0.1 / (rate - 0.5)
                self.control.note(busy_ms, waited_ms[number % len(waited_ms)])
            levels.append(self.control.level)
        return levels


@pytest.fixture(scope="module")
def data() -> Any:
    return small_shop("int")


def config(**more: Any) -> EngineConfig:
    return EngineConfig.model_validate({"k": 12, "paths": PATHS, "fusion": {"strategy": "rrf"}, **more})


@pytest.fixture
def engine(data: Any) -> Iterator[Engine]:
    with Engine(config()).fit(data) as fitted_engine:
        yield fitted_engine


def hold(engine: Engine, level: int) -> None:
    """Keep an engine at a level: no answer is late, and no time passes."""
    engine.use_adaptive_width(AdaptiveWidth(target_ms=1e8))
    engine._width = WidthControl(AdaptiveWidth(target_ms=1e8), engine.config.k, Clock())
    engine._width.level = level


def test_answers_within_half_of_the_target_change_nothing() -> None:
    assert Load().periods(50, 48.0) == [0] * 50


def test_one_slow_answer_in_twenty_is_tolerated_and_two_are_not() -> None:
    assert Load().periods(5, *[10.0] * 19, 60.0) == [0] * 5
    assert Load().periods(3, *[10.0] * 9, 60.0) == [2, 4, 4]


def test_the_width_grows_level_by_level_once_there_is_time() -> None:
    load = Load()
    load.periods(2, 150.0)
    assert load.periods(20, 10.0, rate=10)[4::5] == [3, 2, 1, 0]
    assert load.periods(5, 10.0, rate=10) == [0] * 5


def test_between_a_quarter_and_half_of_the_target_the_width_stays() -> None:
    load = Load()
    load.periods(1, 60.0)
    assert load.periods(50, 30.0) == [2] * 50


def test_a_growth_that_did_not_last_makes_the_next_wait_longer() -> None:
    load = Load()
    load.periods(1, 60.0)
    waits = []
    for _ in range(3):
        n = 0
        while load.control.level > 1:
            load.periods(1, 10.0, rate=10)
            n += 1
        waits.append(n)
        load.periods(1, 60.0)
        load.control.level = 2
    assert waits == [5, 10, 20]


def test_a_level_that_would_take_too_much_time_is_not_tried_before_the_load_falls() -> None:
    load = Load()
    load.periods(1, 60.0, busy_ms=5.0)  # 20 answers of 5 ms fill a period of 100 ms
    load.control.level = 1
    assert load.periods(300, 1.0, busy_ms=2.0) == [1] * 300  # at level 0 they would take the whole period
    assert load.periods(20, 1.0, busy_ms=2.0)[-1] == 0  # after 320 periods it is tried all the same
    load.periods(1, 60.0, busy_ms=5.0)
    load.control.level = 1
    assert 0 in load.periods(15, 1.0, busy_ms=2.0, rate=16)  # 16 answers of 5 ms take 80 ms: there is room


def test_few_answers_are_judged_after_a_second() -> None:
    load = Load()
    for moment in (0.2, 0.4, 0.9):
        load.clock.now = moment
        load.control.note(200.0, 0.0)
        assert load.control.level == 0
    load.clock.now = 1.0
    load.control.note(200.0, 0.0)
    assert load.control.level == 2


def test_a_level_asks_paths_for_less_and_says_so(engine: Engine) -> None:
    full = engine.retrieve(1)
    assert (full.level, engine.health().width) == (0, 0)
    hold(engine, 2)
    narrow = engine.retrieve(1)
    assert (narrow.level, engine.health().width) == (2, 2)
    assert narrow.to_dict()["level"] == 2
    for name, status in narrow.status.items():
        assert status.count == min(20, full.status[name].count)  # half of 40
    expected = Engine(config(paths=[{**path, "quota": 20} for path in PATHS])).fit(engine.data).retrieve(1)
    assert narrow.ids.tolist() == expected.ids.tolist()
    assert engine.retrieve_batch([1])[0].level == 0
    engine.use_adaptive_width(None)
    assert engine.retrieve(1).level == 0


def test_paths_together_can_always_propose_k(data: Any) -> None:
    few = [{**path, "quota": 6} for path in PATHS]
    with Engine(config(k=20, paths=few)).fit(data) as engine:
        hold(engine, 4)
        assert [path.quota for path in engine._width.of(engine._current()).paths] == [6] * 4  # not 6 * .25
    with Engine(config()).fit(data) as engine:
        hold(engine, 4)
        assert [path.quota for path in engine._width.of(engine._current()).paths] == [10] * 4  # .25 * 40 > 2 * 12 / 4
        engine._width = WidthControl(AdaptiveWidth(target_ms=1e8, widths=(0.1,)), 12, Clock())
        engine._width.level = 1
        assert [path.quota for path in engine._width.of(engine._current()).paths] == [6] * 4  # 2 * 12 / 4 > .1 * 40


def test_narrow_levels_do_without_spare_paths(data: Any) -> None:
    paths = [{**path, "required": path["retriever"] == "user_cf"} for path in PATHS]
    spare = AdaptiveWidth(target_ms=1e8, spare=("content", "user_cf", "popularity"))
    with Engine(config(paths=paths)).fit(data) as engine:
        engine.use_adaptive_width(spare)
        gone = []
        for level in range(5):
            engine._width.level = level
            status = engine.retrieve(1).status
            gone.append([name for name, one in status.items() if one.state == "dropped"])
            assert all("adaptive width" in str(status[name].detail) for name in gone[-1])
        assert gone == [[], [], ["content"], ["content"], ["content", "popularity"]]
        with pytest.raises(ConfigError, match=r"width.spare: no path is named 'contents'; .*content"):
            engine.use_adaptive_width(AdaptiveWidth(target_ms=1, spare=("contents",)))


def test_slow_answers_of_an_engine_lower_its_width(engine: Engine) -> None:
    engine.use_adaptive_width(AdaptiveWidth(target_ms=100))
    clock = Clock()
    engine._width = WidthControl(SETTINGS, 12, clock)
    for _ in range(12):
        clock.now += 0.01
        engine.retrieve(1, waited_ms=500.0)
    assert engine.health().width == 2
    for _ in range(12):
        clock.now += 0.01
        engine.note_refused(500.0)
    assert engine.health().width == 4


def test_a_cached_answer_is_that_of_its_level(data: Any) -> None:
    with Engine(config(cache_size=10)).fit(data) as engine:
        full = engine.retrieve(1)
        hold(engine, 4)
        assert engine.retrieve(1).level == 4
        assert engine.retrieve(1).level == 4
        hold(engine, 0)
        assert engine.retrieve(1).ids.tolist() == full.ids.tolist()
        assert engine.health().cache.hits == 2


class Always:
    """Gives all users one variant."""

    def choose(self, user: Any, context: Mapping[str, Any], request_id: str) -> str | None:
        return "mixed"


def test_both_fusions_of_an_interleaving_get_narrower(engine: Engine) -> None:
    other = config(fusion={"strategy": "weighted_sum"}, paths=[{**path, "quota": 30} for path in PATHS])
    engine.use_variants(Always(), {"mixed": Interleaving(config(), other)})
    hold(engine, 2)
    state = engine._width.of(engine._variants.of(engine._current(), 1, None, "x"))
    assert state.rivals is not None
    assert [plan.quotas for plan in state.rivals] == [[20] * 4, [15] * 4]
    assert state.windows == (20,) * 4
    assert engine.retrieve(1).variant == "mixed"


@pytest.mark.parametrize("widths", [(), (0.5, 0.5), (0.3, 0.5), (1.0,), (0.0,)])
def test_widths_that_do_not_fall_are_refused(widths: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="widths"):
        AdaptiveWidth(target_ms=1, widths=widths)


def test_other_settings_are_refused(engine: Engine) -> None:
    with pytest.raises(RequestError, match="pass an AdaptiveWidth, or None"):
        engine.use_adaptive_width(0.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"width.target_ms"):
        ServeSettings().override(width={"target_ms": -1})


@pytest.mark.parametrize(
    "settings",
    [IvfConfig(), HnswConfig(M=4, ef_construction=10, ef_search=60), ExactConfig()],
    ids=lambda one: one.kind,
)
def test_an_index_searches_less_with_less_effort(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    never_scan(monkeypatch)
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((6_000, 16)).astype(np.float32)
    index = build_index(np.arange(6_000, dtype=np.int32), vectors, "cosine", settings, rng=np.random.default_rng(1))
    truth = build_index(
        np.arange(6_000, dtype=np.int32), vectors, "cosine", ExactConfig(), rng=np.random.default_rng(1)
    )
    asked = rng.standard_normal((40, 16)).astype(np.float32)

    def recall(effort: float) -> float:
        hasty = index.with_effort(effort)
        return float(
            np.mean([np.isin(truth.search(one, 50).items, hasty.search(one, 50).items).mean() for one in asked])
        )

    found = [recall(effort) for effort in (1.0, 0.5, 0.1)]
    assert index.with_effort(1.0) is index
    if settings.kind == "exact":
        assert found == [1.0] * 3
    else:
        assert found[0] > found[1] >= found[2] > 0.1
    grown = index.with_effort(0.1).add(np.array([7_000], np.int32), asked[:1])
    assert grown.search(asked[0], 1).items.tolist() == [7_000]


def test_a_path_gets_the_effort_of_its_level(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    retriever = engine._current().paths[0].retriever
    usual = type(retriever).retrieve

    def retrieve(own: Any, query: Query, quota: int) -> Any:
        asked.append(query.effort)
        return usual(own, query, quota)

    monkeypatch.setattr(type(retriever), "retrieve", retrieve)
    engine.retrieve(1)
    hold(engine, 3)
    engine.retrieve(1)
    assert asked == [1.0, 0.35]


def test_a_service_lowers_the_width_of_its_engine() -> None:
    engine = fitted()
    ask = serving(engine, width={"target_ms": 50, "widths": [0.5]}, limits={"deadline_ms": 1e-6})
    assert isinstance(engine._width, WidthControl)
    clock = Clock()
    engine._width = WidthControl(AdaptiveWidth(target_ms=1e-6, widths=(0.5,)), 10, clock)
    for _ in range(12):
        clock.now += 0.01
        assert "before a thread was free" in detail(ask("POST", "/v1/retrieve", {"user_id": 1}), 503)
    answer = ask("POST", "/v1/retrieve", {"user_id": 1, "deadline_ms": 60_000})
    assert answer.json()["level"] == 1
    assert answer.json()["draw"] is None
