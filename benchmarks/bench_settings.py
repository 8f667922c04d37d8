"""What a log's own choice of settings finds, beside the priors and beside the best of a wide grid."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Annotated, Any

import numpy as np
import typer
from _cases import CASES, Case, choose_cases
from _harness import RESULTS, write

from multirecall import Dataset, EngineConfig, PathConfig
from multirecall.datasets import generate
from multirecall.engine.fitting import settle_settings
from multirecall.errors import CannotFit
from multirecall.evaluation import Split, leave_last_out, time_split
from multirecall.lists import RankedBatch
from multirecall.metrics import METRICS, user_metrics
from multirecall.progress import SILENT, Progress, terminal_progress
from multirecall.query import Query
from multirecall.registry import retriever_class

K, SEED, MOST_USERS = 20, 7, 2_000
OUT = "settings"
GOALS = {"last": "next", "time": "while", "random": None}
"""What is held out to choose on, by how a case is split, so that requests resemble those of the test part."""

NOTE = (
    "the priors, the choice and each draw of a wide grid are fitted on the whole training part and scored on the same "
    "users of the test part; the choice has seen the training part only, while the best of the grid is the best on "
    "the test part, so that it profits from chance"
)

Draw = Callable[[np.random.Generator], dict[str, Any]]


def _any(*values: Any) -> Callable[[np.random.Generator], Any]:
    return lambda rng: values[int(rng.integers(len(values)))]


def _log(low: float, high: float) -> Callable[[np.random.Generator], Any]:
    return lambda rng: float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _even(low: float, high: float) -> Callable[[np.random.Generator], Any]:
    return lambda rng: float(rng.uniform(low, high))


GRIDS: dict[str, dict[str, Callable[[np.random.Generator], Any]]] = {
    "item_cf": {
        "user_exponent": _even(0, 1.2),
        "source_exponent": _even(0, 1.2),
        "target_exponent": _even(0, 1.2),
        "half_life": _any(1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, None),
    },
    "graph_filter": {
        "dim": _any(64, 128, 256, 512),
        "user_exponent": _even(0, 0.8),
        "item_exponent": _even(0.2, 0.8),
        "target_exponent": _even(0, 0.8),
        "first_order": _any(0.0, 0.0, 0.3, 1.0, 3.0),
    },
    "ease": {"form": _any("auto", "sparse"), "regularisation": _log(5, 5_000)},
    "als": {"unobserved": _log(0.003, 3.0), "regularisation": _log(0.2, 50)},
    "user_cf": {
        "idf_exponent": _even(0, 2),
        "user_exponent": _even(0, 1),
        "similarity_exponent": _even(0.5, 3),
        "target_exponent": _even(0, 0.8),
    },
}
"""The ranges that the settings of each draw come from."""


def _small(data: Path) -> Split:
    folder = data / "ml-latest-small"
    return leave_last_out(Dataset.load(folder / "interactions.parquet", folder / "items.parquet"))


def _generated(users: int, items: int, events: int, days: int, seed: int) -> Callable[[Path], Split]:
    return lambda _: time_split(Dataset.from_frames(*generate(users, items, events, days=days, seed=seed)))


LOGS = {
    **{name: CASES[name] for name in ("ml-1m-last", "online-retail-new", "amazon-cds", "amazon-beauty")},
    "ml-latest-small": Case("ml-latest-small", _small, "last", "next"),
    "generated-1": Case("generated-1", _generated(2_000, 3_000, 120_000, 180, 1), "time", "while"),
    "generated-2": Case("generated-2", _generated(1_000, 1_500, 60_000, 90, 2), "time", "while"),
    "generated-3": Case("generated-3", _generated(4_000, 8_000, 200_000, 180, 3), "time", "while"),
}


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    case: Annotated[
        list[str] | None, typer.Option(help=f"Repeat for several; default: all of {', '.join(LOGS)}.")
    ] = None,
    retriever: Annotated[
        list[str] | None, typer.Option(help=f"Repeat for several; default: all of {', '.join(GRIDS)}.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Combinations of the wide grid.")] = 30,
) -> None:
    """Choose the settings of each retriever on each log, and fit priors, choice and a wide grid on it.

    The result file keeps what earlier runs have measured of other cases and retrievers.
    """
    names = retriever or list(GRIDS)
    with terminal_progress() as progress:
        for one in choose_cases(case, LOGS):
            split = _some_users(one.split(data))
            with progress.task(one.name, len(names)) as advance:
                for name in names:
                    row = {"case": one.name, "retriever": name, **measure(name, one, split, draws, progress)}
                    typer.echo(_line(row))
                    _keep(row)
                    advance(1)


def measure(name: str, case: Case, split: Split, draws: int, progress: Progress) -> dict[str, Any]:
    """The figures of one retriever on one log."""
    plugin = retriever_class(name)
    queries = _queries(split)

    def recall(settings: dict[str, Any]) -> float:
        path = plugin(plugin.Config.model_validate(settings))
        try:
            path.fit(split.train, rng=np.random.default_rng(SEED), progress=SILENT)
        except CannotFit:
            return 0.0
        return _recall(path.retrieve_batch(queries, K), split)

    start = process_time()
    config = EngineConfig(seed=SEED, paths=(PathConfig(retriever=name),))
    report = settle_settings(config, split.train, GOALS[case.tuned_by], SILENT)  # type: ignore[arg-type]
    seconds = process_time() - start
    chosen = report.settings[name]
    choice = report.choices.get(name)
    found = {"priors": recall({}), "chosen": recall(chosen)}
    rng, grid = np.random.default_rng(SEED), GRIDS[name]
    tried = []
    with progress.task(f"{case.name}, {name}: wide grid", draws) as advance:
        for _ in range(draws):
            drawn = {setting: draw(rng) for setting, draw in grid.items()}
            tried.append((recall(drawn), drawn))
            advance(1)
    best, settings = max(tried, key=lambda pair: pair[0])
    best = max(best, *found.values())
    return {
        "users": split.users.size,
        "tried": choice.n_tried if choice else 0,
        "kept": bool(choice and choice.kept),
        "chosen": chosen,
        "seconds": seconds,
        "recall": {**found, "best": best},
        "best_drawn": settings,
        "draws": draws,
    }


def _some_users(split: Split) -> Split:
    if split.users.size <= MOST_USERS:
        return split
    drawn = np.random.default_rng(SEED).choice(split.users.size, MOST_USERS, replace=False)
    return split.take(np.sort(drawn), split.name)


def _queries(split: Split) -> list[Query]:
    """The requests of the test users, without what they have already."""
    data, queries = split.train, []
    for user in data.users.ids.rows(split.users).tolist():
        own = data.history(user)
        query = Query(user, own.items, own.weights, own.times, data.log.base.ordered, now=data.now)
        queries.append(query if split.seen else replace(query, exclude=np.unique(own.items)))
    return queries


def _recall(lists: RankedBatch, split: Split) -> float:
    values = user_metrics(lists.offsets, lists.items, split.offsets, split.targets, [K])
    return float(values[METRICS.index("recall")].mean())


def _keep(row: dict[str, Any]) -> None:
    """Put a row into the result file, in place of an older one of its case and retriever."""
    file = RESULTS / f"{OUT}.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    kept = {(one["case"], one["retriever"]): one for one in [*rows, row]}
    write(
        OUT, {"k": K, "seed": SEED, "note": NOTE, "rows": list(kept.values()), "summary": summarise([*kept.values()])}
    )


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean and least of what the priors and the choice have of the best."""
    shares = {
        name: [row["recall"][name] / row["recall"]["best"] for row in rows if row["recall"]["best"]]
        for name in ("priors", "chosen")
    }
    return {
        f"{name}, {label}": f(values)
        for name, values in shares.items()
        for label, f in (("mean", lambda one: float(np.mean(one))), ("least", min))
    }


def _line(row: dict[str, Any]) -> str:
    recall = row["recall"]
    shares = {name: found / max(recall["best"], 1e-12) for name, found in recall.items()}
    return (
        f"{row['case']:18} {row['retriever']:12} priors {recall['priors']:.4f} ({shares['priors']:.3f})"
        f"  chosen {recall['chosen']:.4f} ({shares['chosen']:.3f})  best {recall['best']:.4f}"
        f"  {row['tried']} tried in {row['seconds']:.1f} s, kept {row['kept']}"
    )


if __name__ == "__main__":
    typer.run(main)
