"""The made-up shop keeps what it promises, and each recall path finds in it what the others miss."""

from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from multirecall.datasets import Log, generate
from multirecall.errors import ConfigError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

N_USERS, N_ITEMS, N_INTERACTIONS, DAYS = 2_000, 3_000, 120_000, 180
OPENING, CUT = datetime(2024, 1, 1), datetime(2024, 1, 1) + timedelta(days=0.9 * DAYS)


@pytest.fixture(scope="module")
def log() -> Log:
    return generate()


@pytest.fixture(scope="module")
def steps(log: Log) -> pl.DataFrame:
    """Each event beside the event of the same user just before it."""
    events = log.interactions.join(log.items, on="item_id", maintain_order="left")
    return events.with_columns(
        pl.col("item_id", "category").shift().over("user_id").name.prefix("last_"),
        gap=pl.col("timestamp").diff().over("user_id"),
    ).drop_nulls("gap")


def rows(ids: pl.Series) -> npt.NDArray[np.int64]:
    """The number inside ids such as "u00042"."""
    return ids.str.slice(1).cast(pl.Int64).to_numpy()


def test_frames_have_the_promised_shapes_and_types(log: Log) -> None:
    assert dict(log.interactions.schema) == {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": pl.Datetime("us"),
        "event": pl.String,
    }
    assert dict(log.items.schema) == {
        "item_id": pl.String,
        "category": pl.String,
        "tags": pl.List(pl.String),
        "title": pl.String,
        "price": pl.Float64,
        "arrival": pl.Datetime("us"),
    }
    assert dict(log.users.schema) == {"user_id": pl.String, "country": pl.String, "age": pl.Int64}
    assert (len(log.users), len(log.items), len(log.interactions)) == (N_USERS, N_ITEMS, N_INTERACTIONS)
    assert log.users["user_id"].n_unique() == N_USERS
    assert log.items["item_id"].n_unique() == N_ITEMS
    assert log.users["user_id"][42] == "u00042"
    assert log.items["item_id"][17] == "i000017"


def test_interactions_refer_to_the_tables_and_are_in_order_of_time(log: Log) -> None:
    assert log.interactions["user_id"].is_in(log.users["user_id"].implode()).all()
    assert log.interactions["item_id"].is_in(log.items["item_id"].implode()).all()
    assert log.interactions["timestamp"].is_sorted()
    assert log.items["arrival"].is_sorted()
    assert set(log.interactions["event"]) == {"view", "buy"}


def test_features_are_filled_in(log: Log) -> None:
    assert log.items.null_count().sum_horizontal().item() == 0
    assert log.items["category"].n_unique() == 10
    assert (log.items["price"] > 0).all()
    assert log.items["tags"].list.len().is_between(1, 3).all()
    assert (log.items["title"].str.split(" ").list.len() == 3).all()
    assert log.users["age"].is_null().mean() == pytest.approx(0.1, abs=0.03)
    assert log.users["age"].drop_nulls().is_between(16, 90).all()
    assert log.users["country"].n_unique() == 8


def test_same_arguments_same_frames() -> None:
    for one, other in zip(generate(50, 80, 900, seed=3), generate(50, 80, 900, seed=3), strict=True):
        assert_frame_equal(one, other)


def test_another_seed_is_another_world() -> None:
    for one, other in zip(generate(50, 80, 900, seed=3), generate(50, 80, 900, seed=4), strict=True):
        assert one.shape == other.shape
        assert not one.equals(other)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 1, 40), (40, 2, 1), (3, 400, 5)])
def test_small_worlds_exist(sizes: tuple[int, int, int]) -> None:
    log = generate(*sizes, days=1)
    assert (len(log.users), len(log.items), len(log.interactions)) == sizes


@pytest.mark.parametrize("name", ["n_users", "n_items", "n_interactions", "days"])
@pytest.mark.parametrize("value", [0, -5])
def test_a_size_below_one_is_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"{name} must be >= 1, got {value}; pass 1 or more"):
        generate(**{name: value})


def test_time_stays_in_range_and_nothing_happens_before_arrival(log: Log) -> None:
    events = log.interactions.join(log.items, on="item_id")
    assert (events["timestamp"] >= events["arrival"]).all()
    assert events["timestamp"].is_between(OPENING, OPENING + timedelta(days=DAYS)).all()
    assert (log.items["arrival"] > OPENING).mean() == pytest.approx(0.4, abs=0.01)


