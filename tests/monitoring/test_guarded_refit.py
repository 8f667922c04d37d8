"""The guard: what is worse is not published, what is, can be taken back, and nothing that happened is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from patience import eventually

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.config import FusionConfig
from multirecall.datasets import generate
from multirecall.errors import BundleHeld, DataError, RequestError
from multirecall.evaluation import evaluate, split_at
from multirecall.monitoring.refresh import Guard, RefitReport, guarded_refit
from multirecall.monitoring.refresh.report import ArmName
from multirecall.monitoring.refresh.window import choose_window
from multirecall.progress import SILENT, Progress
from multirecall.progress.base import Advance, unheard

LOG = generate(400, 300, 16_000, seed=11)
EVENTS = LOG.interactions
OLD, NEW = EVENTS[:10_000], EVENTS[8_000:]
GUARD = Guard(k=30, fewest_users=50)


def config_of(*paths: str) -> EngineConfig:
    return EngineConfig(
        k=50, paths=tuple(PathConfig(retriever=name) for name in paths), fusion=FusionConfig(strategy="rrf")
    )


GOOD, BAD = config_of("item_cf", "popularity"), config_of("popularity")


@pytest.fixture(scope="module")
def good_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(tmp_path_factory.mktemp("good"), GOOD)


@pytest.fixture
def folder(good_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of good settings, fitted on the old events."""
    return Path(shutil.copytree(good_bundle, tmp_path / "bundle"))


def bundle_of(home: Path, config: EngineConfig, events: pl.DataFrame = OLD) -> Path:
    with Engine(config).fit(Dataset.from_frames(events, LOG.items)) as engine:
        engine.save(home / "bundle")
    return home / "bundle"


def refit(folder: Path, events: Any = NEW, **options: Any) -> RefitReport:
    with Engine.load(folder) as engine:
        return guarded_refit(engine, events, **{"guard": GUARD, **options})


def answers(engine: Engine) -> tuple[Any, bytes, bytes]:
    users = sorted(set(EVENTS["user_id"].to_list()))
    found = engine.retrieve_batch(users, 30)
    return found.ids.tolist(), found.scores.tobytes(), found.offsets.tobytes()


def served(folder: Path) -> tuple[Any, bytes, bytes]:
    with Engine.load(folder) as engine:
        return answers(engine)


