"""Replay under another config: what changes, what lists found, what the log cannot tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from logged import frame_of, logging, shop_engine
from typer.testing import CliRunner

from multirecall import Dataset, Engine, EngineConfig
from multirecall.cli import app
from multirecall.engine.variants import Interleaving
from multirecall.errors import ConfigError, DataError, MultirecallError, RequestError
from multirecall.metrics import METRICS, user_metrics
from multirecall.monitoring.replay import Estimates, replay
from multirecall.monitoring.request_log import UserNames
from multirecall.online import Exploration
from multirecall.testing import small_shop

PATHS = ("item_cf", "popularity", "user_cf")
USERS = list(range(40))


def other(strategy: str = "weighted_sum", quota: int = 12, **changed: Any) -> EngineConfig:
    paths = [{"retriever": name, "quota": quota} for name in PATHS]
    return EngineConfig.model_validate({"k": 20, "paths": paths, "fusion": {"strategy": strategy}, **changed})


@pytest.fixture(scope="module")
def engine() -> Engine:
    return shop_engine()


@pytest.fixture(scope="module")
def folder(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of one request of each user, with exploration."""
    folder = tmp_path_factory.mktemp("log")
    with logging(engine, folder):
        engine.use_exploration(Exploration(slots=3, share=0.5))
        for user in USERS:
            engine.retrieve(user, 10, request_id=f"r{user}")
        engine.use_exploration(None)
    return folder


def later(folder: Path, pick: int = 2, after_s: float = 60.0) -> pl.DataFrame:
    """What users did `after_s` after their requests: they chose some of the answer, and an item that nobody knows."""
    frame = frame_of(folder)
    rows = [
        {"user_id": int(row["user"]), "item_id": item, "timestamp": row["time"].timestamp() + after_s}
        for number, row in enumerate(frame.to_dicts())
        for item in [*row["items"][number % 6 :: 4][:pick], 5_000]
    ]
    return pl.DataFrame(rows).with_columns(pl.from_epoch(pl.col("timestamp").cast(pl.Int64)))


def test_new_answers_are_those_of_an_engine_of_that_config(engine: Engine, folder: Path, tmp_path: Path) -> None:
    """The same paths under another fusion, in an engine that is asked the same, give the same overlaps."""
    changed = other()
    fresh = Engine(changed).fit(small_shop())
    old = {row["id"]: row["items"] for row in frame_of(folder).to_dicts()}
    shares = [len(set(old[f"r{user}"][:5]) & set(fresh.retrieve(user, 10).ids[:5].tolist())) / 5 for user in USERS]
    found = replay(folder, changed, ks=[5])
    assert found.changes is not None
    assert found.changes.all.overlap[0] == pytest.approx(sum(shares))
    assert found.changes.all.requests == 40
    entered = sum(len(set(fresh.retrieve(user, 10).ids.tolist()) - set(old[f"r{user}"])) for user in USERS)
    assert sum(found.changes.entered.values()) == sum(found.changes.left.values()) == entered > 0


def test_the_same_config_changes_nothing(tmp_path: Path) -> None:
    engine = shop_engine()
    with logging(engine, tmp_path):
        engine.retrieve_batch(USERS, 9)
    found = replay(tmp_path, engine.config)
    assert found.changes is not None
    assert found.changes.all.unchanged == found.changes.all.requests == 40
    assert found.changes.to_dict()["all"]["rbo"] == pytest.approx(1.0)
    assert found.changes.to_dict()["entered"] == []


