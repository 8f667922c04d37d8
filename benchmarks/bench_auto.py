"""What the default engine's fused list gains over the best path alone, and what learning it costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Annotated, Any

import numpy as np
import typer
from _cases import CASES, Case, choose_cases
from _harness import write
from numpy.typing import NDArray

from multirecall import Dataset, Engine, EngineConfig, FusionConfig
from multirecall.config import FUSED
from multirecall.datasets import generate
from multirecall.evaluation import (
    METRICS,
    Retrieved,
    Split,
    aim_at,
    fusion_gains,
    history_lengths,
    interval,
    retrieve_lists,
    time_split,
    user_metrics,
)
from multirecall.learning.choice import FusionChoice
from multirecall.learning.lists import KnownLists
from multirecall.learning.report import FusionReport
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.progress import Progress, terminal_progress

KS = (10, 20, 100)
COMPARED = ("recall", "ndcg")
PLAIN = ("rrf", "weighted_sum")
"""The fusions whose best one, learned from the same hold-out, `learned` is compared with."""

Values = NDArray[np.float64]

GENERATED: dict[str, dict[str, int]] = {
    "generated-dense": {"n_users": 3_000, "n_items": 3_000, "n_interactions": 180_000, "seed": 21},
    "generated-sparse": {"n_users": 20_000, "n_items": 8_000, "n_interactions": 160_000, "seed": 22},
}
"""The sizes and seeds of the generated logs, by case."""


def generated_split(sizes: dict[str, int], _: Path) -> Split:
    """A generated log, whose newest tenth is the test part."""
    log = generate(**sizes)
    return time_split(Dataset.from_frames(log.interactions, log.items, log.users))


ALL = CASES | {name: Case(name, partial(generated_split, sizes), "time", "while") for name, sizes in GENERATED.items()}


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    case: Annotated[
        list[str] | None, typer.Option(help=f"Repeat for several; default: all of {', '.join(ALL)}.")
    ] = None,
    out: Annotated[str, typer.Option(help="Begin of the names of the result files in benchmarks/results.")] = "auto",
) -> None:
    """Fit the default engine and every path alone on each training part, and compare them on its test part.

    The default engine holds events out of the training part; each path alone has the settings that were chosen then and
    is fitted on all of it. The test part is for measuring only.
    """
    warm_up()
    with terminal_progress() as progress:
        for one in choose_cases(case, ALL):
            found = measure_case(one, data, progress)
            typer.echo(summarise(found))
            typer.echo(write(f"{out}-{one.name}", found))


def warm_up() -> None:
    """Fit on a small log, so that no kernel is compiled while a fit is timed."""
    split = generated_split({"n_users": 2_000, "n_items": 300, "n_interactions": 20_000, "seed": 1}, Path())
    Engine(EngineConfig()).fit(split.train)


@dataclass(frozen=True)
class Fitted:
    """An engine with the seconds of its fit."""

    engine: Engine
    wall_s: float
    cpu_s: float


def fit(config: EngineConfig, data: Dataset, progress: Progress) -> Fitted:
    """Fit an engine and take the time."""
    wall, cpu = perf_counter(), process_time()
    engine = Engine(config).fit(data, progress=progress)
    return Fitted(engine, perf_counter() - wall, process_time() - cpu)


def measure_case(one: Case, data: Path, progress: Progress) -> dict[str, Any]:
    """The figures of one case."""
    split = one.split(data)
    auto = fit(aim_at(one.tuned_by, EngineConfig()), split.train, progress)
    report = auto.engine.fusion_report()
    if report is None:
        raise RuntimeError("the default engine learns nothing, so there is nothing to compare")
    lists = retrieve_lists(auto.engine, split, KS[-1], progress=progress)
    if lists.fused is None:
        raise RuntimeError("no fused lists were asked for")
    values = {FUSED: values_of(lists.fused, split)}
    plain = fit(paths_alone(auto.engine.config, report), split.train, progress)
    values |= {
        name: values_of(batch, split)
        for name, batch in retrieve_lists(plain.engine, split, None, progress=progress).paths.items()
    }
    gains = fusion_gains(values, COMPARED, KS)
    return {
        "case": one.name,
        "generated": GENERATED.get(one.name),
        "statement": split.describe(),
        "n_users": split.users.size,
        "ks": KS,
        "fit": {"wall_s": auto.wall_s, "cpu_s": auto.cpu_s},
        "fit_of_paths_alone": {"wall_s": plain.wall_s, "cpu_s": plain.cpu_s},
        "figures": {name: means(own) for name, own in values.items()},
        "cells": [gain.to_dict() for gain in gains],
        "learned": compare_forms(report, lists),
        "report": kept_of(report),
    }


def paths_alone(config: EngineConfig, report: FusionReport) -> EngineConfig:
    """The same paths with the settings that were chosen, all fitted on everything.

    Each has the random stream of its position, so that its list is the one that it has where no other is fitted.
    """
    fixed = report.apply_to(config)
    return fixed.model_copy(update={"fusion": FusionConfig(strategy="rrf"), "segments": ()})


def values_of(lists: RankedBatch | FusedBatch, split: Split) -> Values:
    """Recall and NDCG of each user, float64 (2, n_users, n_ks)."""
    values = user_metrics(lists.offsets, lists.items, split.offsets, split.targets, KS)
    return values[[METRICS.index(metric) for metric in COMPARED]]


def means(values: Values) -> dict[str, list[float]]:
    """Means over users by metric, one for each k."""
    return {metric: own.mean(axis=0).tolist() for metric, own in zip(COMPARED, values, strict=True)}


def compare_forms(report: FusionReport, lists: Retrieved) -> dict[str, Any] | None:
    """`learned` beside the best other weighted fusion from the same hold-out; None without both.

    The hold-out says which is the best of its kind. The same lists of all paths are fused, without backfill.
    """
    names = tuple(lists.paths)
    asked = KnownLists(
        names,
        tuple(lists.paths.values()),
        tuple(lists.quotas[name] for name in names),
        lists.split.offsets,
        lists.split.targets,
        np.arange(lists.split.users.size),
        history_lengths(lists.split),
    )
    ours, rival = best_of(report, ("learned",)), best_of(report, PLAIN)
    if ours is None or rival is None:
        return None
    fused = (tuned_fusion(report, name, names).fuse(asked, KS[-1]) for name in (ours, rival))
    own, other = (values_of(one, lists.split) for one in fused)
    return {
        "learned": ours,
        "rival": rival,
        "cells": [
            {
                "metric": metric,
                "k": k,
                "learned": float(own[row, :, column].mean()),
                "rival": float(other[row, :, column].mean()),
                "gain": gain_of(own[row, :, column] - other[row, :, column]),
            }
            for row, metric in enumerate(COMPARED)
            for column, k in enumerate(KS)
        ],
    }


def best_of(report: FusionReport, strategies: Iterable[str]) -> str | None:
    """The name of the best fusion of these plug-ins on the hold-out, of those whose weights were learned."""
    names = (trial.name for trial in report.trials if trial.name in report.tuned)
    return next((name for name in names if report.tuned[name]["strategy"] in strategies), None)


def tuned_fusion(report: FusionReport, name: str, paths: tuple[str, ...]) -> FusionChoice:
    """A fusion that was learned, for these paths."""
    one = report.tuned[name]
    return FusionChoice(one["strategy"], one["params"], tuple(one["weights"].get(path, 0.0) for path in paths))


def gain_of(differences: Values) -> dict[str, float]:
    """The mean of differences by user with its interval."""
    found = interval(differences)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def kept_of(report: FusionReport) -> dict[str, Any]:
    """What was learned, from what, and what it took, without the steps of the search."""
    left_out = {"choices", "steps", "tuned", "refits"}
    return {name: value for name, value in report.to_dict().items() if name not in left_out}


def summarise(found: dict[str, Any]) -> str:
    """A line for each comparison."""
    lines = [f"{found['case']}: {found['statement']}", found["report"]["statement"]]
    lines += [
        f"  {cell['metric']}@{cell['k']}: {cell['fused']:.4f} against {cell['best']:.4f} {cell['path']}, "
        f"{cell['gain']['mean']:+.4f} [{cell['gain']['low']:+.4f}, {cell['gain']['high']:+.4f}] {cell['outcome']}"
        for cell in found["cells"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
