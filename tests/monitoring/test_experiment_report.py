"""Reports of experiments: from frames by hand, from simulated users with a known truth, and from a real request log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from multirecall import Engine, EngineConfig
from multirecall.cli import app
from multirecall.errors import DataError
from multirecall.monitoring.experiments import (
    ExperimentSettings,
    join_events,
    read_experiments,
    report_experiment,
    use_experiment,
)
from multirecall.monitoring.request_log import LogSettings, RequestLog
from multirecall.testing import small_shop

DAY = 86_400.0
HALVES = [{"name": "old", "share": 0.5}, {"name": "new", "share": 0.5}]


def settings(arms: list[dict[str, Any]] = HALVES, **given: Any) -> ExperimentSettings:
    return ExperimentSettings.model_validate({"name": "x", "arms": arms, **given})


def answers(*rows: tuple[float, str | None, str, list[int]], team: list[list[int]] | None = None) -> pl.DataFrame:
    frame = pl.DataFrame(
        [(str(number), *row) for number, row in enumerate(rows)],
        schema={"request_id": str, "time": float, "user": str, "arm": str, "items": pl.List(pl.Int64)},
        orient="row",
    )
    return frame if team is None else frame.with_columns(team=pl.Series(team, dtype=pl.List(pl.Int8)))


def events(*rows: tuple[str, int, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"user_id": str, "item_id": pl.Int64, "timestamp": float}, orient="row")


def test_an_event_counts_for_the_newest_answer_before_it() -> None:
    """Of user a: one hit after the first answer; after the second, one of two; the third is too old for the last."""
    joined = join_events(
        answers(
            (0.0, "a", "old", [1, 2]), (100.0, "a", "old", [3, 4]), (0.0, "b", "new", [5]), (0.0, None, "new", [6])
        ),
        events(
            *(("a", 2, 50.0), ("a", 2, 60.0), ("a", 3, 150.0), ("a", 9, 150.0), ("a", 4, 100 + DAY + 1)),
            *(("b", 7, 10.0), ("b", 5, -1.0), ("z", 1, 5.0)),
        ),
        None,
        DAY,
    )
    old = joined.arms["old"]
    assert {name: (*top, *bottom) for name, (top, bottom) in old.sums.items()} == {
        "hit_rate": (2.0, 2.0),
        "recall": (1.5, 2.0),
        "events_per_day": (5.0, pytest.approx((100 + DAY + 1) / DAY)),
    }
    assert joined.arms["new"].sums["recall"][0].tolist() == [0.0]
    assert joined.arms["new"].sums["events_per_day"][0].tolist() == [1.0]
    assert (joined.unidentified, joined.unjudged, joined.moved) == (1, 0, 0)


def test_only_the_first_k_items_count() -> None:
    shown, later = answers((0.0, "a", "old", [1, 2, 3])), events(("a", 3, 1.0))
    assert join_events(shown, later, 3, DAY).arms["old"].sums["hit_rate"][0].tolist() == [1.0]
    assert join_events(shown, later, 2, DAY).arms["old"].sums["hit_rate"][0].tolist() == [0.0]


def test_credit_goes_to_the_side_that_drafted() -> None:
    shown = answers((0.0, "a", "both", [1, 2, 3]), (0.0, "b", "both", [1, 2, 3]), team=[[0, 1, -1], [1, 0, -1]])
    joined = join_events(shown, events(("a", 1, 1.0), ("a", 3, 1.0), ("b", 1, 1.0), ("b", 2, 2.0)), None, DAY)
    assert sorted(joined.arms["both"].credits.tolist()) == [[1.0, 0.0], [1.0, 1.0]]


def test_answers_that_nothing_can_judge_are_counted_or_refused() -> None:
    shown = answers((0.0, "a", "old", [1]), (9.0, "a", "old", [1]), (1.0, "b", "old", [1]), (2.0, "b", "new", [1]))
    joined = join_events(shown, events(("a", 1, 5.0)), None, DAY)
    assert (joined.unjudged, joined.moved, joined.arms["old"].users) == (1, 1, 1)
    with pytest.raises(DataError, match="no answer can be judged"):
        join_events(shown, events(("a", 1, -5.0)), None, DAY)
    with pytest.raises(DataError, match="no column 'arm'"):
        join_events(shown.drop("arm"), events(("a", 1, 5.0)), None, DAY)


def simulated(rates: dict[str, float], users: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Users of arms in turn, each asked three times; they take the item with a rate that differs by user and arm."""
    rng = np.random.default_rng(seed)
    names = list(rates)
    rows, taken = [], []
    for user in range(users):
        arm = names[user % len(names)]
        rate = rng.beta(2, 2) * 2 * rates[arm]
        for ask in range(3):
            rows.append((ask * DAY, str(user), arm, [1]))
            if rng.random() < rate:
                taken.append((str(user), 1, ask * DAY + 1))
    taken.append(("nobody", 1, 4 * DAY))
    return answers(*rows), events(*taken)