def test_popularity_follows_zipf(log: Log) -> None:
    counts = np.sort(np.bincount(rows(log.interactions["item_id"]), minlength=N_ITEMS))[::-1]
    rank = np.arange(10, N_ITEMS // 3)
    exponent = -np.polyfit(np.log(rank), np.log(counts[rank]), 1)[0]
    assert 0.8 < exponent < 1.2
    assert 0.2 < counts[: N_ITEMS // 100].sum() / N_INTERACTIONS < 0.4


def test_a_few_users_are_very_active(log: Log) -> None:
    counts = np.sort(np.bincount(rows(log.interactions["user_id"]), minlength=N_USERS))[::-1]
    assert counts[: N_USERS // 10].sum() > 0.35 * N_INTERACTIONS
    assert np.median(counts) < 0.7 * counts.mean()


def test_events_come_in_visits_of_about_four(log: Log, steps: pl.DataFrame) -> None:
    inside, between = visits(steps)
    n_visits = log.interactions["user_id"].n_unique() + len(between)
    assert pytest.approx(4.0, rel=0.05) == N_INTERACTIONS / n_visits
    assert inside.select((pl.col("gap") < timedelta(minutes=2)).mean()).item() > 0.7
    assert between.select((pl.col("gap") > timedelta(days=1)).mean()).item() > 0.6


def test_a_visit_keeps_to_one_interest(steps: pl.DataFrame) -> None:
    same = pl.col("category") == pl.col("last_category")
    inside, between = (part.select(same.mean()).item() for part in visits(steps))
    assert inside > 1.5 * between


def test_companions_go_one_way(steps: pl.DataFrame) -> None:
    inside, _ = visits(steps)
    onward = inside.filter(pl.col("item_id") != pl.col("last_item_id"))
    there = onward.group_by("last_item_id", "item_id").len()
    back = there.rename({"item_id": "last_item_id", "last_item_id": "item_id", "len": "back"})
    pairs = there.join(back, on=["last_item_id", "item_id"], how="left").fill_null(0).top_k(20, by="len")
    assert (pairs["len"] > 30).all()
    assert pairs.select(pl.col("len").sum() / pl.col("back").sum()).item() > 1.4


def test_consumables_are_bought_again(log: Log) -> None:
    buys = log.interactions.filter(pl.col("event") == "buy").join(log.items, on="item_id")
    again = pl.struct("user_id", "item_id").is_duplicated().mean()
    consumable = pl.col("category").is_in(["beauty", "grocery"])
    assert buys.filter(consumable).select(again).item() > 1.15 * buys.filter(~consumable).select(again).item()


def test_interests_drift(log: Log) -> None:
    """A user's categories differ more between the first and the last third than between odd and even days."""
    events = log.interactions.join(log.items.select("item_id", "category"), on="item_id")
    day = (pl.col("timestamp") - OPENING).dt.total_days()
    events = events.filter(pl.len().over("user_id") >= 150).filter(~day.is_between(DAYS / 3, DAYS * 2 / 3))
    assert category_distance(events, day < DAYS / 2) > 1.25 * category_distance(events, day % 2 == 0)


def visits(steps: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The steps inside a visit, and those from one visit to the next."""
    inside = pl.col("gap") < timedelta(minutes=15)
    return steps.filter(inside), steps.filter(~inside)


def category_distance(events: pl.DataFrame, part: pl.Expr) -> float:
    """Mean total variation between a user's shares of the categories in two parts of the user's events."""
    counts = events.group_by("user_id", "category", part.alias("part")).len()
    shares = counts.with_columns(pl.col("len") / pl.col("len").sum().over("user_id", "part"))
    table = shares.pivot("part", index=["user_id", "category"], values="len").fill_null(0.0)
    return float((table["true"] - table["false"]).abs().sum() / 2 / table["user_id"].n_unique())


class World(NamedTuple):
    """The log cut at 90 % of its time, as (n_users, n_items) arrays."""

    seen: Bools
    target: Bools  # the new items that each user comes to after the cut
    fresh: Bools  # (n_items,) arrived in the month before the cut or later, and hardly seen
    lately: Floats  # (n_countries, n_items) events in the fortnight before the cut
    country: npt.NDArray[np.int64]  # (n_users,)
    features: Floats  # (n_items, n_features) normalised, by category and tag


@pytest.fixture(scope="module")
def world(log: Log) -> World:
    past = log.interactions.filter(pl.col("timestamp") < CUT)
    seen, after = incidence(past), incidence(log.interactions.filter(pl.col("timestamp") >= CUT))
    country = log.users["country"].rank("dense").cast(pl.Int64).to_numpy() - 1
    recent = past.filter(pl.col("timestamp") >= CUT - timedelta(days=14))
    lately = np.zeros((country.max() + 1, N_ITEMS))
    np.add.at(lately, (country[rows(recent["user_id"])], rows(recent["item_id"])), 1.0)
    few = np.bincount(rows(past["item_id"]), minlength=N_ITEMS) < 10
    fresh = few & (log.items["arrival"] > CUT - timedelta(days=30)).to_numpy()
    return World(seen, after & ~seen, fresh, lately, country, item_features(log.items))


def incidence(events: pl.DataFrame) -> Bools:
    matrix = np.zeros((N_USERS, N_ITEMS), np.bool_)
    matrix[rows(events["user_id"]), rows(events["item_id"])] = True
    return matrix


def item_features(items: pl.DataFrame) -> Floats:
    tags = items.select("item_id", feature="tags").explode("feature")
    features = pl.concat([items.select("item_id", feature="category"), tags]).to_dummies("feature")
    counts = features.group_by("item_id", maintain_order=True).sum().drop("item_id").to_numpy()
    weighted = counts * np.log(len(items) / counts.sum(axis=0))
    unit: Floats = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    return unit


@pytest.fixture(scope="module")
def hits(world: World) -> dict[str, Bools]:
    """What the first 100 of each path hit of the target."""
    history = world.seen.astype(np.float32)
    together = history.T @ history
    norm = np.sqrt(np.maximum(together.diagonal(), 1.0))
    similar = together / np.outer(norm, norm)
    np.fill_diagonal(similar, 0.0)
    scores = {
        "item_cf": history @ similar,
        "content": history @ world.features @ world.features.T,
        "popularity": np.broadcast_to(world.lately.sum(axis=0), world.seen.shape),
        "random": np.random.default_rng(1).random(world.seen.shape),
    }
    return {name: first_hundred(world, score) & world.target for name, score in scores.items()}


def first_hundred(world: World, score: Floats) -> Bools:
    unseen = np.where(world.seen, -np.inf, score)
    chosen = np.zeros_like(world.seen)
    np.put_along_axis(chosen, np.argpartition(-unseen, 100, axis=1)[:, :100], True, axis=1)
    return chosen


def recall(hit: Bools, target: Bools) -> float:
    """Mean over the users who have a target."""
    size = target.sum(axis=1)
    return float((hit.sum(axis=1)[size > 0] / size[size > 0]).mean())


def test_recently_arrived_items_take_a_good_share_of_the_last_tenth(log: Log, world: World) -> None:
    last = log.interactions.filter(pl.col("timestamp") >= CUT)
    assert 0.10 < world.fresh[rows(last["item_id"])].mean() < 0.20


def test_every_path_beats_random_clearly(world: World, hits: dict[str, Bools]) -> None:
    found = {name: recall(hit, world.target) for name, hit in hits.items()}
    assert found["random"] == pytest.approx(100 / N_ITEMS, abs=0.01)
    assert 0.25 < found["item_cf"] < 0.45
    assert 0.20 < found["content"] < found["item_cf"]
    assert 0.12 < found["popularity"] < found["content"]


@pytest.mark.parametrize("path", ["item_cf", "content", "popularity"])
def test_every_path_finds_what_the_others_miss(path: str, world: World, hits: dict[str, Bools]) -> None:
    others = [hits[name] for name in ("item_cf", "content", "popularity") if name != path]
    assert (hits[path] & ~others[0] & ~others[1]).sum() > 0.05 * world.target.sum()


def test_content_finds_the_fresh_items(world: World, hits: dict[str, Bools]) -> None:
    fresh = world.target & world.fresh
    assert recall(hits["content"] & fresh, fresh) > 0.4
    assert recall(hits["item_cf"] & fresh, fresh) < 0.1


def test_popularity_is_of_its_time_and_country(world: World, hits: dict[str, Bools]) -> None:
    """Recall of what is popular lately against all-time popularity, and at home against a foreign country."""
    all_time = np.broadcast_to(world.seen.sum(axis=0, dtype=np.float64), world.seen.shape)
    abroad = (world.country + 1) % len(world.lately)
    of_all_time, at_home, elsewhere = (
        recall(first_hundred(world, score) & world.target, world.target)
        for score in (all_time, world.lately[world.country], world.lately[abroad])
    )
    assert recall(hits["popularity"], world.target) > 1.4 * of_all_time
    assert at_home > 1.15 * elsewhere
