"""Drift of known size, found or not, quiet periods with no alarm, and what a real log shows month by month."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from _drifting import SHOWS, SIZES, Injected, Market, fit, measure
from _harness import write

from multirecall import Dataset, Engine, EngineConfig
from multirecall.monitoring.drift import DriftOptions, measure_drift
from multirecall.progress import Progress, terminal_progress

PAST = 14
"""Periods before the first fit: 13 windows, and one in which everything is new."""

QUIET = 20
MONTH_DAYS, MONTHS = 28, 13
FIRST_FIT = datetime(2010, 12, 1)
CONFIG = {
    "paths": [{"retriever": "item_cf"}, {"retriever": "popularity"}, {"retriever": "als"}],
    "fusion": {"strategy": "rrf"},
}


def quiet(seed: int, advance: Any) -> dict[str, Any]:
    """The alarms of quiet periods after each other, each after a fit on all before it."""
    market = Market(seed)
    periods = [market.next_period() for _ in range(PAST)]
    alarms, nearest = [], []
    for _ in range(QUIET):
        newest = market.next_period()
        report = measure(fit(periods), newest, seed)
        alarms.append([one.name for one in report.alarms])
        nearest.append(max(one.ratio for one in report.figures))
        periods.append(newest)
        advance(1)
    return {"seed": seed, "alarms": alarms, "nearest": nearest}


def found(injected: Injected, seed: int) -> dict[str, Any]:
    """What one period of drift shows: whether the figure of it is past its limit, and what is advised."""
    market = Market(seed)
    periods = [market.next_period() for _ in range(PAST)]
    report = measure(fit(periods), market.next_period(injected), seed)
    own = max((one for one in report.figures if one.name in SHOWS[injected]), key=lambda one: one.ratio)
    return {
        "seed": seed,
        "found": own.alarm,
        "by": own.name,
        "ratio": own.ratio,
        "alarms": [one.name for one in report.alarms],
        "action": report.advice.action,
    }


def months(folder: Path, advance: Any) -> list[dict[str, Any]]:
    """Online-retail: a fit on all before each month of 28 days, and what the figures say about that month."""
    log = pl.read_parquet(folder / "interactions.parquet")
    prices = log.group_by("item_id").agg(pl.col("price").median().cast(pl.Float64))
    users, end = pl.read_parquet(folder / "users.parquet"), log["timestamp"].max()
    assert isinstance(end, datetime)
    events = log.select("user_id", "item_id", "timestamp")
    rows, cut = [], FIRST_FIT
    while cut + timedelta(days=MONTH_DAYS) <= end:
        until = cut + timedelta(days=MONTH_DAYS)
        before = events.filter(pl.col("timestamp") < cut)
        after = events.filter((pl.col("timestamp") >= cut) & (pl.col("timestamp") < until))
        listed = prices.join(before.select("item_id").unique(), "item_id", "semi")
        engine = Engine(EngineConfig.model_validate(CONFIG)).fit(Dataset.from_frames(before, listed, users))
        start = perf_counter()
        report = measure_drift(engine, Dataset.from_frames(after), DriftOptions(MONTH_DAYS, refit=True))
        rows.append(
            {
                "from": str(cut.date()),
                "seconds": perf_counter() - start,
                "action": report.advice.action,
                "facts": dict(report.facts),
                "figures": {
                    one.name: {"value": one.value, "limit": one.limit, "js": one.js, "alarm": one.alarm}
                    | {"before": one.before, "now": one.now, "source": one.source}
                    for one in report.figures
                },
            }
        )
        cut = until
        advance(1)
    return rows


def main(
    seeds: Annotated[int, typer.Option(help="Markets for quiet periods, and for each kind of drift; 0: none.")] = 5,
    first_seed: Annotated[int, typer.Option(help="Seed of the first market.")] = 200,
    retail: Annotated[
        Path | None, typer.Option(help="Folder of online-retail; left out, its months are not measured.")
    ] = None,
) -> None:
    """Measure drift on markets of known truth and, where a folder is given, on a real log; a result file each."""
    with terminal_progress() as progress:
        if seeds:
            typer.echo(write("drift-market", markets(range(first_seed, first_seed + seeds), progress)))
        if retail is not None:
            with progress.task("months", MONTHS) as advance:
                typer.echo(write("drift-retail", {"config": CONFIG, "months": months(retail, advance)}))


def markets(seeds: range, progress: Progress) -> dict[str, Any]:
    """Quiet periods and injected drift in a market of each seed."""
    figures: dict[str, Any] = {"first_seed": seeds.start, "seeds": len(seeds), "past": PAST, "quiet_periods": QUIET}
    figures |= {"sizes": SIZES, "shows": SHOWS}
    with progress.task("quiet periods", len(seeds) * QUIET) as advance:
        figures["quiet"] = [quiet(seed, advance) for seed in seeds]
    with progress.task("injected drift", len(seeds) * len(SHOWS)) as advance:
        figures["injected"] = {}
        for injected in SHOWS:
            figures["injected"][injected] = [found(injected, 100 + seed) for seed in seeds]
            advance(len(seeds))
    alarms = sum(bool(names) for one in figures["quiet"] for names in one["alarms"])
    typer.echo(f"{alarms} of {len(seeds) * QUIET} quiet periods raise an alarm")
    for injected, runs in figures["injected"].items():
        ratio = median(run["ratio"] for run in runs)
        typer.echo(
            f"{injected:12} found {sum(run['found'] for run in runs)} of {len(runs)}, {ratio:.1f} times its limit"
        )
    return figures


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    typer.run(main)