def versions(folder: Path) -> list[str]:
    return [one.name for one in Engine.versions(folder)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_worse_settings_are_kept_out_and_their_events_are_not(folder: Path) -> None:
    report = refit(folder, config=BAD)
    assert report.decision == "kept"
    assert [one.name for one in report.arms] == ["serving", "old", "new"]
    assert all(one.gain.mean < 0 for one in report.comparisons if one.against == "old")
    assert "worse" in report.reason
    assert (report.before, report.after, report.fits) == ("000001", "000001", 2)
    assert (report.intake.events, report.intake.known, report.intake.new) == (8_000, 2_000, 6_000)
    assert versions(folder) == ["000001"]
    with Engine.load(folder) as engine:
        assert engine.paths == ("item_cf", "popularity")
        assert engine.data.n_events == 16_000


def test_better_settings_are_published_with_their_config(tmp_path: Path) -> None:
    folder = bundle_of(tmp_path, BAD)
    report = refit(folder, config=GOOD)
    assert report.decision == "published"
    assert all(one.gain.low > 0 for one in report.comparisons)
    assert (report.fits, report.after, report.rollback) == (3, "000002", True)
    with Engine.load(folder) as engine, Engine(GOOD).fit(Dataset.from_frames(EVENTS, LOG.items)) as fresh:
        assert answers(engine) == answers(fresh)
        assert engine.health().config_hash == fresh.health().config_hash


def test_each_arm_finds_what_an_evaluation_says(folder: Path) -> None:
    report = refit(folder, config=BAD, dry_run=True)
    newer = EVENTS.filter(pl.col("timestamp") > OLD["timestamp"].max())["timestamp"].dt.epoch("s").sort()
    start = int(newer[newer.len() // 2])
    split = split_at(Dataset.from_frames(EVENTS, LOG.items), start)
    assert report.n_users == split.users.size
    found = {one.name: (one.recall.mean, one.ndcg.mean) for one in report.arms}
    settings: dict[ArmName, EngineConfig] = {"old": GOOD, "new": BAD}
    for name, config in settings.items():
        with Engine(config).fit(split.train) as engine:
            figures = evaluate(engine, split, [GUARD.k]).figures["fused"]
            assert found[name] == pytest.approx((figures["recall"][0], figures["ndcg"][0]))
    with Engine.load(folder) as engine:
        before = pl.col("timestamp").dt.epoch("s") < start
        engine.add_interactions(EVENTS[10_000:].filter(before))
        hits = []
        for user, low, high in zip(split.users.tolist(), split.offsets[:-1], split.offsets[1:], strict=True):
            targets = set(split.train.items.ids.ids(split.targets[low:high]).tolist())
            hits.append(len(targets & set(engine.retrieve(user, GUARD.k).ids.tolist())) / len(targets))
    assert found["serving"][0] == pytest.approx(np.mean(hits))


def test_the_same_settings_are_fitted_once_before_the_window(folder: Path) -> None:
    report = refit(folder)
    assert [one.name for one in report.arms] == ["serving", "new"]
    assert report.fits == 2
    assert (report.decision, report.after) == ("published", "000002")
    again = refit(folder, EVENTS)
    assert (again.decision, again.fits, again.intake.new) == ("undecided", 0, 0)
    assert "no event is newer than those of version 000002" in again.reason
    assert versions(folder) == ["000001", "000002"]


def test_a_dry_run_decides_the_same_and_writes_nothing(folder: Path) -> None:
    before = files(folder)
    with Engine.load(folder) as engine:
        first, second = (guarded_refit(engine, NEW, config=BAD, guard=GUARD, dry_run=True) for _ in range(2))
        assert engine.data.n_events == 10_000
    assert {name: files(folder)[name] for name in before} == before
    real = refit(folder, config=BAD)
    assert first.seconds.keys() == real.seconds.keys()
    assert plain(first) == plain(second) == plain(replace(real, dry_run=True))


def plain(report: RefitReport) -> dict[str, Any]:
    values = report.to_dict()
    del values["seconds"]
    for arm in values["arms"]:
        del arm["fit_s"]
    return values


def test_a_rollback_gives_the_old_answers_to_the_byte(folder: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(folder, tmp_path / "twin"))
    with Engine.load(twin) as engine:
        engine.add_interactions(EVENTS[10_000:])
        expected = answers(engine)
    assert refit(folder).decision == "published"
    assert served(folder) != expected
    assert Engine.rollback(folder) == "000001"
    assert served(folder) == expected


@pytest.mark.parametrize(
    ("events", "guard", "message"),
    [
        (OLD, GUARD, "no event is newer"),
        (NEW, Guard(fewest_users=10_000), "fewer than 10,000"),
        (NEW, Guard(window_days=150), "was fitted on part of the window"),
        (NEW, Guard(window_days=5_000), "was fitted on part of the window"),
    ],
    ids=["nothing-new", "few-users", "seen-by-the-fit", "longer-than-the-log"],
)
def test_where_nothing_can_be_told_the_old_version_stays(
    folder: Path, events: pl.DataFrame, guard: Guard, message: str
) -> None:
    report = refit(folder, events, guard=guard)
    assert report.decision == "undecided"
    assert message in report.reason
    assert report.fits == 0
    assert versions(folder) == ["000001"]


def test_a_window_that_the_fit_has_seen_is_left_to_the_settings_alone(folder: Path) -> None:
    report = refit(folder, config=BAD, guard=Guard(k=30, window_days=100))
    assert [one.name for one in report.arms] == ["old", "new"]
    assert report.decision == "kept"
    endless = refit(folder, config=BAD, guard=Guard(k=30, window_days=5_000))
    assert (endless.decision, endless.fits) == ("undecided", 0)
    assert "one part empty" in endless.reason


def test_without_a_comparison_the_fit_is_published_even_if_it_is_worse(folder: Path) -> None:
    report = refit(folder, config=BAD, unguarded=True)
    assert (report.decision, report.fits, report.arms, report.window) == ("published", 1, (), None)
    with Engine.load(folder) as engine:
        assert engine.paths == ("popularity",)


CRASHES = """
import os, sys
from multirecall import Engine
from multirecall.monitoring.refresh import guarded_refit
Engine.save = lambda *_: os._exit(9)
guarded_refit(Engine.load(sys.argv[1]), sys.argv[2], unguarded=True)
"""


def test_a_crash_before_the_fit_is_published_leaves_the_old_version(folder: Path, tmp_path: Path) -> None:
    NEW.write_parquet(tmp_path / "new.parquet")
    crashed = subprocess.run([sys.executable, "-c", CRASHES, folder, tmp_path / "new.parquet"], check=False)
    assert crashed.returncode == 9
    assert versions(folder) == ["000001"]
    with Engine.load(folder) as engine:
        assert engine.data.n_events == 16_000
        assert engine.data_version == 1, "the fit is not there, and its events are one change"
    again = refit(folder)
    assert (again.decision, again.after, again.intake.new) == ("published", "000002", 0)
    with Engine.load(folder) as engine:
        assert engine.data.n_events == 16_000


class Noticing:
    """A progress that does something when a task of this name begins."""

    def __init__(self, name: str, act: Any) -> None:
        self.name, self.act = name, act

    @contextmanager
    def task(self, name: str, total: int, *, steady: bool = True) -> Iterator[Advance]:
        if name == self.name:
            self.act()
            self.act = lambda: None
        with SILENT.task(name, total):
            yield unheard


def test_live_changes_that_come_meanwhile_are_published(folder: Path) -> None:
    with Engine.load(folder) as engine:

        def add() -> None:
            engine.add_interactions([{"user_id": "newcomer", "item_id": "i000001", "timestamp": 1_720_000_000}])

        progress: Progress = Noticing("fitting all paths", add)
        report = guarded_refit(engine, NEW, guard=GUARD, progress=progress)
        assert report.decision == "published"
    with Engine.load(folder) as engine:
        assert engine.data.n_events == 16_001
        assert engine.retrieve("newcomer").known


def test_a_bundle_with_another_writer_is_refused_but_compared(folder: Path) -> None:
    with Engine.load(folder) as service:
        service.add_interactions([{"user_id": "u00001", "item_id": "i000001", "timestamp": 1_720_000_000}])
        with pytest.raises(BundleHeld, match="another engine of this process"):
            refit(folder)
        with Engine.load(folder) as reader:
            assert guarded_refit(reader, NEW, guard=GUARD, dry_run=True).decision == "published"
        assert service.data.n_events == 10_001
    assert versions(folder) == ["000001"]


def test_followers_take_the_refit_over(folder: Path) -> None:
    with Engine.load(folder, follow=True) as follower:
        with pytest.raises(RequestError, match="only follows"):
            guarded_refit(follower, NEW, guard=GUARD)
        assert refit(folder).decision == "published"
        eventually(lambda: version_of(follower) == "000002" and follower.data.n_events == 16_000)
        assert answers(follower) == served(folder)


def test_followers_take_other_settings_over(folder: Path) -> None:
    with Engine.load(folder, follow=True) as follower:
        assert refit(folder, config=BAD, unguarded=True).decision == "published"
        eventually(lambda: version_of(follower) == "000002" and follower.data.n_events == 16_000)
        assert follower.paths == ("popularity",)
        assert [one.name for one in follower.config.paths] == ["popularity"]
        assert answers(follower) == served(folder)
        with Engine.load(folder) as writer:
            writer.add_interactions([{"user_id": "newcomer", "item_id": "i000001", "timestamp": 1_720_000_000}])
            eventually(lambda: follower.retrieve("newcomer").known)
        Engine.rollback(folder)
        eventually(lambda: follower.paths == ("item_cf", "popularity"))
        assert answers(follower) == served(folder)


def version_of(engine: Engine) -> str:
    store = engine.health().store
    assert store is not None
    return store.version


def test_what_was_taken_back_stays_away(folder: Path) -> None:
    person = str(OLD["user_id"][0])
    with Engine.load(folder) as engine:
        engine.remove_users([person])
    others = NEW.filter(pl.col("user_id") != person)
    kept = refit(folder, others, config=BAD)
    assert (kept.decision, kept.to_forget) == ("kept", "refresh")
    report = refit(folder, others)
    assert (report.decision, report.to_forget, report.rollback) == ("published", None, False)
    assert versions(folder) == ["000002"]
    traces = [name for name, content in files(folder).items() if any(form in content for form in forms(person))]
    assert traces == []


def forms(text: str) -> list[bytes]:
    """The text in any form in which a bundle holds text."""
    return [text.encode(code) for code in ("utf-8", "utf-32-le", "utf-16-le")]


def test_a_log_without_times_has_no_window(tmp_path: Path) -> None:
    folder = bundle_of(tmp_path, BAD, EVENTS.select("user_id", "item_id")[:3_000])
    with pytest.raises(DataError, match="no timestamps"):
        refit(folder, None)
    assert refit(folder, None, unguarded=True).decision == "published"


def test_an_engine_without_a_bundle_is_refused() -> None:
    with Engine(BAD).fit(Dataset.from_frames(OLD)) as engine, pytest.raises(RequestError, match="no bundle to publish"):
        guarded_refit(engine, NEW)


def test_the_window_is_the_newer_half_of_what_is_new() -> None:
    times = [10, 20, 30, 40, 50, 60, 70]
    log = pl.DataFrame({"user_id": [1] * 7, "item_id": list(range(7)), "timestamp": times})
    data = Dataset.from_frames(log)
    assert choose_window(data, 20, None) == 50
    assert choose_window(data, 60, None) == 70
    assert choose_window(data, 70, None) is None
    assert choose_window(data, 70, 30 / 86_400) == 41
