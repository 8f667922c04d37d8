"""`multirecall refit`, run as a scheduler runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.cli import app
from multirecall.config import FusionConfig
from multirecall.datasets import generate

EVENTS = generate(400, 300, 16_000, seed=11).interactions
COMMON = ("--if-better", "-k", "30", "--fewest-users", "50")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, new events, and settings that are worse than those of the bundle."""
    home = tmp_path_factory.mktemp("refit")
    paths = tuple(PathConfig(retriever=name) for name in ("item_cf", "popularity"))
    with Engine(EngineConfig(paths=paths, fusion=FusionConfig(strategy="rrf"))) as engine:
        engine.fit(Dataset.from_frames(EVENTS[:10_000])).save(home / "bundle")
    EVENTS[8_000:].write_csv(home / "new.csv")
    (home / "worse.toml").write_text('[[paths]]\nretriever = "popularity"\n')
    return home


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of `multirecall refit …`."""
    done = subprocess.run(
        [sys.executable, "-m", "multirecall", "refit", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_scheduler_tells_the_outcomes_by_their_codes(home: Path) -> None:
    bundle, given = home / "bundle", ("--events", home / "new.csv")
    code, shown, _ = run(bundle, *given, *COMMON, "--config", home / "worse.toml")
    assert code == 3, shown
    assert "events: 8,000 given, 2,000 of them known, 6,000 new" in shown
    assert "kept: the new fit is worse: recall against" in " ".join(shown.split())
    assert "Version 000001 serves on, with the new events." in shown
    assert max(map(len, shown.splitlines())) <= 80

    code, shown, _ = run(bundle, *given, *COMMON, "--json")
    assert code == 0, shown
    report = json.loads(shown)
    assert (report["decision"], report["before"], report["after"]) == ("published", "000001", "000002")
    assert (report["intake"]["new"], report["fits"], report["rollback"]) == (0, 2, True)
    assert {one["worse"] for one in report["comparisons"]} == {False}

    code, shown, _ = run(bundle, *given, *COMMON)
    assert code == 4, shown
    assert "undecided: no event is newer than those of version 000002" in " ".join(shown.split())
    assert "Version 000002 serves on.\n" in shown

    with Engine.load(bundle) as service:
        service.hold()
        code, _, fault = run(bundle, *given, *COMMON)
        assert code == 1
        assert f"is being written by process {os.getpid()}" in fault
        assert "POST /v1/refresh" in fault


def refused(home: Path, *arguments: str) -> str:
    """The message of the error for these options."""
    result = CliRunner().invoke(app, ["refit", str(home / "bundle"), *arguments])
    assert result.exit_code != 0
    return str(result.exception) + result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--events", "nothing.csv"), "events: nothing.csv: no such file; check the path"),
        (("--window", "3x"), "--window: '3x' is no length; write a number and h, d or w"),
        (("--window", "0d"), "--window: '0d' is no length"),
        (("--level", "2"), "level: input should be less than 1"),
        (("-k", "0"), "k: input should be greater than 0"),
        (("--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("--fusion", "both"), "'both' is not one of 'learn'"),
    ],
    ids=["no-file", "no-length", "zero-length", "level", "k", "no-config", "fusion"],
)
def test_bad_options_are_refused(home: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(home, *arguments)
    assert len(Engine.versions(home / "bundle")) <= 2


def test_a_dry_run_compares_without_the_option(home: Path) -> None:
    before = Engine.versions(home / "bundle")
    code, shown, _ = run(
        home / "bundle", "--dry-run", "--config", home / "worse.toml", "--window", "4w", "--fewest-users", "50"
    )
    assert code == 3
    assert shown.endswith("Nothing was written.\n")
    assert "old" in shown
    assert Engine.versions(home / "bundle") == before
