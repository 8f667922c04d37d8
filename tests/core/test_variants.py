"""Variants: some users get another fusion, weights, quotas or fewer paths, exactly as an engine of that config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from patience import eventually

from multirecall import Candidates, Engine, EngineConfig, User
from multirecall.errors import ConfigError, RequestError
from multirecall.online import Observation
from multirecall.testing import small_shop

PATHS = ("item_cf", "user_cf", "content", "popularity")
USERS: list[Any] = [1, 2, 3, 4, 5, 6, User(history=[2, 4]), 999_999]


def config(**changed: Any) -> EngineConfig:
    paths = [{"retriever": name} for name in PATHS]
    return EngineConfig.model_validate({"k": 12, "paths": paths, "fusion": {"strategy": "rrf"}, **changed})


def path_settings(**of: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"retriever": name, **of.get(name, {})} for name in PATHS]


VARIANTS = {
    "cascade": config(fusion={"strategy": "cascade"}),
    "sum": config(fusion={"strategy": "weighted_sum"}, paths=path_settings(item_cf={"weight": 3.0})),
    "quota": config(paths=path_settings(item_cf={"quota": 2}, content={"quota": 40})),
    "segments": config(segments=[{"max_history": 3, "weights": {"popularity": 5.0}}]),
    "fewer": config(paths=path_settings(item_cf={"enabled": False}, popularity={"enabled": False})),
}


class ByUser:
    """Gives users the variants of a table; anybody else the engine's own settings."""

    def __init__(self, choose: Callable[[Any], str | None]) -> None:
        self._choose = choose

    def choose(self, user: Any, context: Mapping[str, Any], request_id: str) -> str | None:
        return self._choose(user)


def even_users(name: str) -> ByUser:
    return ByUser(lambda user: name if isinstance(user, int) and user % 2 == 0 else None)


@pytest.fixture(scope="module")
def data() -> Any:
    return small_shop("int")


@pytest.fixture
def engine(data: Any) -> Engine:
    return Engine(config()).fit(data)


def same(left: Candidates, right: Candidates) -> bool:
    return np.array_equal(left.ids, right.ids) and np.array_equal(left.scores, right.scores)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_user_gets_what_an_engine_of_the_config_gives(engine: Engine, data: Any, name: str) -> None:
    other, own = Engine(VARIANTS[name]).fit(data), {str(user): engine.retrieve(user) for user in USERS}
    engine.use_variants(ByUser(lambda user: name), VARIANTS)
    assert any(not same(engine.retrieve(user), own[str(user)]) for user in USERS), "the variant changes nothing"
    for user in USERS:
        found = engine.retrieve(user)
        assert same(found, other.retrieve(user))
        assert found.variant == name


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_of_several_variants_is_each_user_alone(engine: Engine, name: str) -> None:
    engine.use_variants(even_users(name), VARIANTS)
    batch = engine.retrieve_batch(USERS)
    assert set(batch.variants) == {name, None}
    table = batch.features()
    for place, user in enumerate(USERS):
        alone = engine.retrieve(user)
        assert same(batch[place], alone)
        assert batch[place].variant == alone.variant == batch.variants[place]
        assert batch[place].shortfall == alone.shortfall
        assert np.array_equal(batch[place].ranks, alone.ranks)
        expected, part = alone.features(), slice(batch.offsets[place], batch.offsets[place + 1])
        np.testing.assert_array_equal(table.score[part], expected.score)
        np.testing.assert_array_equal(table.contribution[part], expected.contribution)
        np.testing.assert_array_equal(batch[place : place + 1].features().score, expected.score)
    assert {path: one.state for path, one in batch.status.items()} == dict.fromkeys(PATHS, "ok")


def test_a_trace_and_an_explanation_are_of_the_users_variant(engine: Engine) -> None:
    engine.use_variants(even_users("fewer"), VARIANTS)
    for user in (1, 2):
        found = engine.retrieve(user)
        assert same(engine.trace(user).fuse(), found)
        assert engine.explain(user, found[3].item_id).rank == 3
    assert engine.retrieve(2).status["item_cf"].state == "dropped"
    assert "variant 'fewer'" in str(engine.retrieve(2).status["item_cf"].detail)
    assert engine.explain(2, engine.retrieve(2)[0].item_id).paths["item_cf"].rank is None


def test_what_a_trace_varies_is_a_variant(engine: Engine) -> None:
    varied = engine.trace(1).vary(weights={"content": 9.0})
    expected = engine.trace(1).fuse(varied)
    engine.use_variants(ByUser(lambda user: "heavy"), {"heavy": varied})
    assert same(engine.retrieve(1), expected)
    engine.use_variants(None)
    assert engine.retrieve(1).variant is None


def test_the_cache_keeps_variants_apart(data: Any) -> None:
    engine, turn = Engine(config(cache_size=10)).fit(data), iter(["sum", None, "sum", None])
    engine.use_variants(ByUser(lambda user: next(turn)), VARIANTS)
    answers = [engine.retrieve(1) for _ in range(4)]
    assert [one.variant for one in answers] == ["sum", None, "sum", None]
    assert not same(answers[0], answers[1])
    assert same(answers[0], answers[2])
    assert engine.health().cache.hits == 2


def test_a_variant_sees_live_changes(engine: Engine) -> None:
    engine.use_variants(ByUser(lambda user: "sum"), VARIANTS)
    first = engine.retrieve(1)[0].item_id
    engine.remove_items([first])
    assert first not in engine.retrieve(1).ids


def test_observers_learn_the_variant(engine: Engine) -> None:
    seen: list[Observation] = []

    class Notes:
        def observe(self, observation: Observation) -> None:
            seen.append(observation)

    engine.use_variants(even_users("segments"), VARIANTS)
    engine.observe(Notes())
    engine.retrieve(2)
    engine.retrieve_batch([1, 2])
    eventually(lambda: len(seen) == 2)
    assert [seen[0].answer.variant, seen[1].answer.variants] == ["segments", (None, "segments")]  # type: ignore[union-attr]
    assert seen[1].segments.shape == (2,)


@pytest.mark.parametrize(
    ("choose", "said"),
    [
        (lambda user: 1 / 0, "ZeroDivisionError"),
        (lambda user: "nobody", "it chose 'nobody', which is none of"),
    ],
)
def test_a_chooser_that_fails_fails_no_request(
    engine: Engine, choose: Callable[[Any], Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = engine.retrieve(1)
    engine.use_variants(ByUser(choose), VARIANTS)
    assert same(engine.retrieve(1), own)
    assert same(engine.retrieve(1), own)
    assert [said in record.getMessage() for record in caplog.records] == [True], "said once"


def test_a_required_path_may_be_left_out(data: Any) -> None:
    engine = Engine(config(paths=path_settings(item_cf={"required": True}))).fit(data)
    engine.use_variants(ByUser(lambda user: "fewer"), VARIANTS)
    assert engine.retrieve(1).status["item_cf"].state == "dropped"


@pytest.mark.parametrize(
    ("variant", "error", "said"),
    [
        (config(paths=[{"retriever": "item_cf"}]), RequestError, "variant 'b': no path is named 'user_cf'"),
        (config(fusion={"strategy": "auto"}), ConfigError, "variant 'b': its fusion is 'auto'"),
        (config(fusion={"strategy": "rrf", "params": {"constant": "x"}}), ConfigError, "fusion"),
        ("b", RequestError, "pass an EngineConfig for each name"),
    ],
)
def test_a_wrong_variant_is_refused_at_once(engine: Engine, variant: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        engine.use_variants(even_users("b"), {"b": variant})
    assert engine.retrieve(2).variant is None