def test_segments_and_arms_are_told_apart(tmp_path: Path) -> None:
    class Halves:
        def choose(self, user: Any, context: Any, request_id: str) -> str | None:
            return "flat" if user % 2 else None

    segments = [{"max_history": 15, "weights": {"popularity": 9.0}}]
    engine = Engine(other("rrf", segments=segments)).fit(small_shop())
    engine.use_variants(Halves(), {"flat": other("rrf")})
    with logging(engine, tmp_path):
        engine.retrieve_batch(USERS, 9)
    found = replay(tmp_path, other("cascade"))
    assert found.changes is not None
    assert {name: one.requests for name, one in found.changes.arms.items()} == {"-": 20, "flat": 20}
    short = sum(engine.data.history(engine.data.users.ids.row(user)).items.size <= 15 for user in USERS[::2])
    counts = {name: one.requests for name, one in found.changes.segments.items()}
    assert counts == {"up to 15": short, "longer": 20 - short, "all": 20}


def test_recall_and_hit_rates_of_lists(folder: Path) -> None:
    events = later(folder)
    found = replay(folder, other(), Dataset.from_frames(events), ks=[3, 10])
    assert found.events == (120, 120)
    assert found.found is not None
    figures = found.found.figures()
    assert list(figures) == [*PATHS, "as logged", "replayed"]
    rows = frame_of(folder).to_dicts()
    chosen = events.group_by("user_id", maintain_order=True).agg(pl.col("item_id").sort()).sort("user_id")["item_id"]
    for name, values in figures.items():
        if name == "replayed":
            continue
        lists = [
            row["items"] if name == "as logged" else row["paths"][PATHS.index(name)]["items"]
            for row in sorted(rows, key=lambda row: int(row["user"]))
        ]
        bounds = np.cumsum([0, *map(len, lists)])
        targets = [[-1, *one[:-1]] for one in chosen.to_list()]  # the catalogue lacks the last one
        expected = user_metrics(
            bounds,
            np.concatenate(lists),
            np.cumsum([0, *map(len, targets)]),
            np.concatenate(targets),
            [3, 10],
        )
        for metric in ("recall", "hit_rate"):
            assert values[metric] == pytest.approx(expected[METRICS.index(metric)].mean(0))
    gains = found.found.gains()
    assert [(one.metric, one.k) for one in gains] == [(m, k) for m in ("recall", "hit_rate") for k in (3, 10)]
    assert all(one.gain.mean == pytest.approx(one.new - one.old) for one in gains)


def test_an_event_counts_for_the_newest_request_before_it(engine: Engine, tmp_path: Path) -> None:
    with logging(engine, tmp_path):
        for _ in range(3):
            engine.retrieve(1, 5)
        engine.retrieve(2, 5)
    times = frame_of(tmp_path)["time"].dt.timestamp("us").to_list()
    moments = [times[0] - 1, times[0], times[1] + 1, times[2] + 1, times[2] + 86_400_000_000 * 2, times[3] + 5]
    users = [1, 1, 1, 1, 1, 3]
    events = pl.DataFrame({"user_id": users, "item_id": range(6), "timestamp": moments}).with_columns(
        pl.from_epoch("timestamp", "us")
    )
    found = replay(tmp_path, None, Dataset.from_frames(events), horizon_days=1.0)
    assert found.events == (6, 3)
    assert found.found is not None
    assert found.found.n_requests == 3
    assert replay(tmp_path, None, Dataset.from_frames(events), horizon_days=3.0).events == (6, 4)


