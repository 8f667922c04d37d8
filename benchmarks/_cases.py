"""The data sets and splits that quality is measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl
import typer

from multirecall import Dataset
from multirecall.evaluation import Split, SplitKind, leave_last_out, split_of_logs, time_split

CONFIGS = Path(__file__).resolve().parent / "configs"

ML_1M_LEAST = 5
"""ml-1m without items that have fewer interactions: the 3,416 films of the published leave-last-out figures."""


@dataclass(frozen=True)
class Case:
    """A data set, how it is split, how a tuner holds out slices of its training part, and what it raises from where."""

    name: str
    split: Callable[[Path], Split]
    tuned_by: SplitKind
    start: str
    metric: str = "recall"
    k: int = 20
    seen: bool = False

    @property
    def untuned(self) -> Path:
        """The config that tuning starts from."""
        return CONFIGS / "untuned" / f"{self.start}.toml"

    @property
    def tuned(self) -> Path:
        """The config that tuning has written."""
        return CONFIGS / f"{self.name}.toml"


def choose_cases(names: list[str] | None, cases: Mapping[str, Case]) -> list[Case]:
    """The cases of these names, or all."""
    unknown = set(names or ()) - set(cases)
    if unknown:
        raise typer.BadParameter(f"no case is named {min(unknown)!r}; known: {', '.join(cases)}")
    return [cases[name] for name in names or cases]


def _tables(folder: Path) -> Dataset:
    files = [folder / f"{table}.parquet" for table in ("items", "users")]
    items, users = (file if file.is_file() else None for file in files)
    return Dataset.load(folder / "interactions.parquet", items, users)


def _ml_1m_last(data: Path, validation: int = 0) -> Split:
    log = pl.read_parquet(data / "ml-1m" / "interactions.parquet").filter(pl.len().over("item_id") >= ML_1M_LEAST)
    items = pl.read_parquet(data / "ml-1m" / "items.parquet").join(log, on="item_id", how="semi")
    users = pl.read_parquet(data / "ml-1m" / "users.parquet")
    return leave_last_out(Dataset.from_frames(log, items, users), validation=validation)


def _beauty(data: Path, validation: int = 0) -> Split:
    return leave_last_out(_tables(data / "amazon-beauty"), validation=validation)


def _amazon_cds(data: Path) -> Split:
    train, test = (Dataset.load(data / "amazon-cds" / f"{part}.parquet") for part in ("train", "test"))
    return split_of_logs(train, test)


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("ml-1m-last", _ml_1m_last, "last", "next", "ndcg", 10),
        Case("ml-1m-time", lambda data: time_split(_tables(data / "ml-1m")), "time", "while"),
        Case("amazon-cds", _amazon_cds, "random", "pairs"),
        Case("amazon-beauty", _beauty, "last", "beauty"),
        Case("online-retail-new", lambda data: time_split(_tables(data / "online-retail")), "time", "while"),
        Case(
            "online-retail-all",
            lambda data: time_split(_tables(data / "online-retail"), seen=True),
            "time",
            "while",
            seen=True,
        ),
    )
}

PUBLISHED: dict[str, Case] = {
    f"{name}-published": replace(CASES[name], name=f"{name}-published", split=partial(split, validation=1))
    for name, split in (("ml-1m-last", _ml_1m_last), ("amazon-beauty", _beauty))
}
"""The same as others publish it: nothing is fitted on the event before the last, on which they choose their models."""
