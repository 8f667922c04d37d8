"""Turn an untuned config into a tuned one: `multirecall tune`, or with `--data` on the cases of bench_quality.py."""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from _cases import CASES, Case, choose_cases
from _harness import write

from multirecall import EngineConfig, MultirecallError
from multirecall.cli.tune import tune_command
from multirecall.evaluation import Interval
from multirecall.progress import Progress, terminal_progress
from multirecall.tuning import TuningConfig, compare_on, tune, write_config


def cases(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    case: Annotated[
        list[str] | None, typer.Option(help=f"Repeat for several; default: all of {', '.join(CASES)}.")
    ] = None,
) -> None:
    """Tune on the training part of each case and compare best path, equal weights and what was kept on its test part.

    Slices are held out of the training part alone; the test part is looked at once, by what was kept. Begins with the
    case's config in `configs/untuned`, and writes the tuned one into `configs`.
    """
    with terminal_progress() as progress:
        for one in choose_cases(case, CASES):
            result = tune_case(one, data, EngineConfig.from_toml(one.untuned), progress)
            typer.echo(markdown([result]))
            write(f"tuning-{one.name}", result)


def tune_case(one: Case, data: Path, start: EngineConfig, progress: Progress) -> dict[str, Any]:
    """Tune on the training part of a case, write the config, and measure on the test part."""
    settings = TuningConfig(metric=one.metric, k=one.k, split=one.tuned_by, seen=one.seen)
    split = one.split(data)
    began = perf_counter()
    tuned = tune(split.train, start, settings, progress=progress)
    tune_s = perf_counter() - began
    write_config(tuned, one.tuned)
    return {
        "case": one.name,
        "metric": f"{one.metric}@{one.k}",
        "statement": split.describe(),
        "tune_s": tune_s,
        "tuned": tuned.to_dict(),
        "test": compare_on(tuned, start, split, progress=progress).to_dict(),
    }


def markdown(results: list[dict[str, Any]]) -> str:
    """A Markdown table: a row for each case, with 95 % intervals."""
    lines = [
        "| case | metric | users | best path | which | equal weights | kept | which | over equal | over best path |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | --- | ---: | ---: |",
    ]
    for one in results:
        test, tuned = one["test"], one["tuned"]
        single = tuned["names"][[weight > 0 for weight in tuned["single"]["weights"]].index(True)]
        means = [Interval(**test[name]) for name in ("single", "plain", "tuned")]
        gains = [Interval(**test[name]) for name in ("over_plain", "over_single")]
        cells = [means[0], single, means[1], means[2], tuned["verdict"], *gains]
        lines.append(f"| {one['case']} | {one['metric']} | {test['n_users']:,} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        typer.run(cases if "--data" in sys.argv else tune_command)
    except MultirecallError as fault:
        sys.exit(f"error: {fault}")
