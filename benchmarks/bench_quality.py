"""Recall and its kin of each path and each fusion on real logs, split by time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from _harness import write

from multirecall import Dataset, Engine, EngineConfig, FusionConfig
from multirecall.evaluation import evaluate, time_split
from multirecall.progress import terminal_progress

KS = (20, 100, 500)
FUSIONS = {
    "rrf": FusionConfig(),
    "weighted_sum": FusionConfig(strategy="weighted_sum"),
    "cascade": FusionConfig(strategy="cascade"),
}


@dataclass(frozen=True)
class Case:
    """A data set, and whether repeats count as targets."""

    data: str
    seen: bool


CASES = (Case("online-retail", True), Case("online-retail", False), Case("ml-1m", False))


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    fraction: Annotated[float, typer.Option(help="Share of events, the newest, that is the test part.")] = 0.1,
) -> None:
    """Fit the default paths on the past and score them, alone and under every fusion with its defaults."""
    results = []
    with terminal_progress() as progress:
        for case in CASES:
            folder = data / case.data
            dataset = Dataset.load(folder / "interactions.parquet", folder / "items.parquet", folder / "users.parquet")
            split = time_split(dataset, fraction, seen=case.seen)
            lists: dict[str, Any] = {}
            for fusion, settings in FUSIONS.items():
                engine = Engine(EngineConfig(fusion=settings))
                start = perf_counter()
                engine.fit(split.train, progress=progress)
                fit_s = perf_counter() - start
                report = evaluate(engine, split, KS, progress=progress).to_dict()
                figures = report.pop("figures")
                lists |= {**figures, f"fused by {fusion}": figures["fused"]}
                lists.pop("fused")
            results.append({"data": case.data, "seen": case.seen, "fit_s": fit_s, **report, "lists": lists})
            typer.echo(f"{case.data}, {report['split']}")
            for name, row in lists.items():
                typer.echo(f"  {name:22} " + "  ".join(f"R@{k} {value:.4f}" for k, value in zip(KS, row["recall"])))  # noqa: B905
    typer.echo(write("quality", {"ks": KS, "cases": results}))


if __name__ == "__main__":
    typer.run(main)
