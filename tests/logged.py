"""Engines whose answers are logged, for tests of the request log and its replay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.config import FusionConfig
from multirecall.monitoring.request_log import LogSettings, RequestLog
from multirecall.monitoring.request_log.layout import parts_of
from multirecall.monitoring.request_log.parts import read_part
from multirecall.testing import small_shop

PATHS = ("item_cf", "popularity", "user_cf")


def shop_engine(data: Dataset | None = None, strategy: str = "rrf", **params: Any) -> Engine:
    """Three paths over `small_shop`."""
    config = EngineConfig(
        k=20,
        paths=tuple(PathConfig(retriever=name, quota=12, weight=1.0 + number) for number, name in enumerate(PATHS)),
        fusion=FusionConfig(strategy=strategy, params=params),
    )
    return Engine(config).fit(small_shop() if data is None else data)


@contextmanager
def logging(engine: Engine, folder: Path, **settings: Any) -> Iterator[RequestLog]:
    """Log the engine's answers, by default all; at the end everything is written."""
    log = RequestLog(LogSettings(folder=folder, **{"share": 1.0, **settings}))
    end = engine.observe(log)
    try:
        yield log
    finally:
        end()
        log.close()


def frame_of(folder: Path) -> pl.DataFrame:
    """All rows of a log, in the order of their time."""
    found = [part for file in parts_of(folder) if (part := read_part(file)) is not None]
    return pl.concat(found).sort("time", maintain_order=True)
