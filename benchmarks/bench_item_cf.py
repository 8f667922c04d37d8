"""Item-CF beside implicit's CosineRecommender: the fit, and one user's answer, in one run."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from statistics import median
from time import perf_counter, thread_time
from typing import Annotated, Any

import numpy as np
import typer
from _harness import cost, write
from implicit.nearest_neighbours import CosineRecommender
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from multirecall.progress import SILENT, terminal_progress
from multirecall.query import Query
from multirecall.retrievers._neighbours.cooccurrence import cooccurrence_neighbours
from multirecall.retrievers.item_cf import ItemCF, ItemCFConfig

SEED = 1
PERCENTILES = (50, 95)
NOTE = (
    "One thread. Cosine in both: exponents 0 / .5 / .5 without shrinkage. implicit counts the item itself as a "
    "neighbour, so it keeps one more. An answer leaves out the user's own items. Compile time is left out: both first "
    "ran on a few users."
)


def main(
    users: Annotated[int, typer.Option(help="Users of the log.")] = 100_000,
    items: Annotated[int, typer.Option(help="Items of the log.")] = 50_000,
    events: Annotated[int, typer.Option(help="Pairs of user and item.")] = 4_900_000,
    neighbours: Annotated[int, typer.Option(help="Neighbours kept of each item.")] = 100,
    k: Annotated[int, typer.Option(help="Items asked for.")] = 500,
    requests: Annotated[int, typer.Option(help="Users asked one by one.")] = 1_000,
    runs: Annotated[int, typer.Option(help="Fits of each, in turn.")] = 3,
) -> None:
    """Fit both on a generated log with a long tail, then ask both for the same users."""
    matrix = draw_matrix(np.random.default_rng(SEED), users, items, events)
    theirs = csr_matrix(matrix)
    settings: dict[str, Any] = {
        "user_exponent": 0.0,
        "source_exponent": 0.5,
        "target_exponent": 0.5,
        "shrinkage": 0.0,
        "threads": 1,
    }

    def ours() -> Any:
        return cooccurrence_neighbours(matrix, **settings, n_neighbours=neighbours, progress=SILENT, task="fit")

    def peer(data: csr_matrix = theirs) -> CosineRecommender:
        model = CosineRecommender(K=neighbours + 1, num_threads=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(data, show_progress=False)
        return model

    cooccurrence_neighbours(matrix[:100], **settings, n_neighbours=neighbours, progress=SILENT, task="warm")
    peer(theirs[:100])
    fits: dict[str, list[tuple[float, float]]] = {"multirecall": [], "implicit": []}
    with terminal_progress() as progress:
        with progress.task("fits", 2 * runs) as advance:
            for _ in range(runs):
                for name, fit in (("multirecall", ours), ("implicit", peer)):
                    fits[name].append(tuple(cost(fit, 1)))  # type: ignore[arg-type]
                    advance(1)
        path = ItemCF(ItemCFConfig(neighbours=neighbours, half_life=None, **settings))
        path._neighbours = ours()
        model = peer()
        asked = np.random.default_rng(SEED).choice(np.flatnonzero(np.diff(matrix.indptr)), requests)
        queries = [query_of(matrix, int(user)) for user in asked]
        times: dict[str, list[tuple[float, float]]] = {"multirecall": [], "implicit": []}
        with progress.task("requests", requests) as advance:
            for user, query in zip(asked, queries, strict=True):
                row = theirs[user]
                times["multirecall"].append(took(lambda query=query: path.retrieve(query, k)))
                times["implicit"].append(took(lambda user=user, row=row: model.recommend(user, row, N=k)))
                advance(1)
        shared = [overlap(path, model, theirs, int(user), query) for user, query in zip(asked, queries, strict=True)]
    fitted = {name: dict(zip(("wall_s", "cpu_s"), np.median(row, axis=0), strict=True)) for name, row in fits.items()}
    served = {
        name: {
            **{f"p{one}_us": float(np.percentile([wall for wall, _ in row], one)) for one in PERCENTILES},
            "cpu_p50_us": median(cpu for _, cpu in row),
        }
        for name, row in times.items()
    }
    figures = {
        "users": users,
        "items": items,
        "events": events,
        "pairs": int((np.diff(matrix.indptr).astype(np.int64) ** 2).sum()),
        "neighbours": neighbours,
        "k": k,
        "requests": requests,
        "runs": runs,
        "threads": 1,
        "seed": SEED,
        "peer": f"implicit {version('implicit')} CosineRecommender",
        "note": NOTE,
        "share_of_implicit_top_20_that_is_ours": float(np.mean(shared)),
        "fit": fitted,
        "request": served,
        "ratios": {
            "fit": fitted["implicit"]["cpu_s"] / fitted["multirecall"]["cpu_s"],
            "request": served["implicit"]["cpu_p50_us"] / served["multirecall"]["cpu_p50_us"],
        },
    }
    for name in ("fit", "request", "ratios"):
        typer.echo(f"{name:8} {figures[name]}")
    typer.echo(write("item_cf", figures))


def draw_matrix(rng: np.random.Generator, users: int, items: int, events: int) -> csr_array:
    """Users × items with a long tail of both; a pair stands once."""
    keys = np.empty(0, np.int64)
    while keys.size < events:
        rows = (users * rng.random(events) ** 1.5).astype(np.int64)
        keys = np.unique(np.concatenate([keys, rows * items + (items * rng.random(events) ** 2).astype(np.int64)]))
    rows, columns = np.divmod(np.sort(rng.permutation(keys)[:events]), items)
    return csr_array((np.ones(events, np.float32), (rows, columns)), shape=(users, items))


def query_of(matrix: csr_array, user: int) -> Query:
    """The request of a user for items that they have not met."""
    history: NDArray[np.int32] = matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]].astype(np.int32)
    return Query(user, history, np.ones(history.size, np.float32), ordered=False, exclude=np.sort(history))


def took(work: Any) -> tuple[float, float]:
    """Wall and CPU microseconds of one call."""
    wall, cpu = perf_counter(), thread_time()
    work()
    return (perf_counter() - wall) * 1e6, (thread_time() - cpu) * 1e6


def overlap(path: ItemCF, model: CosineRecommender, matrix: csr_matrix, user: int, query: Query) -> float:
    """The share of the peer's first 20 items that are among ours; ties on the edge may differ."""
    theirs, _ = model.recommend(user, matrix[user], N=20)
    return float(np.isin(theirs, path.retrieve(query, 20).items).mean())


if __name__ == "__main__":
    typer.run(main)
