"""What monthly refits of a shop bring back, and what the guard of `multirecall refit` decides, on online-retail.

`decay`: an engine is fitted at the start of a month and asked for the purchases of that month and of the next five, as
it was and with live changes. `guard`: the same settings, equal ones and worse ones are judged month by month.
"""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from _harness import write
from numpy.typing import NDArray

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.config import FusionConfig
from multirecall.evaluation import METRICS, Split, interval, split_at, user_metrics
from multirecall.monitoring.refresh import Guard, RefitReport, guarded_refit
from multirecall.progress import SILENT, terminal_progress
from multirecall.registry import retriever_class

K = 100
MONTHS = pl.date_range(pl.date(2010, 7, 1), pl.date(2011, 12, 1), "1mo", eager=True).to_list()
AHEAD = 6
"""Months after a fit in which it is asked."""

PATHS = ("item_cf", "ease", "sequence", "user_cf", "popularity")
"""Paths that are fitted within seconds. The last two take events live, the others their histories alone."""

GUARDED = ("item_cf", "als", "popularity")
"""Paths of the guard's decisions. Another seed gives `als` other vectors, which are as good."""

SEEDS = (8, 9, 10, 11)
app = typer.Typer(help=__doc__)
Data = Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")]


def _log(data: Path) -> pl.DataFrame:
    logging.getLogger("multirecall").setLevel(logging.ERROR)
    log = pl.read_parquet(data / "online-retail" / "interactions.parquet", columns=["user_id", "item_id", "timestamp"])
    return log.sort("timestamp")


def _until(log: pl.DataFrame, month: Any) -> pl.DataFrame:
    return log.filter(pl.col("timestamp") < month)


@app.command()
def decay(data: Data) -> None:
    """Recall by months since the fit: as fitted, with live changes, and refitted each month."""
    log, start = _log(data), perf_counter()
    splits = {
        month: split_at(Dataset.from_frames(_until(log, after)), _epoch(month))
        for month, after in zip(MONTHS[AHEAD - 1 : -1], MONTHS[AHEAD:], strict=True)
    }
    found: dict[str, dict[int, list[dict[str, NDArray[np.float64]]]]] = {
        how: defaultdict(list) for how in ("as fitted", "live")
    }
    fit_s: list[float] = []
    config = _config(*PATHS)
    with terminal_progress() as progress, progress.task("fits", len(MONTHS) - 1) as advance:
        for number, month in enumerate(MONTHS[:-1]):
            begun = perf_counter()
            with Engine(config).fit(Dataset.from_frames(_until(log, month)), progress=SILENT) as engine:
                fit_s.append(perf_counter() - begun)
                later = {
                    ahead: split
                    for ahead, other in enumerate(MONTHS[number : number + AHEAD], 1)
                    if (split := splits.get(other)) is not None
                }
                for ahead, split in later.items():
                    found["as fitted"][ahead].append(_values(engine, split))
                for ahead in range(1, AHEAD + 1):
                    if ahead in later:
                        found["live"][ahead].append(_values(engine, later[ahead]))
                    if number + ahead < len(MONTHS):
                        low, high = MONTHS[number + ahead - 1], MONTHS[number + ahead]
                        engine.add_interactions(_until(log, high).filter(pl.col("timestamp") >= low))
            advance(1)
    figures = {how: {ahead: _joined(parts) for ahead, parts in own.items()} for how, own in found.items()}
    fresh = figures["live"][1]
    typer.echo(
        write(
            "refit-decay",
            {
                "k": K,
                "paths": PATHS,
                "months": [str(month) for month in splits],
                "requests": int(fresh["fused"].size),
                "fit_s": float(np.median(fit_s)),
                "wall_s": perf_counter() - start,
                "recall": {
                    how: {
                        ahead: {name: float(values.mean()) for name, values in one.items()}
                        for ahead, one in own.items()
                    }
                    for how, own in figures.items()
                },
                "brought_back": {
                    how: {
                        ahead: {name: _interval(fresh[name] - values) for name, values in one.items()}
                        for ahead, one in own.items()
                    }
                    for how, own in figures.items()
                },
            },
        )
    )