@pytest.mark.parametrize("sequential", [False, True])
def test_a_better_arm_is_found_and_an_equal_one_is_not(sequential: bool) -> None:
    arms = [{"name": name, "share": 1 / 3} for name in ("control", "same", "better")]
    shown, later = simulated({"control": 0.2, "same": 0.2, "better": 0.3}, 6_000, 1)
    found = report_experiment(join_events(shown, later, None, DAY), settings(arms), sequential=sequential)
    hits = {one.arm: one.effect for one in found.differences if one.metric == "hit_rate"}
    assert (hits["same"].verdict, hits["better"].verdict) == ("open", "better")
    assert hits["better"].low < 0.1 < hits["better"].high
    assert not found.mismatch.alarming
    assert json.loads(json.dumps(found.to_dict()))["control"] == "control"


def test_few_users_say_nothing_and_a_wrong_split_alarms() -> None:
    shown, later = simulated({"old": 0.2, "new": 0.9}, 100, 2)
    found = report_experiment(join_events(shown, later, None, DAY), settings())
    assert {one.effect.verdict for one in found.differences} == {"too few"}
    assert found.to_dict()["differences"][0]["effect"]["low"] is None
    uneven = [{"name": "old", "share": 0.9}, {"name": "new", "share": 0.1}]
    assert report_experiment(join_events(shown, later, None, DAY), settings(uneven)).mismatch.alarming
    with pytest.raises(DataError, match="arm 'new', which is not in the settings"):
        report_experiment(join_events(shown, later, None, DAY), settings(HALVES[:1]))


ARMS = """
[experiment]
name = "fusion"
arms = [
  { name = "old", share = 0.3 },
  { name = "new", share = 0.3, weights = { item_cf = 4.0 } },
  { name = "both", share = 0.4, interleaves = ["old", "new"] },
]
"""


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a request log, later events, and the settings."""
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "serve.toml").write_text(ARMS)
    engine = Engine(
        EngineConfig.model_validate(
            {"paths": [{"retriever": "item_cf"}, {"retriever": "popularity"}], "fusion": {"strategy": "rrf"}}
        )
    ).fit(small_shop())
    log = RequestLog(LogSettings(folder=folder / "log", share=1.0))
    stop = engine.observe(log)
    use_experiment(engine, read_experiments(folder / "serve.toml"))
    rows = []
    for user in range(1_000, 1_400):
        first = engine.retrieve(user, 6).ids.tolist()
        rows += [(user, first[user % 6], 4_000_000_000)]
    stop()
    engine.close()
    log.close()
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_parquet(
        folder / "events.parquet"
    )
    return folder


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["experiment", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_report_of_a_request_log(logged: Path) -> None:
    given = ["report", str(logged / "log"), "--events", str(logged / "events.parquet"), "--horizon-days", "40000"]
    found = json.loads(run(*given, "--settings", str(logged / "serve.toml"), "--json"))
    assert sum(arm["users"] for arm in found["arms"]) == 400
    assert [arm["metrics"]["hit_rate"]["value"] for arm in found["arms"]] == [1.0, 1.0, 1.0]
    assert sum(found["preferences"][0]["wins"]) == found["arms"][2]["users"]
    assert not found["mismatch"]["alarming"]
    text = run(*given)
    assert "first-side" in text
    assert "equal shares" in text


def test_a_plan_on_the_command_line(logged: Path) -> None:
    assert "7,677 users find a difference of 0.02000" in run("plan", "--baseline", "0.1", "--effect", "0.2", "--once")
    several = json.loads(run("plan", "--baseline", "0.1", "--json", *("--share", "0.4") * 2, "--share", "0.2"))
    assert several["users"] > json.loads(run("plan", "--baseline", "0.1", "--json"))["users"]
    assert "500 users find a mean preference of 0.9" in run("plan", "--preference", "0.9", "--credited", "0.2")
    assert "mean preference" in run("plan", "--preference", "0.1", "--users", "5000")
    measured = ["--log", str(logged / "log"), "--events", str(logged / "events.parquet"), "--metric", "events_per_day"]
    assert "users find" in run("plan", *measured)
