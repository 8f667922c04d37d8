"""Explored slots and interleaved fusions: what the id of a request decides, and with which probability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import eventually
from pydantic import ValidationError

from multirecall import Candidates, Engine, EngineConfig, User
from multirecall.chance import generator_of, share_of
from multirecall.config import EngineConfig as Config
from multirecall.draw import Draw
from multirecall.engine.fuse import plan_of
from multirecall.engine.merge import Merging, explore, team_draft
from multirecall.engine.variants import Interleaving, Variant
from multirecall.errors import RequestError
from multirecall.lists import FusedList
from multirecall.online import Exploration, Observation, Served
from multirecall.testing import small_shop

PATHS = ("item_cf", "user_cf", "content", "popularity")
FUSIONS: dict[str, dict[str, Any]] = {
    "rrf": {"strategy": "rrf"},
    "sum": {"strategy": "weighted_sum"},
    "cascade": {"strategy": "cascade"},
    "skip": {"strategy": "cascade", "params": {"on_duplicate": "skip"}},
}


def config(fusion: Mapping[str, Any] = FUSIONS["rrf"], quota: int = 8, **of: Any) -> EngineConfig:
    paths = [{"retriever": name, "quota": quota, **of.get(name, {})} for name in PATHS]
    return EngineConfig.model_validate({"k": 10, "paths": paths, "fusion": dict(fusion)})


@pytest.fixture(scope="module")
def data() -> Any:
    return small_shop("int")


@pytest.fixture
def engine(data: Any) -> Iterator[Engine]:
    with Engine(config()).fit(data) as fitted:
        yield fitted


class Always:
    """Gives all users one variant."""

    def __init__(self, name: str | None) -> None:
        self._name = name

    def choose(self, user: Any, context: Mapping[str, Any], request_id: str) -> str | None:
        return self._name


def fused(items: list[int]) -> FusedList:
    n = len(items)
    ranks = np.arange(n, dtype=np.int32)[:, None]
    return FusedList(np.array(items, np.int32), np.linspace(1.0, 0.1, n), ranks)


def answers_of(engine: Engine, n: int, user: Any = 1) -> list[Candidates]:
    return [engine.retrieve(user, request_id=f"request {number}") for number in range(n)]


def test_a_text_decides_uniformly_and_each_purpose_for_itself() -> None:
    shares = np.array([[share_of(f"id {n}", purpose) for n in range(20_000)] for purpose in ("log", "explore")])
    counts = np.array([np.histogram(one, 20, (0, 1))[0] for one in shares])
    assert ((counts - 1_000) ** 2 / 1_000).sum(axis=1).max() < 43.8  # chi-square, 19 degrees of freedom, p = .001
    assert abs(np.corrcoef(shares)[0, 1]) < 4 / np.sqrt(20_000)
    assert share_of("id 1", "log") == share_of("id 1", "log")
    assert generator_of("a", "x").random() != generator_of("b", "x").random()


@pytest.mark.parametrize(("n", "k", "slots", "share"), [(30, 10, 3, 0.3), (12, 10, 10, 1.0), (11, 10, 1, 0.5)])
def test_counted_frequencies_are_the_propensities(n: int, k: int, slots: int, share: float) -> None:
    everything, setting = fused(list(range(n))), Exploration(slots=slots, share=share)
    counts, told = np.zeros(n), np.full(n, np.nan)
    asked = 20_000
    for number in range(asked):
        answer, draw = explore(everything, k, setting, f"request {number}")
        assert draw is not None
        assert answer.items.size == np.unique(answer.items).size == k
        assert (np.diff(answer.scores) < 0).all()
        counts[answer.items] += 1
        known = ~np.isnan(told[answer.items])
        assert (told[answer.items][known] == draw.propensity[known]).all(), "the probability depends on the draw"
        told[answer.items] = draw.propensity
    assert not np.isnan(told).any(), "every proposed item is in an answer now and then"
    assert told.sum() == pytest.approx(k)
    error = np.sqrt(told * (1 - told) / asked)
    assert (np.abs(counts / asked - told) <= 4.5 * error + 1e-12).all()


def test_by_hand_a_pool_of_four_for_two_slots() -> None:
    everything = fused([7, 5, 3, 9, 1, 2])
    drawn = [explore(everything, 4, Exploration(slots=2, share=0.5), f"{number}") for number in range(40)]
    plain = next(one for one in drawn if one[1] is not None and not one[1].explored.any())
    other = next(one for one in drawn if 2 in one[0].items)
    assert plain[0].items.tolist() == [7, 5, 3, 9]
    assert plain[1] is not None
    assert plain[1].propensity.tolist() == [1, 1, 0.75, 0.75]  # .5 + .5 * 2 / 4
    assert other[1] is not None
    assert other[1].propensity[-1] == 0.25  # .5 * 2 / 4
    assert other[1].place.tolist()[:2] == [-1, -1]
    assert other[1].place[-1] == 5


@pytest.mark.parametrize("name", FUSIONS)
def test_explored_slots_stand_behind_the_fused_head(data: Any, name: str) -> None:
    with Engine(config(FUSIONS[name])).fit(data) as engine:
        usual = engine.retrieve(1)
        engine.use_exploration(Exploration(slots=3, share=0.5))
        answers = answers_of(engine, 60)
    explored = [one for one in answers if one.draw is not None and one.draw.explored.any()]
    assert 15 < len(explored) < 45
    for answer in answers:
        assert answer.draw is not None
        assert answer.ids[:7].tolist() == usual.ids[:7].tolist()
        if not answer.draw.explored.any():
            assert answer.ids.tolist() == usual.ids.tolist()
            assert answer.scores.tolist() == usual.scores.tolist()
        for place in np.flatnonzero(answer.draw.explored).tolist():
            candidate = answer[place]
            assert candidate.provenance["explored"] == answer.draw.place[place]
            assert len(candidate.provenance) > 1, "no path proposes it"
        part = answer[6:9]
        assert part.draw is not None
        assert part.draw.place.tolist() == answer.draw.place[6:9].tolist()
    assert len({tuple(one.ids.tolist()) for one in explored}) > 5


def test_where_paths_propose_no_more_nothing_is_drawn(data: Any) -> None:
    with Engine(config(quota=2)).fit(data) as engine:
        engine.use_exploration(Exploration(slots=3, share=1.0))
        answer = engine.retrieve(1, k=20)
        assert answer.n_backfilled
        assert answer.draw is not None
        assert answer.draw.propensity.tolist() == [1.0] * 20
        assert not answer.draw.explored.any()
        engine.use_exploration(None)
        assert engine.retrieve(1).draw is None


def test_a_request_id_decides_in_every_process_and_in_a_batch(engine: Engine, data: Any) -> None:
    engine.use_exploration(Exploration(slots=5, share=0.7))
    with Engine(config()).fit(data) as other:
        other.use_exploration(Exploration(slots=5, share=0.7))
        for ours, theirs in zip(answers_of(engine, 10), answers_of(other, 10), strict=True):
            assert ours.ids.tolist() == theirs.ids.tolist()
    users: list[Any] = [1, 2, 3, User(history=[2, 4])]
    batch = engine.retrieve_batch(users, request_id="page")
    assert batch.draw is not None
    assert batch.draw.propensity.size == batch.items.size
    for number, (user, own) in enumerate(zip(users, batch, strict=True)):
        alone = engine.retrieve(user, request_id=f"page/{number}")
        assert own.ids.tolist() == alone.ids.tolist()
        assert own.draw is not None
        assert alone.draw is not None
        assert own.draw.place.tolist() == alone.draw.place.tolist()
    assert batch[1:3].draws == batch.draws[1:3]


def test_answers_by_chance_are_not_cached(data: Any) -> None:
    cached = Config.model_validate(config().model_dump(exclude_unset=True) | {"cache_size": 10})
    with Engine(cached).fit(data) as engine:
        engine.use_exploration(Exploration(slots=5, share=1.0))
        assert len({tuple(one.ids.tolist()) for one in answers_of(engine, 8)}) > 1
        assert engine.health().cache.entries == 0


@pytest.mark.parametrize("slots, share", [(0, 0.5), (True, 0.5), (2.0, 0.5), (1, 0.0), (1, 1.1), (1, "a")])  # noqa: PT006
def test_bad_settings_are_refused(slots: Any, share: Any) -> None:
    with pytest.raises(ValidationError):
        Exploration(slots=slots, share=share)


def test_bad_arguments_are_refused(engine: Engine) -> None:
    for wrong in ("", "x" * 257, 7):
        with pytest.raises(RequestError, match="request_id must be text of 1 to 256 characters"):
            engine.retrieve(1, request_id=wrong)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="pass an Exploration, or None"):
        engine.use_exploration({"slots": 1})  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="or an Interleaving of two"):
        engine.use_variants(Always("mixed"), {"mixed": Interleaving(config(), "rrf")})  # type: ignore[arg-type]


def draft_by_hand(first: list[int], second: list[int], coins: list[int]) -> tuple[list[int], list[int]]:
    """Algorithm 2 of the paper, which goes on with the longer list once the other has no more."""
    answer: list[int] = []
    teams: list[int] = []
    lists = (first, second)
    while len(answer) < len(coins):
        left = [[one for one in own if one not in answer] for own in lists]
        if not left[0] and not left[1]:
            break
        if left[0] and left[1]:
            sizes = teams.count(0), teams.count(1)
            turn = coins[len(answer)] if sizes[0] == sizes[1] else int(sizes[1] < sizes[0])
            teams.append(turn)
        else:
            turn = 0 if left[0] else 1
            teams.append(-1)
        answer.append(left[turn][0])
    return answer, teams


@given(
    st.lists(st.integers(0, 12), max_size=10, unique=True),
    st.lists(st.integers(0, 12), max_size=10, unique=True),
    st.integers(1, 14),
    st.text(min_size=1, max_size=5),
)
def test_a_team_draft_is_that_of_the_paper(first: list[int], second: list[int], k: int, request_id: str) -> None:
    answer, draw = team_draft(fused(first), fused(second), k, request_id)
    coins = generator_of(request_id, "draft").integers(0, 2, k, np.int8).tolist()
    items, teams = draft_by_hand(first, second, coins)
    assert answer.items.tolist() == items
    assert draw is not None
    assert draw.team.tolist() == teams
    for item, rank, team in zip(items, answer.ranks[:, 0].tolist(), teams, strict=True):
        if team >= 0:
            assert rank == (first, second)[team].index(item)


def test_two_equal_fusions_get_equal_credit(engine: Engine) -> None:
    engine.use_variants(Always("same"), {"same": Interleaving(config(), config())})
    teams = np.concatenate([one.draw.team for one in answers_of(engine, 300) if one.draw is not None])
    assert set(teams.tolist()) <= {-1, 0, 1}
    first, second = (teams == 0).sum(), (teams == 1).sum()
    assert first == second  # ten places of each answer: five rounds, in which both draft


def test_an_interleaved_answer_is_made_of_what_each_fusion_gives(data: Any) -> None:
    fewer = config(FUSIONS["sum"], quota=20, item_cf={"enabled": False})
    sides = [config(FUSIONS["cascade"]), fewer]
    with Engine(config()).fit(data) as engine:
        alone = []
        for side in sides:
            engine.use_variants(Always("side"), {"side": side})
            alone.append(engine.retrieve(1).ids.tolist())
        engine.use_variants(Always("mixed"), {"mixed": Interleaving(*sides)})
        for answer in answers_of(engine, 20):
            assert answer.variant == "mixed"
            assert answer.draw is not None
            assert np.isnan(answer.draw.propensity).all()
            coins = answer.draw.team.tolist()
            for team, side_ids in enumerate(alone):
                own = [item for item, one in zip(answer.ids.tolist(), coins, strict=True) if one == team]
                assert own == [item for item in side_ids if item in own], "a team drafts in the order of its fusion"
            assert answer.status["item_cf"].state == "ok"
            assert np.isnan(answer.features().contribution).all()
        engine.use_exploration(Exploration(slots=3, share=1.0))
        assert not any(one.draw.explored.any() for one in answers_of(engine, 5) if one.draw is not None)


class Watch:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)


class ByNumber:
    """Gives users several variants."""

    def choose(self, user: Any, context: Mapping[str, Any], request_id: str) -> str | None:
        number = user if isinstance(user, int) else 0
        return (None, "sum", "mixed")[number % 3]


def merging_of(served: Served) -> Merging:
    """How lists were merged, from what an observer is told."""
    configs = [EngineConfig.model_validate(values) for values in served.teams or (served.values,)]
    plans = [plan_of(own, served.paths) for own in configs]
    return Merging(plans[0], (plans[0], plans[1]) if served.teams else None, served.exploration)


@pytest.mark.parametrize("strategy", ["auto", "rrf", "cascade"])
def test_what_observers_are_told_gives_the_answer_again(data: Any, strategy: str) -> None:
    """Lists, lengths, config and request id are all that replay needs."""
    variants: dict[str, Variant] = {
        "sum": config(FUSIONS["sum"]),
        "mixed": Interleaving(config(), config(FUSIONS["sum"], quota=5)),
    }
    with Engine(config({"strategy": strategy})).fit(data) as engine:
        engine.use_variants(ByNumber(), variants)
        engine.use_exploration(Exploration(slots=4, share=0.5))
        watch = Watch()
        engine.observe(watch)
        for user in (1, 2, 3, 4, User(history=[2, 4])):
            engine.retrieve(user, request_id=f"of {user}", exclude=[5, 6])
        engine.retrieve_batch(list(range(9)), request_id="all", where={"price": {"min": 0}})
        engine.similar(3)
        eventually(lambda: len(watch.seen) == 7)
    for seen in watch.seen[:6]:
        assert sorted(np.concatenate([one.users for one in seen.parts]).tolist()) == list(
            range(len(seen.request.users))
        )
        for part in seen.parts:
            again = merging_of(part.served)
            for place, user in enumerate(part.users.tolist()):
                answer = seen.answer if isinstance(seen.answer, Candidates) else seen.answer[user]
                lists = [batch[place] for batch in part.lists]
                size = min(seen.k, len(part.served.catalogue))
                made, draw = again.merge(lists, int(part.lengths[place]), size, seen.request.ids[user])
                n = len(answer) - answer.n_backfilled
                assert part.served.catalogue.ids(made.items).tolist() == answer.ids[:n].tolist()
                assert made.scores.tobytes() == answer.scores[:n].tobytes()
                assert made.ranks.tobytes() == answer.ranks[:n].tobytes()
                assert (draw is None) == (answer.draw is None)
                if draw is not None and answer.draw is not None:
                    assert draw.place.tobytes() == answer.draw.place[:n].tobytes()
                    assert draw.team.tobytes() == answer.draw.team[:n].tobytes()
    first, last = watch.seen[0], watch.seen[6]
    served = first.parts[0].served
    assert first.request.exclude == [5, 6]
    assert set(served.catalogue.rows([5, 6]).tolist()) <= set(first.parts[0].excluded[0].tolist())
    assert watch.seen[5].parts[0].conditions.to_dict() == {"price": {"min": 0}}
    assert last.call == "similar"
    assert last.request.item == 3
    assert last.request.users == ()
    assert len({one.served.digest for seen in watch.seen for one in seen.parts}) == 3
    assert EngineConfig.model_validate(served.values).fusion.strategy != "auto" or strategy != "auto"


def test_a_draw_of_several_answers_is_theirs() -> None:
    left, right = Draw.certain(2), Draw.certain(1).pad(1)
    assert Draw.concat([left, right]).propensity.tolist() == [1.0] * 4
    assert left.take(slice(1)).team.tolist() == [-1]


def test_a_plain_merging_draws_nothing(engine: Engine) -> None:
    assert not Merging(engine._current().merging.plan).draws
    assert engine.retrieve(1).draw is None
