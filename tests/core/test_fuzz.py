"""Malformed files are loaded or refused by an error of ours; `benchmarks/fuzz.py` is the long form."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from _fuzzing import KINDS, fuzz
from _judged_data import Wrong
from _judging import JUDGED, judge

from multirecall import EngineConfig
from multirecall.data import Dataset
from multirecall.errors import ConfigError, DataError


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_files(kind: str, tmp_path: Path) -> None:
    outcomes = fuzz(kind, 150, 7, tmp_path)
    assert outcomes.total() == 150
    assert outcomes["accepted"] < 75, "the mutations must do harm"
    assert outcomes["accepted"] > 0, "and not always the same"


@pytest.mark.parametrize("kind", JUDGED)
def test_what_is_read_is_what_the_oracle_says(kind: str, tmp_path: Path) -> None:
    outcomes = judge(kind, 120, 5, tmp_path)
    assert outcomes.total() == 120
    assert len(outcomes) == 2, "read and refused, or found and not"


BREAKS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "times": ("multirecall.data.parse.times", lambda read: lambda *args: read(*args) + 1),
    "ids": ("multirecall.data.build.read_ids", lambda read: lambda *args: read(*args).reverse()),
    "kinds": ("multirecall.data.kinds.TEXT_SHARE_DISTINCT", lambda share: 2.0),
    "future": ("multirecall.data.horizon.GAP", lambda gap: 10**12),
    "words": ("multirecall.data.letters.fold_text", lambda fold: lambda text: text.lower()),
    "filters": ("multirecall.engine.values.DAY_S", lambda seconds: seconds / 2),
}


@pytest.mark.parametrize("kind", JUDGED)
def test_the_oracle_notices_a_fault(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, name = BREAKS[kind][0].rpartition(".")
    right = getattr(importlib.import_module(module), name)
    monkeypatch.setattr(BREAKS[kind][0], BREAKS[kind][1](right))
    with pytest.raises(Wrong):
        judge(kind, 300, 5, tmp_path)


@pytest.mark.parametrize(
    ("dtype", "ticks"),
    [(pl.Date, 2**31 - 1), (pl.Datetime("ms"), 2**62), (pl.Datetime("us", "Europe/Berlin"), -(2**62))],
)
def test_times_that_no_calendar_holds(dtype: pl.DataType, ticks: int) -> None:
    times = pl.Series([0, ticks]).cast(pl.Int32 if dtype == pl.Date else pl.Int64).cast(dtype)
    log = pl.DataFrame({"user_id": [1, 2], "item_id": [3, 4]})
    with pytest.raises(DataError, match=r"column 'timestamp', row 1 \(the first is 0\): the time is .* past the year"):
        Dataset.from_frames(log.with_columns(timestamp=times))
    with pytest.raises(DataError, match=r"column 'day', row 1 \(the first is 0\): the time is .* past the year 5138"):
        Dataset.from_frames(log, pl.DataFrame({"item_id": [3, 4], "day": times}))


def test_times_that_a_calendar_holds() -> None:
    log = pl.DataFrame({"user_id": [1, 2], "item_id": [3, 4], "timestamp": [datetime(1, 1, 1), datetime(5000, 1, 1)]})
    assert Dataset.from_frames(log).interactions.now == (datetime(5000, 1, 1) - datetime(1970, 1, 1)).total_seconds()


def test_bottomless_config(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text("k = " + "[" * 10_000)
    with pytest.raises(ConfigError, match=r"engine\.toml: is not TOML"):
        EngineConfig.from_toml(tmp_path / "engine.toml")
