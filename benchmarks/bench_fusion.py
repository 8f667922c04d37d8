"""Fusing five lists of 500 into 500, beside a dictionary and, where it is installed, ranx, in one run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from statistics import median
from time import process_time
from typing import Annotated, Any

import numpy as np
import typer
from _harness import write

from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import terminal_progress
from multirecall.protocols import Fusion
from multirecall.registry import fusion_class

SEED = 7
N_PATHS, QUOTA, K = 5, 500, 500
WEIGHTS = [1.0, 0.8, 0.7, 1.2, 0.5]
LEARNED = {
    "intercept": -6.0,
    "paths": {
        f"path_{path}": {"presence": 0.4, "log_rank": 0.5, "min_max": 1.0, "reciprocal_rank": 0.8, "z_score": 0.3}
        for path in range(N_PATHS)
    },
}
NORMALISERS = ("min_max", "sum", "rank", "z_score", "dbsf", "none")
Lists = list[RankedList]


def main(
    users: Annotated[int, typer.Option(help="Users, each with lists of their own.")] = 200,
    runs: Annotated[int, typer.Option(help="Runs, of which the median counts.")] = 7,
    overlap: Annotated[int, typer.Option(help="Items that the lists of a user are drawn from.")] = 2_000,
) -> None:
    """Time one call for each user from Python, and one call for all; CPU time, one thread, compile time excluded."""
    everyone = some_users(users, overlap)
    batches = [RankedBatch.from_lists([lists[path] for lists in everyone]) for path in range(N_PATHS)]
    fusions = {"rrf": new("rrf", {})}
    fusions |= {f"weighted_sum, {name}": new("weighted_sum", {"normaliser": name}) for name in NORMALISERS}
    fusions["learned"] = new("learned", LEARNED)
    work: dict[str, Callable[[], object]] = {}
    for name, fusion in fusions.items():
        work[f"{name}: fuse"] = lambda fusion=fusion: [  # type: ignore[misc]
            fusion.fuse(lists, WEIGHTS, [QUOTA] * N_PATHS, K) for lists in everyone
        ]
        work[f"{name}: fuse_batch"] = lambda fusion=fusion: fusion.fuse_batch(  # type: ignore[misc]
            batches, WEIGHTS, [QUOTA] * N_PATHS, K
        )
    work["rrf: dictionary"] = lambda: [with_dictionary(lists) for lists in everyone]
    if find_spec("ranx"):
        work["rrf: ranx, its runs already built"] = ranx(everyone)
    times: dict[str, list[float]] = defaultdict(list)
    with terminal_progress() as progress, progress.task("runs", runs + 1) as advance:
        for run in range(runs + 1):
            for name, one in work.items():
                start = process_time()
                one()
                if run:
                    times[name].append((process_time() - start) / users * 1e6)
            advance(1)
    figures = {name: {"cpu_us": median(values), "best_cpu_us": min(values)} for name, values in times.items()}
    for name, row in figures.items():
        typer.echo(f"{name:36} " + "  ".join(f"{key} {value:8.1f}" for key, value in row.items()))
    settings = {"users": users, "paths": N_PATHS, "quota": QUOTA, "k": K, "drawn_from": overlap, "runs": runs}
    peers = {"ranx": version("ranx")} if find_spec("ranx") else {}
    typer.echo(write("fusion", {**settings, "threads": 1, "seed": SEED, "peers": peers, "per_user": figures}))


def new(name: str, params: dict[str, Any]) -> Fusion:
    """A fusion with its settings."""
    fusion = fusion_class(name)
    return fusion(fusion.Config.model_validate(params))


def some_users(n: int, drawn_from: int) -> list[Lists]:
    """Five overlapping lists for each user, out of 100,000 items."""
    rng = np.random.default_rng(SEED)
    everyone = []
    for _ in range(n):
        pool = rng.choice(100_000, drawn_from, replace=False).astype(np.int32)
        scores = np.sort(rng.gamma(2.0, 1.0, (N_PATHS, QUOTA)).astype(np.float32))[:, ::-1]
        everyone.append([RankedList(rng.permutation(pool)[:QUOTA].copy(), np.ascontiguousarray(one)) for one in scores])
    return everyone


def with_dictionary(lists: Sequence[RankedList]) -> list[tuple[int, float, dict[int, int]]]:
    """Reciprocal rank fusion as one would write it first, ranks kept."""
    scores: dict[int, float] = defaultdict(float)
    ranks: dict[int, dict[int, int]] = defaultdict(dict)
    for path, (ranked, weight) in enumerate(zip(lists, WEIGHTS, strict=True)):
        for rank, item in enumerate(ranked.items.tolist()):
            scores[item] += weight / (61.0 + rank)
            ranks[item][path] = rank
    best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:K]
    return [(item, score, ranks[item]) for item, score in best]


def ranx(everyone: Sequence[Lists]) -> Callable[[], object]:
    """The library's reciprocal rank fusion of all users, without weights, which it does not have there."""
    library = import_module("ranx")
    runs = [
        library.Run(
            {
                str(user): {str(item): float(QUOTA - rank) for rank, item in enumerate(lists[path].items.tolist())}
                for user, lists in enumerate(everyone)
            }
        )
        for path in range(N_PATHS)
    ]
    return lambda: library.fuse(runs=runs, norm=None, method="rrf")


if __name__ == "__main__":
    typer.run(main)
