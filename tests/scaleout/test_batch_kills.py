"""Workers and drivers of a batch that are killed at random moments: no part is lost, none is written twice."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from batches import (
    USERS,
    Deadly,
    contents,
    fill,
    fill_with_killed_drivers,
    fill_with_killed_workers,
    make_bundle,
)

from multirecall.errors import MultirecallError
from multirecall.scaleout.workers import ATTEMPTS


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("kills") / "bundle")


@pytest.fixture(scope="module")
def expected(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "out"
    fill(bundle, folder, workers=1)
    return contents(folder)


def test_killed_workers_lose_nothing(bundle: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    assert fill_with_killed_workers(bundle, tmp_path / "out", seed=1) >= 5
    assert contents(tmp_path / "out") == expected
    assert not list((tmp_path / "out").glob(".*"))


def test_killed_drivers_are_gone_on_from(bundle: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    pl.DataFrame({"user_id": USERS}).write_parquet(tmp_path / "users.parquet")
    assert fill_with_killed_drivers(bundle, tmp_path / "users.parquet", tmp_path / "out", kills=3, seed=2) >= 2
    assert contents(tmp_path / "out") == expected


def test_a_part_that_kills_every_worker_ends_the_batch(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", "popularity", Deadly)
    with pytest.raises(MultirecallError, match=rf"a worker ended {ATTEMPTS} times over one task, .* exit code 3"):
        fill(bundle, tmp_path / "out", plugins=[Deadly])
