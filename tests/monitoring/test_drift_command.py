"""`multirecall drift` as a scheduler runs it: exit codes, JSON, the page, and errors that name the remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from _drifting import Market

from multirecall import Dataset, Engine, EngineConfig

PAST, WINDOW = 9, ("--window", "7", "-k", "20")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two versions, quiet events after it, and events with new items."""
    home = tmp_path_factory.mktemp("drift")
    market = Market(3, 500, 150)
    periods = [market.next_period() for _ in range(PAST)]
    quiet, moved = market.next_period(), market.next_period("new items")
    data = Dataset.from_frames(pl.concat([one.events for one in periods]), periods[-1].items, periods[-1].users)
    config = {"paths": [{"retriever": "item_cf"}, {"retriever": "als"}], "fusion": {"strategy": "rrf"}}
    for seed in (1, 2):
        with Engine(EngineConfig.model_validate({**config, "seed": seed})).fit(data) as engine:
            engine.save(home / f"bundle{seed}")
    quiet.events.write_parquet(home / "quiet.parquet")
    moved.events.write_parquet(home / "moved.parquet")
    moved.items.write_parquet(home / "items.parquet")
    return home


def run(*arguments: str | Path, code: int = 0, columns: int = 80) -> tuple[str, str]:
    """Standard output and standard error of `multirecall drift …`, which must end with this code."""
    command = [sys.executable, "-m", "multirecall", "drift", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_a_quiet_period_ends_with_0_and_fits_80_columns(folder: Path) -> None:
    shown, _ = run(folder / "bundle1", "--events", folder / "quiet.parquet", *WINDOW, "--refit")
    assert "Advice: nothing" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("unknown items") == 1, "one table holds all"


def test_drift_ends_with_1_and_json_says_what_to_do(folder: Path) -> None:
    arguments = ("--items", folder / "items.parquet", "--page", folder / "page.html", "--json")
    shown, _ = run(folder / "bundle1", "--events", folder / "moved.parquet", *WINDOW, *arguments, code=1)
    report: dict[str, Any] = json.loads(shown)
    assert report["alarm"]
    assert report["action"] == "refresh", "recall has nothing to be compared with"
    past = {one["name"] for one in report["figures"] if one["alarm"]}
    assert "unknown items" in past
    assert "unknown items" in (folder / "page.html").read_text(encoding="utf-8")


def test_vectors_of_another_bundle_are_compared(folder: Path) -> None:
    arguments = ("--against", folder / "bundle2", "--json")
    shown, _ = run(folder / "bundle1", "--events", folder / "quiet.parquet", *WINDOW, *arguments)
    [vectors] = json.loads(shown)["vectors"]
    assert vectors["path"] == "als"
    assert 0 < vectors["overlap"] <= 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--events", "nowhere.parquet"], "nowhere.parquet: no such file"),
        (["--events", "quiet.parquet", "--window", "0"], "pass e.g. 28"),
        (["--events", "quiet.parquet", "--window", "40"], "pass a shorter window (command line: --window 7)"),
        (["--events", "quiet.parquet", "--false-alarms", "2"], "pass e.g. 0.001"),
        (["--events", "quiet.parquet", "--version", "000001"], "is the current version"),
        (["--events", "quiet.parquet", "--page", "no/page.html"], "is no folder"),
        ([], "Missing option"),
    ],
    ids=["file", "window", "long-window", "rate", "version", "page", "no-events"],
)
def test_faults_end_with_2(folder: Path, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    _, errors = run(folder / "bundle1", *arguments, code=2, columns=200)
    assert says in errors
    assert "Traceback" not in errors
