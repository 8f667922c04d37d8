"""`multirecall candidates`, run as a person runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from batches import USERS, Deadly, command, contents, fill, make_bundle, stamps
from patience import PATIENCE_S, eventually

from multirecall import Engine


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("command") / "bundle")


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("users") / "users.csv"
    pl.DataFrame({"user_id": USERS}).write_csv(file)
    return file


def run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return done.returncode, done.stdout, done.stderr


def test_options_are_those_of_a_request(bundle: Path, users: Path, tmp_path: Path) -> None:
    options = ("--exclude", "4", "--where", '{"group": "even"}', "--seen", "--context", '{"page": "home"}')
    code, out, err = run(*command(bundle, users, tmp_path / "out", *options))
    assert code == 0, err
    rows = pl.read_parquet(tmp_path / "out/*.parquet")
    assert f"out: {rows.height:,} candidates of {len(USERS)} users in 31 files, " in " ".join(out.split())
    with Engine.load(bundle) as engine:
        expected = engine.retrieve_batch(USERS, 12, exclude=[4], where={"group": "even"}, seen=True).to_polars()
    assert rows.select("user_id", "item_id", "rank").equals(expected.select("user_id", "item_id", "rank"))
    code, _, err = run(*command(bundle, users, tmp_path / "out", "--exclude", "four"))
    assert code == 1
    assert "item ids are int, got 'four'" in err


def test_ctrl_c_leaves_what_goes_on(bundle: Path, users: Path, tmp_path: Path) -> None:
    """The terminal interrupts the whole group; no worker prints a traceback, and the same command goes on."""
    out = tmp_path / "out"
    whole = command(bundle, users, out)
    with subprocess.Popen(whole, stderr=subprocess.PIPE, text=True, start_new_session=True) as driver:
        eventually(lambda: len(stamps(out)) > 2 or driver.poll() is not None)
        os.killpg(driver.pid, signal.SIGINT)
        _, err = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode not in (0, -signal.SIGINT)
    assert "of 31 parts; the same call goes on from there" in " ".join(err.split())
    assert "Traceback" not in err
    assert 0 < len(stamps(out)) < 31
    assert not list(out.glob(".*"))
    assert run(*whole)[0] == 0
    fill(bundle, tmp_path / "whole", workers=1)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_script_needs_no_guard(bundle: Path, tmp_path: Path) -> None:
    """Workers do not run it again."""
    script, out = tmp_path / "script.py", tmp_path / "out"
    call = f"write_candidates({str(bundle)!r}, [1, 2, 3], {str(out)!r}, k=4, chunk=2, workers=2)"
    script.write_text(f"print('begun')\nfrom multirecall.scaleout import write_candidates\nprint({call}[:4])\n")
    code, printed, err = run(sys.executable, str(script))
    assert (code, printed) == (0, "begun\n(3, 12, 2, 3)\n"), err


def test_a_class_of_the_bundle_is_named_by_an_option(users: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", "popularity", Deadly)
    code, _, err = run(*command(bundle, users, tmp_path / "out"))
    assert code == 1
    assert "if you trust it, name it: --plugin batches:Deadly" in " ".join(err.split())