def test_hashed_users_are_joined_under_their_salt(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTIRECALL_LOG_SALT", "a salt that nobody guesses")
    with logging(engine, tmp_path, hash_users=True):
        engine.retrieve(1, 5)
    time = frame_of(tmp_path)["time"][0].timestamp()
    events = Dataset.from_frames(pl.DataFrame({"user_id": [1], "item_id": [3], "timestamp": [int(time) + 5]}))
    with pytest.raises(ConfigError, match="hashed under a salt that is not given"):
        replay(tmp_path, None, events)
    found = replay(tmp_path, None, events, salts=[UserNames.of_environment("MULTIRECALL_LOG_SALT")])
    assert found.events == (1, 1)


def test_what_the_log_cannot_tell_is_counted_or_refused(engine: Engine, folder: Path, tmp_path: Path) -> None:
    found = replay(folder, other(quota=30))
    assert found.unknown is not None
    assert found.unknown.cut == dict.fromkeys(PATHS, 40), "all lists ended at 12"
    more = other(paths=[{"retriever": name} for name in (*PATHS, "sequence")])
    with pytest.raises(RequestError, match="the log lacks path 'sequence'"):
        replay(folder, more)
    with pytest.raises(ConfigError, match="only a fit can learn"):
        replay(folder, EngineConfig())
    few = other(paths=[{"retriever": "popularity", "quota": 4}])
    found = replay(folder, few)
    assert found.unknown is not None
    assert found.unknown.short == 40, "nothing was backfilled"
    less = shop_engine()
    disabled = other(paths=[{"retriever": name, "enabled": name != "user_cf"} for name in PATHS])

    class All:
        def choose(self, user: Any, context: Any, request_id: str) -> str:
            return "less"

    less.use_variants(All(), {"less": disabled})
    with logging(less, tmp_path):
        less.retrieve(1)
    found = replay(tmp_path, other())
    assert found.unknown is not None
    assert found.unknown.unasked == {"item_cf": 0, "popularity": 0, "user_cf": 1}


def test_estimates_are_refused_without_propensities(tmp_path: Path) -> None:
    class All:
        def choose(self, user: Any, context: Any, request_id: str) -> str:
            return "both"

    engine = shop_engine()
    with logging(engine, tmp_path):
        engine.retrieve_batch(USERS[:20], 9)
        engine.use_exploration(Exploration(slots=2, share=1.0))
        engine.use_variants(All(), {"both": Interleaving(other(), other("rrf"))})
        engine.retrieve_batch(USERS[20:], 9)
    found = replay(tmp_path, other(), Dataset.from_frames(later(tmp_path)))
    assert isinstance(found.estimates, str)
    assert found.estimates.startswith("no request of a user has propensities")
    assert replay(tmp_path, other()).estimates is None


def test_bad_arguments_and_events_are_refused(folder: Path) -> None:
    with pytest.raises(RequestError, match="persistence must be"):
        replay(folder, persistence=1.0)
    with pytest.raises(RequestError, match="horizon_days must be"):
        replay(folder, horizon_days=0)
    untimed = Dataset.from_frames(pl.DataFrame({"user_id": [1], "item_id": [2]}))
    with pytest.raises(DataError, match="no timestamps"):
        replay(folder, None, untimed)


TOML = """
[fusion]
strategy = "weighted_sum"
[[paths]]
retriever = "item_cf"
weight = 2.0
[[paths]]
retriever = "popularity"
quota = 30
[[paths]]
retriever = "user_cf"
"""


def test_the_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "other.toml").write_text(TOML)
    later(folder).rename({"item_id": "product"}).write_parquet(tmp_path / "later.parquet")
    run = CliRunner()
    same = run.invoke(app, ["replay", str(folder)])
    assert same.output == "40 of 40 answers are the same to the byte.\n"
    asked = [
        "replay",
        str(folder),
        "--config",
        str(tmp_path / "other.toml"),
        "--events",
        str(tmp_path / "later.parquet"),
    ]
    asked += ["--columns", "item_id=product", "-k", "5", "-k", "10"]
    shown = run.invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.output.splitlines())) <= 80
    for text in (
        "overlap@5",
        "RBO, p = 0.98",
        "entered most often",
        "popularity: in 40 of 40 requests",
        "doubly robust",
    ):
        assert text in shown.output
    values = json.loads(run.invoke(app, [*asked, "--json"]).output)
    events = Dataset.load(tmp_path / "later.parquet", columns={"item_id": "product"})
    found = replay(folder, EngineConfig.from_toml(tmp_path / "other.toml"), events, ks=[5, 10])
    assert values == json.loads(json.dumps(found.to_dict()))
    assert isinstance(found.estimates, Estimates)
    refused = run.invoke(app, ["replay", str(folder), "--columns", "item_id=product"])
    assert isinstance(refused.exception, MultirecallError)
    assert "add --events" in str(refused.exception)