def _values(engine: Engine, split: Split) -> dict[str, NDArray[np.float64]]:
    """The recall of each user by path and fused; NDCG of the fused list."""
    known, own = split.train.items.ids, engine.data.items.ids
    fused = engine.retrieve_batch(split.users, K)
    values = _metrics(split, fused.offsets, known.rows(fused.ids))
    found = {"fused": values[METRICS.index("recall")], "fused ndcg": values[METRICS.index("ndcg")]}
    for name, lists in engine.path_lists(split.users).items():
        found[name] = _metrics(split, lists.offsets, known.rows(own.ids(lists.items)))[METRICS.index("recall")]
    return found


def _metrics(split: Split, offsets: NDArray[np.int64], rows: NDArray[np.int32]) -> NDArray[np.float64]:
    return user_metrics(offsets, rows, split.offsets, split.targets, [K])[:, :, 0]


def _joined(parts: list[dict[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _interval(values: NDArray[np.float64]) -> dict[str, float]:
    found = interval(values)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _epoch(month: Any) -> int:
    return int(np.datetime64(month, "s").astype(np.int64))


@app.command()
def guard(data: Data) -> None:
    """Decisions on settings that are the same, equal and worse, for bundles that are two months old."""
    log, start = _log(data), perf_counter()
    before = _config(*GUARDED)
    proposed = _proposed()
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in proposed}
    with terminal_progress() as progress, progress.task("months", len(MONTHS) - 2) as advance:
        for month, until in zip(MONTHS, MONTHS[2:], strict=False):
            with tempfile.TemporaryDirectory() as home:
                with Engine(before).fit(Dataset.from_frames(_until(log, month)), progress=SILENT) as engine:
                    engine.save(Path(home) / "bundle")
                events = _until(log, until).filter(pl.col("timestamp") >= month)
                for name, configs in proposed.items():
                    for config in configs:
                        with Engine.load(Path(home) / "bundle") as engine:
                            report = guarded_refit(engine, events, config=config, guard=Guard(k=K), dry_run=True)
                        rows[name].append(_row(report, str(month)))
            advance(1)
    figures = {
        "k": K,
        "paths": GUARDED,
        "months": [str(month) for month in MONTHS[:-2]],
        "seeds": SEEDS,
        "decisions": rows,
        "wall_s": perf_counter() - start,
    }
    typer.echo(write("refit-guard", figures))


def _proposed() -> dict[str, list[EngineConfig | None]]:
    """The settings that are proposed: by name, one or several that are judged alike."""
    return {
        "the same settings": [None],
        "another seed": [_config(*GUARDED, seed=seed) for seed in SEEDS],
        "`als` with 8 of 32 dimensions": [_config(*GUARDED, als={"dim": 8})],
        "without `als`": [_config("item_cf", "popularity")],
        "without `item_cf`": [_config("als", "popularity")],
        "`popularity` alone": [_config("popularity")],
    }


def _row(report: RefitReport, month: str) -> dict[str, Any]:
    """One decision, with what the settings gained in recall."""
    gains = {one.against: one.gain for one in report.comparisons if one.metric == "recall"}
    return {
        "month": month,
        "decision": report.decision,
        "n_users": report.n_users,
        "worse_than": sorted({one.against for one in report.comparisons if one.worse}),
        "gains": {against: {"mean": gain.mean, "low": gain.low, "high": gain.high} for against, gain in gains.items()},
    }


def _config(*names: str, seed: int = 7, als: dict[str, Any] | None = None) -> EngineConfig:
    """These paths with settings that no log chooses, under a fusion that is not learned, so that fits are quick."""
    params = {name: retriever_class(name).Config().resolve().model_dump(mode="json") for name in names}
    for name in names:
        params[name].pop("threads", None)
    if "als" in params:
        params["als"] |= {"dim": 32, "epochs": 5} | (als or {})
    return EngineConfig(
        seed=seed,
        fusion=FusionConfig(strategy="rrf"),
        paths=tuple(PathConfig(retriever=name, params=params[name]) for name in names),
    )


if __name__ == "__main__":
    app()
