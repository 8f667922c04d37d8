"""The quality of each path and of the fused list on real logs, or on one of your own, under any config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from _cases import CASES, PUBLISHED, choose_cases
from _harness import fit_times, write

from multirecall import Engine
from multirecall.evaluation import METRICS, Retrieved, Split, latencies, retrieve_lists, score_lists, user_metrics
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.progress import Progress, terminal_progress
from multirecall.registry import FUSIONS, fusion_class

KS = (10, 20, 100, 500)
ALL = CASES | PUBLISHED
SHOWN = (("recall", 20), ("ndcg", 20), ("hit_rate", 10), ("ndcg", 10), ("recall", 100))


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    case: Annotated[
        list[str] | None, typer.Option(help=f"Repeat for several; default: all of {', '.join(ALL)}.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file; default: the default paths.")] = None,
    out: Annotated[str, typer.Option(help="Name of the result files in benchmarks/results.")] = "quality",
) -> None:
    """Fit on the training part of each case and score every path, every fusion at its defaults and the config's own."""
    results = []
    with terminal_progress() as progress:
        for one in choose_cases(case, ALL):
            split = one.split(data)
            results.append({"case": one.name, **measure_split(split, config, progress)})
            typer.echo(markdown(results[-1]))
    file = write(out, {"ks": KS, "config": config.name if config else "default", "cases": results})
    file.with_suffix(".md").write_text("\n\n".join(map(markdown, results)) + "\n", encoding="utf-8")
    typer.echo(file)


def measure_split(split: Split, config: Path | None, progress: Progress) -> dict[str, Any]:
    """The figures of one split."""
    engine = Engine.from_toml(config) if config else Engine()
    fit_cpu_s = fit_times(engine, split.train, progress)
    lists = retrieve_lists(engine, split, KS[-1], progress=progress)
    return {
        "seen": split.seen,
        "split": split.name,
        "statement": split.describe(),
        "n_users": split.users.size,
        "n_targets": split.targets.size,
        "n_unknown_users": split.n_unknown_users,
        "fit_cpu_s": fit_cpu_s,
        "ms": latencies(engine, split, KS[-1]),
        "report": score_lists(lists, KS).to_dict(),
        "lists": recalls(engine, lists),
    }


def recalls(engine: Engine, lists: Retrieved) -> dict[str, list[float]]:
    """Recall at each k of each path, and of what each installed fusion makes of them with its defaults."""
    settings = {path.name: path for path in engine.config.paths}
    quotas = [settings[path].quota for path in lists.paths]
    found = {path: recall(batch, lists.split) for path, batch in lists.paths.items()}
    for name in (one.name for one in FUSIONS.listings() if one.fault is None):
        plugin = fusion_class(name)
        fused = plugin(plugin.Config()).fuse_batch([*lists.paths.values()], [1.0] * len(quotas), quotas, KS[-1])
        found[f"fused by {name}"] = recall(fused, lists.split)
    return found


def recall(lists: RankedBatch | FusedBatch, split: Split) -> list[float]:
    """Mean recall at each k."""
    values = user_metrics(lists.offsets, lists.items, split.offsets, split.targets, KS)
    return [float(value) for value in values[METRICS.index("recall")].mean(axis=0)]


def markdown(result: dict[str, Any]) -> str:
    """A Markdown table of a case: each path and the fused list, Recall with its interval."""
    report = result["report"]
    lines = [
        f"**{result['case']}**: {result['statement']}; fitted in {result['fit_cpu_s']['fused']:.0f} CPU s.",
        "",
        "| list | " + " | ".join(f"{metric}@{k}" for metric, k in SHOWN) + " | 95 % of recall@20 |",
        "| --- |" + " ---: |" * (len(SHOWN) + 1),
    ]
    for name, figures in report["figures"].items():
        low, high = report["intervals"][name]["recall"][KS.index(20)]
        cells = (f"{figures[metric][KS.index(k)]:.4f}" for metric, k in SHOWN)
        lines.append(f"| {name} | {' | '.join(cells)} | {low:.4f}–{high:.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
