from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall import Dataset, Engine, EngineConfig, User
from multirecall.errors import CannotFit, ConfigError, IdTypeError, NotFitted, RequestError
from multirecall.protocols import Reason
from multirecall.query import Query
from multirecall.retrievers.popularity import Popularity
from multirecall.testing import small_shop

FUSIONS: list[dict[str, Any]] = [
    {"strategy": "rrf"},
    {"strategy": "weighted_sum"},
    {"strategy": "cascade"},
    {"strategy": "cascade", "params": {"on_duplicate": "skip"}},
]


def config(**changed: Any) -> EngineConfig:
    paths = [{"retriever": name, "quota": 12} for name in ("item_cf", "content", "popularity")]
    return EngineConfig.model_validate({"k": 10, "paths": paths, **changed})


@pytest.fixture(scope="module", params=FUSIONS, ids=["rrf", "weighted_sum", "cascade_replace", "cascade_skip"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(config(fusion=request.param)).fit(small_shop())


@pytest.fixture(scope="module")
def shop() -> Engine:
    return Engine(config()).fit(small_shop())


def seen_by(engine: Engine, user: int) -> set[int]:
    log = engine.data.interactions
    return set(engine.data.items.ids.ids(log.items[log.of_user(user)]).tolist())


def test_result_is_what_it_says(engine: Engine) -> None:
    result = engine.retrieve(3, 20)
    assert len(result) == 20 == np.unique(result.ids).size
    assert (np.diff(result.scores) <= 0).all()
    assert result.paths == ("item_cf", "content", "popularity")
    assert result.ranks.shape == (20, 3)
    assert result.ids.dtype == engine.data.items.ids.dtype
    assert result.status.keys() == set(result.paths)
    assert all(one.state == "ok" and one.ms >= 0 and one.detail is None for one in result.status.values())
    lists = engine.path_lists([3], windows=True)
    for candidate in result:
        for path, rank in candidate.provenance.items():
            assert engine.data.items.ids.ids(lists[path][0].items[[rank]])[0] == candidate.item_id


def test_seen_items_stay_out_unless_wanted(engine: Engine) -> None:
    for user in range(10):
        assert not seen_by(engine, user) & set(engine.retrieve(user, 40).ids.tolist())
    assert seen_by(engine, 4) & set(engine.retrieve(4, 40, seen=True).ids.tolist())


def test_single_equals_batch(engine: Engine) -> None:
    users: list[Any] = [*range(12), 999, User(None, [3, 5]), User(2, [8]), User(features={"country": "FR"})]
    batch = engine.retrieve_batch(users, 30, exclude=[2, 4], where={"group": "even"})
    assert len(batch) == len(users)
    for position, user in enumerate(users):
        alone = engine.retrieve(user, 30, exclude=[2, 4], where={"group": "even"})
        assert batch[position].ids.tolist() == alone.ids.tolist()
        assert batch[position].scores.tolist() == alone.scores.tolist()
        assert batch[position].ranks.tolist() == alone.ranks.tolist()
        assert (batch[position].n_backfilled, batch[position].shortfall) == (alone.n_backfilled, alone.shortfall)


@given(
    user=st.integers(0, 50),
    k=st.integers(1, 70),
    exclude=st.sets(st.integers(0, 64)),
    groups=st.sets(st.sampled_from(["even", "odd", "none"]), min_size=1),
    seen=st.booleans(),
)
def test_filters_never_leak_and_k_is_delivered(
    shop: Engine, user: int, k: int, exclude: set[int], groups: set[str], seen: bool
) -> None:
    result = shop.retrieve(user, k, exclude=exclude, where={"group": [*groups]}, seen=seen)
    eligible = {item for item in range(65) if ("even", "odd")[item % 2] in groups} - exclude
    if not seen and user < 40:
        eligible -= seen_by(shop, user)
    assert set(result.ids.tolist()) <= eligible
    assert len(result) == min(k, len(eligible)) == k - result.shortfall


def test_backfilled_items_follow_the_fused_ones(shop: Engine) -> None:
    result = shop.retrieve(3, 60)
    fused = len(result) - result.n_backfilled
    assert result.n_backfilled > 0
    assert (result.ranks[:fused].max(axis=1) >= 0).all()
    assert (result.ranks[fused:] == -1).all()
    assert (np.diff(result.scores[fused - 1 :]) < 0).all()
    assert [one.provenance for one in result][fused:] == [{"fallback": rank} for rank in range(result.n_backfilled)]


def test_unknown_user_and_empty_visitor_get_what_is_popular(shop: Engine) -> None:
    nobody, stranger = shop.retrieve(User(), 10), shop.retrieve(12345, 10)
    assert nobody.ids.tolist() == stranger.ids.tolist()
    assert nobody.status["item_cf"].count == 0
    assert nobody.status["item_cf"].state == "ok"


def test_visitors_history_counts_and_is_seen(shop: Engine) -> None:
    result = shop.retrieve(User(history=[2, 4, 6, 8]), 10)
    assert result.status["item_cf"].count > 0
    assert not {2, 4, 6, 8} & set(result.ids.tolist())
    assert {int(item) % 2 for item in shop.path_lists([User(history=[2, 4, 6, 8])])["item_cf"].items} == {0}


def test_passed_history_replaces_the_stored_one_but_both_are_seen(shop: Engine) -> None:
    user = User(3, history=[2, 4])
    lists = shop.path_lists([user, User(None, [2, 4])], seen=True)["item_cf"]
    assert lists[0].items.tolist() == lists[1].items.tolist()
    assert not (seen_by(shop, 3) | {2, 4}) & set(shop.retrieve(user, 40).ids.tolist())


def test_unknown_items_of_a_history_are_passed_over(shop: Engine) -> None:
    with_unknown, without = shop.retrieve(User(history=[2, 777, 4])), shop.retrieve(User(history=[2, 4]))
    assert with_unknown.ids.tolist() == without.ids.tolist()


def test_terms_search_item_fields(shop: Engine) -> None:
    result = shop.retrieve(User(terms={"title": "number 17"}), 5)
    assert shop.path_lists([User(terms={"title": "17"})])["content"].items.tolist() == [17]
    assert 17 in result.ids


def test_window_does_not_depend_on_k(shop: Engine) -> None:
    assert shop.retrieve(3, 5).ids.tolist() == shop.retrieve(3, 30).ids[:5].tolist()


def test_explanation_agrees_with_retrieval(engine: Engine) -> None:
    result = engine.retrieve(5, 10)
    for position, candidate in enumerate(result):
        why = engine.explain(5, candidate.item_id)
        assert (why.rank, why.score, why.reason) == (position, candidate.score, None)
        assert {name: one.rank for name, one in why.paths.items() if one.rank is not None} == candidate.provenance


def test_normalised_scores_add_up_to_the_score(shop: Engine) -> None:
    for candidate in shop.retrieve(5, 10):
        parts = [one.normalised or 0.0 for one in shop.explain(5, candidate.item_id).paths.values()]
        assert sum(parts) == pytest.approx(candidate.score, rel=1e-12)


class Talkative(Popularity):  # type: ignore[misc]
    """Says something about its proposals, or fails to."""

    def explain(self, query: Query, item: int) -> Reason:
        if item % 2:
            raise KeyError("no word")
        return Reason(f"row {item} is liked", query.history[-2:])


def test_a_path_says_why_it_proposes_an_item() -> None:
    config = EngineConfig.model_validate({"paths": [{"retriever": Talkative}], "fusion": {"strategy": "rrf"}})
    with Engine(config).fit(small_shop("str")) as engine:
        asked = User(history=["i3", "i8", "i5"])
        for item in engine.retrieve(asked, 6).ids.tolist():
            [told] = engine.explain(asked, item).paths.values()
            row = engine.data.items.ids.row(item)
            if row % 2:
                assert (told.detail, told.items) == ("the path cannot explain it: KeyError: 'no word'", ())
            else:
                assert (told.detail, told.items) == (f"row {row} is liked", ("i8", "i5"))
        [silent] = engine.explain(asked, "i8").paths.values()
        assert (silent.rank, silent.detail, silent.items) == (None, None, ())


def test_explanation_says_why_not(shop: Engine) -> None:
    seen = min(seen_by(shop, 5))
    unseen = next(item for item in range(60) if item not in seen_by(shop, 5) and item % 2 == 0)
    last = shop.retrieve(5, 10**3).ids[-1].item()
    assert shop.explain(5, seen).reason == "the user has seen it"
    assert shop.explain(5, unseen, exclude=[unseen]).reason == "it is in exclude"
    assert shop.explain(5, unseen, where={"group": "odd"}).reason == "it does not match where"
    assert shop.explain(5, last).reason == "no path proposes it"
    backfilled = shop.explain(5, last, 10**3)
    assert backfilled.reason == "no path proposes it; it comes from the fallback"
    assert backfilled.rank == len(shop.retrieve(5, 10**3)) - 1
    behind = shop.retrieve(5, 12)[11].item_id
    assert shop.explain(5, behind, 3).reason == "it stands at rank 11, behind the 3 asked for"
    reasons = {one.reason for one in shop.explain(5, last).paths.values()}
    assert reasons <= {"not among its first 12 items", "not proposed"}


def test_written_candidates_are_the_batch(shop: Engine, tmp_path: Path) -> None:
    users = [*range(23), 999]
    rows = shop.write_candidates(users, tmp_path / "out.parquet", 7, chunk=5)
    written = pl.read_parquet(tmp_path / "out.parquet")
    expected = shop.retrieve_batch(users, 7).to_polars()
    assert written.equals(expected)
    assert rows == written.height == 24 * 7
    assert written.columns == [
        "user_id",
        "item_id",
        "score",
        "rank",
        "rank_item_cf",
        "rank_content",
        "rank_popularity",
    ]
    assert written["rank_item_cf"].null_count() == int((shop.retrieve_batch(users, 7).ranks[:, 0] < 0).sum())
    assert [file.name for file in tmp_path.iterdir()] == ["out.parquet"], "no draft is left"


def test_visitors_may_come_first_in_an_export(shop: Engine, tmp_path: Path) -> None:
    users: list[Any] = [User(), User(history=[3]), 1, 2]
    shop.write_candidates(users, tmp_path / "out.parquet", 2, chunk=1)
    assert pl.read_parquet(tmp_path / "out.parquet")["user_id"].to_list() == [None] * 4 + [1, 1, 2, 2]


def test_failed_export_leaves_nothing(shop: Engine, tmp_path: Path) -> None:
    with pytest.raises(IdTypeError):
        shop.write_candidates([1, 2, "three"], tmp_path / "out.parquet", 5, chunk=1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RequestError, match="there are no users"):
        shop.write_candidates([], tmp_path / "out.parquet")
    with pytest.raises(RequestError, match="is no folder"):
        shop.write_candidates([1], tmp_path / "missing" / "out.parquet")


def test_text_ids(tmp_path: Path) -> None:
    engine = Engine(config()).fit(small_shop("str"))
    result = engine.retrieve("u3", 5)
    assert all(type(one.item_id) is str and one.item_id.startswith("i") for one in result)
    assert engine.retrieve_batch(np.array(["u1", "u2"]), 3).to_polars()["user_id"].unique(
        maintain_order=True
    ).to_list() == ["u1", "u2"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"user": "3"}, IdTypeError, "user ids are int, got '3' (str): pass int ids"),
        ({"user": 3.0}, IdTypeError, "user ids must be all int or all str, got 3.0"),
        ({"user": 3, "k": 0}, RequestError, "k must be a whole number > 0, got 0"),
        ({"user": 3, "k": 2.5}, RequestError, "k must be a whole number > 0, got 2.5"),
        ({"user": 3, "k": True}, RequestError, "k must be a whole number > 0, got True"),
        ({"user": 3, "deadline_ms": -1}, RequestError, "deadline_ms must be a number of milliseconds between"),
        ({"user": 3, "exclude": "7"}, RequestError, "exclude: got '7'; pass a list of ids"),
        ({"user": 3, "exclude": ["7"]}, IdTypeError, "item ids are int, got '7' (str)"),
        ({"user": User(history=["7"])}, IdTypeError, "item ids are int, got '7' (str)"),
        (
            {"user": User(features={"land": "DE"})},
            RequestError,
            "features: no user feature is named 'land'; known: co",
        ),
        (
            {"user": User(features={"country": 49})},
            RequestError,
            "field 'country' is of kind categorical, got [49]; p",
        ),
        ({"user": User(terms={"titel": "x"})}, RequestError, "terms: no item feature is named 'titel'; did you mean"),
        ({"user": User(terms={"title": 3})}, RequestError, "terms: field 'title' is of kind text, got 3; pass a str"),
    ],
)
def test_unusable_arguments(shop: Engine, call: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as fault:
        shop.retrieve(**call)
    assert message in str(fault.value)


@pytest.mark.parametrize("users", ["u12", None, 5])
def test_batch_needs_a_list(shop: Engine, users: Any) -> None:
    with pytest.raises(RequestError, match=r"users: got .*; pass a list of ids"):
        shop.retrieve_batch(users)


def test_no_size_is_too_large(shop: Engine) -> None:
    assert shop.retrieve(1, 2**70).shortfall == 2**70 - len(shop.retrieve(1, 65))
    huge = [{"name": name, "retriever": "popularity", "quota": 2**31 - 1} for name in "ab"]
    for fusion in FUSIONS:
        result = Engine(config(paths=huge, fusion=fusion)).fit(small_shop()).retrieve(1, 5, seen=True)
        assert len(result) == 5


@pytest.mark.parametrize("value", ["2023-08-01", np.float32(1.7e9), np.int64(1_700_000_000), 1_700_000_000])
def test_terms_take_what_where_takes(shop: Engine, value: Any) -> None:
    assert shop.retrieve(User(terms={"arrival": value})).status["content"].state == "ok"


def test_explain_needs_a_known_item(shop: Engine) -> None:
    with pytest.raises(RequestError, match="no item has the id 12345"):
        shop.explain(1, 12345)


def test_not_fitted_and_closed() -> None:
    engine = Engine(config())
    with pytest.raises(NotFitted, match=r"call fit\(data\), or Engine.load\(folder\)"):
        engine.retrieve(1)
    with engine.fit(small_shop()) as fitted:
        assert len(fitted.retrieve(1, 3)) == 3
    with pytest.raises(NotFitted):
        engine.retrieve(1)


@pytest.mark.parametrize("ids", ["int", "str"])
@pytest.mark.parametrize("timestamps", [True, False])
def test_default_engine_serves_any_log(ids: str, timestamps: bool, caplog: pytest.LogCaptureFixture) -> None:
    data = small_shop(ids, timestamps, features=False)
    engine = Engine().fit(data)
    fed = ["two_tower", "item2vec", "node2vec", "item_cf", "popularity", "next_item", "ease", "als"]
    unfed = {"content": "the data have no item features; pass an item table, or leave the path out"}
    if not timestamps:
        fed.remove("next_item")
        unfed["next_item"] = "the log has no order; give it a column 'timestamp' or 'position', or leave the path out"
    assert list(engine.paths) == fed
    too_small, *left_out = caplog.messages
    assert "equal weights" in too_small
    assert left_out == [f"path {path!r} is left out: {path}: {why}" for path, why in unfed.items()]
    assert len(engine.retrieve(data.users.ids.ids()[0].item(), 20)) == 20


def test_smallest_log_there_is() -> None:
    engine = Engine().fit(Dataset.from_frames(pl.DataFrame({"user_id": [1], "item_id": [7]})))
    assert len(engine.retrieve(1)) == 0
    assert engine.retrieve(1).shortfall == 500
    assert engine.retrieve(1, 3, seen=True).ids.tolist() == [7]
    assert engine.retrieve(2, 3).ids.tolist() == [7]


def test_log_without_any_weight() -> None:
    log = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 3], "weight": [0.0, 0.0, 0.0]})
    engine = Engine().fit(Dataset.from_frames(log))
    assert engine.paths == ("item2vec", "item_cf", "popularity")
    assert engine.retrieve(1, 3).ids.tolist() == [3]


