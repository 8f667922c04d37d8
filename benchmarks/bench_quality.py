"""Recall and its kin of each path and each fusion on real logs, split by time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from _harness import write

from multirecall import Dataset, Engine
from multirecall.evaluation import METRICS, Split, time_split, user_metrics
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.progress import terminal_progress
from multirecall.registry import fusion_class

KS = (20, 100, 500)
FUSIONS = ("rrf", "weighted_sum", "cascade")


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
            start = perf_counter()
            engine = Engine().fit(split.train, progress=progress)
            fit_s = perf_counter() - start
            lists = scored(engine, split)
            size = {
                "n_users": split.users.size,
                "n_targets": split.targets.size,
                "n_unknown_users": split.n_unknown_users,
            }
            row = {"data": case.data, "seen": case.seen, "split": split.name, **size, "fit_s": fit_s, "lists": lists}
            results.append(row)
            typer.echo(f"{case.data}, {split.name}, fitted in {fit_s:.1f} s")
            for name, recalls in lists.items():
                typer.echo(f"  {name:22} " + "  ".join(f"R@{k} {one:.4f}" for k, one in zip(KS, recalls, strict=True)))
    typer.echo(write("quality", {"ks": KS, "cases": results}))


def scored(engine: Engine, split: Split) -> dict[str, list[float]]:
    """Recall at each k of each path's own list, and of what each fusion makes of them."""
    chunks = [
        engine.path_lists(split.users[start : start + 500], seen=split.seen)
        for start in range(0, split.users.size, 500)
    ]
    lists = {path: RankedBatch.joined([chunk[path] for chunk in chunks]) for path in engine.paths}
    settings = {path.name: path for path in engine.config.paths}
    weights = [settings[path].weight for path in lists]
    quotas = [settings[path].quota for path in lists]
    recalls = {path: recall(batch, split) for path, batch in lists.items()}
    for fusion in FUSIONS:
        plugin = fusion_class(fusion)
        fused = plugin(plugin.Config()).fuse_batch([*lists.values()], weights, quotas, KS[-1])
        recalls[f"fused by {fusion}"] = recall(fused, split)
    return recalls


def recall(lists: RankedBatch | FusedBatch, split: Split) -> list[float]:
    """Mean recall at each k."""
    values = user_metrics(lists.offsets, lists.items, split.offsets, split.targets, KS)
    return [float(value) for value in values[METRICS.index("recall")].mean(axis=0)]


if __name__ == "__main__":
    typer.run(main)
