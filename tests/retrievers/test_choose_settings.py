"""Retrievers try values of their settings that are "auto": what a log shows to be right is found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from multirecall import Dataset
from multirecall.csr import offsets_of
from multirecall.lists import RankedBatch
from multirecall.metrics import METRICS, user_metrics
from multirecall.progress import SILENT
from multirecall.protocols import Answer, PluginConfig, Trials
from multirecall.query import Query
from multirecall.registry import retriever_class
from multirecall.retrievers._choice import search
from multirecall.retrievers._part import Part
from multirecall.retrievers.ease import EASEConfig
from multirecall.testing import small_shop

NAMES = ("item_cf", "graph_filter", "ease", "als", "user_cf", "sequence", "next_item")
FEW = {"als": {"dim": 8}, "graph_filter": {"dim": 8}}
"""Settings that keep the worlds of this file fast."""


@dataclass
class World:
    """A log whose last events are asked for, and what a retriever has tried on it."""

    data: Dataset
    queries: list[Query]
    targets: NDArray[np.int32]
    tried: list[tuple[Any, float]] = field(default_factory=list)
    answers: dict[Any, Answer] = field(default_factory=dict)

    @classmethod
    def of(cls, histories: Sequence[Sequence[int]]) -> World:
        """Each history is a user's, oldest first; its last item is the answer."""
        rows = [(user, item, place) for user, own in enumerate(histories) for place, item in enumerate(own[:-1])]
        data = Dataset.from_frames(pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row"))
        queries = []
        for user in range(len(histories)):
            items = data.history(user).items
            queries.append(Query(user, items, np.ones(items.size, np.float32), exclude=np.unique(items)))
        return cls(data, queries, data.items.ids.rows(np.array([own[-1] for own in histories])))

    def score(self, config: PluginConfig, answer: Answer) -> float:
        lists = answer(np.arange(len(self.queries)))
        assert len(lists) == len(self.queries)
        self.answers[config] = answer
        return self.judge(config, lists)

    def judge(self, config: PluginConfig, lists: RankedBatch) -> float:
        offsets = offsets_of(np.ones(len(self.queries), np.int64))
        values = user_metrics(lists.offsets, lists.items, offsets, self.targets, [2])
        self.tried.append((config, float(values[METRICS.index("ndcg")].mean())))
        return self.tried[-1][1]

    def choose(self, name: str, **settings: Any) -> Any:
        """The best config that the retriever tries."""
        self.tried.clear()
        plugin = retriever_class(name)
        config = plugin.Config.model_validate(settings)
        trials = Trials(self.queries, config.free, 5, self.score)
        plugin(config).choose_settings(self.data, trials, rng=np.random.default_rng(0), progress=SILENT)
        return max(self.tried, key=lambda pair: pair[1])[0]


def shop() -> World:
    """The users of the small shop, asked for their last items."""
    data = small_shop()
    return World.of([own for user in range(data.n_users) if len(own := data.history(user).items.tolist()) > 2])


def drifting(short: bool, n_users: int = 120, seed: int = 0) -> World:
    """Ten groups of six items; users move to another group before their last three events, or hardly move at all.

    With `short` the answer belongs to the group of the newest events. Otherwise the newest event is noise, and the
    answer belongs to the group of the others.
    """
    rng = np.random.default_rng(seed)
    histories = []
    for _ in range(n_users):
        first, then = rng.choice(10, 2, replace=False)
        old, new = first * 6 + rng.permutation(6), then * 6 + rng.permutation(6)
        histories.append([*old[:4], *new[:3]] if short else [*old[:5], *new[:1], old[5]])
    return World.of([list(map(int, own)) for own in histories])


def misled(n_users: int = 150, seed: int = 0) -> World:
    """Pairs of rare items that follow from each other, beside three items that almost everyone has."""
    rng = np.random.default_rng(seed)
    histories = []
    for user in range(n_users):
        pair = 10 + 2 * (user // 3 % 20)
        popular = [int(item) for item in rng.permutation(5) if rng.random() < 0.6]
        histories.append(
            [*popular, pair, pair + 1] if user % 3 else [*popular, pair + 1, pair, int(rng.integers(5, 10))]
        )
    return World.of(histories)


@pytest.mark.parametrize("name", NAMES)
def test_the_priors_come_first_and_nothing_comes_twice(name: str) -> None:
    world = shop()
    world.choose(name, **FEW.get(name, {}))
    config: Any = retriever_class(name).Config
    assert world.tried[0][0] == config.model_validate(FEW.get(name, {})).resolve()
    configs = [config for config, _ in world.tried]
    assert len({*configs}) == len(configs) > 1


@pytest.mark.parametrize("name", NAMES)
def test_some_queries_get_the_lists_that_they_get_among_all(name: str) -> None:
    world = shop()
    best = world.choose(name, **FEW.get(name, {}))
    places = np.arange(1, len(world.queries), 3)
    for config in (world.tried[0][0], best):
        some, every = world.answers[config](places), world.answers[config](np.arange(len(world.queries))).take(places)
        assert some.offsets.tolist() == every.offsets.tolist()
        assert some.items.tolist() == every.items.tolist()
        np.testing.assert_allclose(some.scores, every.scores, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_trials_are_deterministic(name: str) -> None:
    world = shop()
    world.choose(name, **FEW.get(name, {}))
    first = list(world.tried)
    world.choose(name, **FEW.get(name, {}))
    assert world.tried == first


@pytest.mark.parametrize("name", NAMES)
def test_a_fixed_setting_keeps_its_value(name: str) -> None:
    world = shop()
    config: Any = retriever_class(name).Config
    for fixed, value in config.priors.items():
        if fixed != "form":
            other = [3.0] if fixed == "half_lives" else value * 0.75 if isinstance(value, float) and value else 3
            other = min(other, 0.8) if fixed == "gap_decay" else other
            world.choose(name, **{**FEW.get(name, {}), fixed: other})
            expected = getattr(config.model_validate({fixed: other}), fixed)
            assert {getattr(tried, fixed) for tried, _ in world.tried} == {expected}


@pytest.mark.parametrize("name", NAMES)
def test_auto_is_a_value_of_files_and_without_an_engine_the_prior(name: str) -> None:
    config: Any = retriever_class(name).Config
    auto = config()
    assert auto.free == config.priors.keys()
    assert config.model_validate(json.loads(auto.model_dump_json())) == auto
    written = config.model_validate(auto.priors)
    assert retriever_class(name)(auto).config == retriever_class(name)(written).config == auto.resolve()
    assert config.model_validate(json.loads(written.model_dump_json())) == written


@pytest.mark.parametrize("name", ["item_cf", "sequence"])
def test_a_half_life_may_be_none_as_a_value_and_as_a_choice(name: str) -> None:
    config: Any = retriever_class(name).Config
    assert config(half_life=None).resolve().half_life is None
    assert config().resolve({"half_life": None}).half_life is None
    world = drifting(short=False)
    world.choose(name)
    assert None in {tried.half_life for tried, _ in world.tried}


def test_a_short_memory_where_users_drift() -> None:
    assert drifting(short=True).choose("item_cf", user_exponent=0.5).half_life in (2.0, 5.0)


def test_a_long_memory_where_the_newest_event_is_noise() -> None:
    chosen = drifting(short=False).choose("sequence").half_life
    assert chosen is None or chosen > retriever_class("sequence").Config.priors["half_life"]


def test_rarer_items_where_popular_ones_mislead() -> None:
    world = misled()
    fixed = {"source_exponent": 1.0, "user_exponent": 0.0, "half_life": None, "shrinkage": 0.0}
    chosen = world.choose("item_cf", **fixed)
    assert chosen.target_exponent >= 0.7
    scores = {config.target_exponent: score for config, score in world.tried}
    assert max(scores, key=scores.__getitem__) == chosen.target_exponent > min(scores)


@pytest.mark.parametrize("name", ["graph_filter", "ease", "als", "user_cf", "next_item", "item_cf", "sequence"])
def test_what_is_chosen_is_no_worse_than_the_priors_when_fitted(name: str) -> None:
    world = drifting(short=True)
    best = world.choose(name, **FEW.get(name, {}))
    fitted = []
    for config in (world.tried[0][0], best):
        path = retriever_class(name)(config)
        path.fit(world.data, rng=np.random.default_rng(0), progress=SILENT)
        fitted.append(world.judge(config, path.retrieve_batch(world.queries, 5)))
    assert fitted[1] >= fitted[0] - 0.02


def test_item_cf_tries_what_it_fits() -> None:
    world = drifting(short=True)
    world.choose("item_cf")
    for config, score in world.tried[:8]:
        path = retriever_class("item_cf")(config)
        path.fit(world.data, rng=np.random.default_rng(0), progress=SILENT)
        assert world.judge(config, path.retrieve_batch(world.queries, 5)) == pytest.approx(score, abs=0.02)


def test_ease_tries_what_it_fits_in_the_sparse_form() -> None:
    """The trials share the Gram matrix of all items, which the fit does not have."""
    world = drifting(short=True)
    world.choose("ease", form="sparse")
    for config, score in list(world.tried):
        path = retriever_class("ease")(config)
        path.fit(world.data, rng=np.random.default_rng(0), progress=SILENT)
        assert world.judge(config, path.retrieve_batch(world.queries, 5)) == score


def walk(scores: dict[float, float], axis: Sequence[float], *, ordered: bool = True) -> list[float]:
    """The penalties of `ease` that a search tries, in order, where each has the score that is written down for it."""
    tried: list[float] = []
    config = EASEConfig(form="exact")

    def score(one: Any, answer: Answer) -> float:
        tried.append(one.regularisation)
        return scores[one.regularisation]

    def answer(config: Any) -> Answer:
        return lambda places: RankedBatch.empty(places.size)

    trials = Trials([], config.free, 5, score)
    search(config.resolve(), trials, answer, {"regularisation": axis}, ordered=ordered)
    return tried


def test_a_walk_along_an_axis_ends_where_values_fall_short() -> None:
    """400 is worse than 200 by less than a hundredth, so that the walk goes on; 1600 is worse than 800 by more."""
    scores = {10.0: 0.7, 30.0: 0.9, 100.0: 1.0, 200.0: 1.2, 400.0: 1.195, 800.0: 1.3, 1600.0: 1.1, 3200.0: 1.5}
    assert walk(scores, sorted(scores)) == [100.0, 30.0, 200.0, 400.0, 800.0, 1600.0]


def test_values_without_order_are_all_tried() -> None:
    scores = {10.0: 0.9, 30.0: 0.5, 100.0: 1.0, 200.0: 0.5, 400.0: 1.2}
    assert walk(scores, sorted(scores), ordered=False) == [100.0, 10.0, 30.0, 200.0, 400.0]


def test_an_axis_without_the_present_value_is_tried_in_full() -> None:
    scores = {10.0: 0.5, 30.0: 0.6, 50.0: 0.7, 100.0: 1.0}
    assert walk(scores, (10.0, 30.0, 50.0)) == [100.0, 10.0, 30.0, 50.0]


def test_a_part_of_the_catalogue_asks_and_answers_in_rows_of_the_whole() -> None:
    data = small_shop()
    part = Part.most_frequent(data, 5)
    counts = np.bincount(data.interactions.items, minlength=data.n_items)
    assert counts[part.items].min() >= np.delete(counts, part.items).max()
    own = data.history(0)
    query = part.ask(
        Query(0, own.items, own.weights, exclude=np.unique(own.items), allowed=np.arange(data.n_items) > 3)
    )
    kept = np.isin(own.items, part.items)
    np.testing.assert_array_equal(part.items[query.history], own.items[kept])
    np.testing.assert_array_equal(query.weights, own.weights[kept])
    np.testing.assert_array_equal(part.items[query.exclude], np.intersect1d(own.items, part.items))
    assert query.allowed is not None
    np.testing.assert_array_equal(query.allowed, part.items > 3)
    lists = RankedBatch(np.array([0, 2]), np.array([4, 0], np.int32), np.array([2.0, 1.0], np.float32))
    assert part.restore(lists).items.tolist() == [part.items[4], part.items[0]]
