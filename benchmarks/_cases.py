"""The data sets and splits that quality is measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import typer

from multirecall import Dataset
from multirecall.evaluation import Split, SplitKind, given_split, leave_last_out, time_split

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


def chosen(names: list[str] | None) -> list[Case]:
    """The cases of these names, or all."""
    unknown = set(names or ()) - set(CASES)
    if unknown:
        raise typer.BadParameter(f"no case is named {min(unknown)!r}; known: {', '.join(CASES)}")
    return [CASES[name] for name in names or CASES]


def _tables(folder: Path) -> Dataset:
    files = [folder / f"{table}.parquet" for table in ("items", "users")]
    items, users = (file if file.is_file() else None for file in files)
    return Dataset.load(folder / "interactions.parquet", items, users)


def _ml_1m_last(data: Path) -> Split:
    log = pl.read_parquet(data / "ml-1m" / "interactions.parquet").filter(pl.len().over("item_id") >= ML_1M_LEAST)
    items = pl.read_parquet(data / "ml-1m" / "items.parquet").join(log, on="item_id", how="semi")
    return leave_last_out(Dataset.from_frames(log, items, pl.read_parquet(data / "ml-1m" / "users.parquet")))


def _amazon_cds(data: Path) -> Split:
    train, test = (Dataset.load(data / "amazon-cds" / f"{part}.parquet") for part in ("train", "test"))
    return given_split(train, test)


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("ml-1m-last", _ml_1m_last, "last", "next", "ndcg", 10),
        Case("ml-1m-time", lambda data: time_split(_tables(data / "ml-1m")), "time", "while"),
        Case("amazon-cds", _amazon_cds, "random", "pairs"),
        Case("amazon-beauty", lambda data: leave_last_out(_tables(data / "amazon-beauty")), "last", "beauty"),
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