def test_chosen_path_that_cannot_be_fed_is_an_error() -> None:
    with pytest.raises(CannotFit, match=r"paths\[1\] 'content': content: the data have no item features"):
        Engine(config()).fit(small_shop(features=False))


def test_disabled_path_is_not_there() -> None:
    paths = [{"retriever": "item_cf"}, {"retriever": "content", "enabled": False}]
    assert Engine(config(paths=paths)).fit(small_shop(features=False)).paths == ("item_cf",)


def test_one_retriever_may_serve_two_paths() -> None:
    paths = [
        {"name": "near", "retriever": "item_cf"},
        {"name": "far", "retriever": "item_cf", "params": {"half_life": 50}},
    ]
    assert Engine(config(paths=paths)).fit(small_shop()).retrieve(1, 3).paths == ("near", "far")


def test_data_section_must_be_how_the_data_were_read() -> None:
    decayed = config(data={"half_life_days": 30})
    with pytest.raises(ConfigError, match=r"read it with Dataset.load\(\.\.\., config=engine.config.data\)"):
        Engine(decayed).fit(small_shop())


def test_same_seed_same_result() -> None:
    first, second = (Engine(config()).fit(small_shop()).retrieve_batch(range(20), 30) for _ in range(2))
    assert first.ids.tolist() == second.ids.tolist()
    assert first.scores.tolist() == second.scores.tolist()
