"""CPU time a user of `retrieve` and of `retrieve_batch`, by path, beside implicit's ALS and Faiss: one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import thread_time
from typing import Annotated, Any

import faiss
import implicit
import numpy as np
import typer
from _generated import folder_of, train_or_load
from _harness import write
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.datasets import generate
from multirecall.engine.request import read_filters, read_queries
from multirecall.progress import Progress, terminal_progress
from multirecall.query import Query

SEED = 7
PATHS = (
    PathConfig(retriever="als"),
    PathConfig(retriever="user_cf"),
    PathConfig(retriever="two_tower", params={"epochs": 1}),  # what a search takes does not depend on the fit
)


def main(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder with interactions.parquet, as ml-1m; default: a generated log.")
    ] = None,
    items: Annotated[int, typer.Option(help="Items of the generated log, whose engine is that of bench_latency.")] = 0,
    users: Annotated[int, typer.Option(help="Users of a batch, drawn at random.")] = 1_000,
    k: Annotated[int, typer.Option(help="Items of a list.")] = 500,
    rounds: Annotated[int, typer.Option(help="Rounds; the median counts.")] = 7,
    recall: Annotated[float, typer.Option(help="Recall of two_tower's index over the generated log.")] = 0.97,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps the fitted engine for later runs.")] = None,
    name: Annotated[str, typer.Option(help="Name of the result.")] = "batch",
) -> None:
    """Ask each path for the same users one by one and in one batch, turn by turn, and compare the lists.

    Of the engine, whole requests are timed, with all paths, filters and fusion. implicit folds users in anew as `als`
    does (`recalculate_user`), and leaves out what they had. Faiss searches the vectors of `two_tower` with the fewest
    cells (IVF1024,Flat) that find at least what its own index finds. Compile time is excluded.
    """
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1), terminal_progress() as progress:
        engine = generated(items, cache, recall, progress) if folder is None else fit_or_load(folder, cache, progress)
        state = engine._current()
        asked = state.data.users.ids.ids(
            np.random.default_rng(SEED).choice(state.data.n_users, users, replace=False)
        ).tolist()
        queries = read_queries(state.data, asked, read_filters(state, None, None, seen=False), {})
        works: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            path.name: of_path(path.retriever, queries, k) for path in state.paths
        }
        works["engine"] = (
            lambda: [engine.retrieve(user, k) for user in asked],
            lambda: engine.retrieve_batch(asked, k),
        )
        works["implicit ALS"] = of_implicit(state.data, asked, k)
        if folder is None:
            works["Faiss search"], found = of_faiss(state.paths[0].retriever, queries, k)
        for path in state.paths:
            assert_equal(*(work() for work in works[path.name]))
        requests, batch = (work() for work in works["engine"])
        for place, one in enumerate(requests):
            np.testing.assert_array_equal(one.ids, batch[place].ids)
        times = time_works(works, rounds, progress)
    figures = {one: [1e6 * seconds / users for seconds in both] for one, both in times.items()}
    for one, (single, batch) in figures.items():
        typer.echo(f"{one}: {single:.0f} µs one by one, {batch:.0f} µs in a batch, {single / batch:.1f} times as fast")
    result = {
        "data": "a generated log" if folder is None else folder.name,
        "paths": list(state.names),
        "items": state.data.n_items,
        "users": users,
        "mean_history": float(np.mean([query.history.size for query in queries])),
        "k": k,
        "threads": 1,
        "rounds": rounds,
        "seed": SEED,
        "implicit": implicit.__version__,
        "faiss": {"version": faiss.__version__, **found} if folder is None else None,
        "us_per_user": {one: {"single": both[0], "batch": both[1]} for one, both in figures.items()},
    }
    typer.echo(write(name, result))


def fit_or_load(folder: Path, cache: Path | None, progress: Progress) -> Engine:
    """The engine, from `cache` if it is there."""
    if cache is not None and cache.exists():
        return Engine.load(cache)
    tables = [folder / f"{table}.parquet" for table in ("items", "users")]
    items, owners = (file if file.is_file() else None for file in tables)
    data = Dataset.load(folder / "interactions.parquet", items, owners)
    engine = Engine(EngineConfig(paths=PATHS, seed=SEED)).fit(data, progress=progress)
    if cache is not None:
        engine.save(cache)
    return engine


def generated(items: int, cache: Path | None, recall: float, progress: Progress) -> Engine:
    """The engine of `bench_latency` on a generated log."""
    events = min(20 * items, 2_000_000)
    log = generate(items // 2, items, events)
    data = Dataset.from_frames(log.interactions, log.items, log.users)
    home = None if cache is None else folder_of(cache, items, data.n_users, events, "trained") / f"engine-{recall}"
    return train_or_load(data, home, progress, recall)


def of_faiss(
    tower: Any, queries: Sequence[Query], k: int
) -> tuple[tuple[Callable[[], Any], Callable[[], Any]], dict[str, Any]]:
    """The search alone over the vectors of a tower, one by one and in one batch; cells and recall of both."""
    vectors = np.concatenate([tower.user_vectors(query) for query in queries])
    stored = tower._index.vectors
    best = [stored.scan(stored.query(vector)[0], k).items for vector in vectors]
    own = float(
        np.mean([np.isin(one, tower._index.search(v, k).items).mean() for one, v in zip(best, vectors, strict=True)])
    )
    index: Any = faiss.index_factory(vectors.shape[1], "IVF1024,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(stored.values)
    index.add(stored.values)
    share, cells = 0.0, 0
    while share < own and cells < 1024:
        cells += 4
        index.nprobe = cells
        pairs = zip(best, index.search(vectors, k)[1], strict=True)
        share = float(np.mean([np.isin(one, stored.rows[places]).mean() for one, places in pairs]))
    work = (lambda: [index.search(vector[None], k) for vector in vectors]), (lambda: index.search(vectors, k))
    return work, {"index": "IVF1024,Flat", "nprobe": cells, "recall": share, "two_tower": own}


def of_path(retriever: Any, queries: Sequence[Query], k: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A path's lists of all users, one by one and in one batch."""
    return lambda: [retriever.retrieve(query, k) for query in queries], lambda: retriever.retrieve_batch(queries, k)


def of_implicit(data: Dataset, users: Sequence[Any], k: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same of implicit's model, fitted for one epoch on the same log."""
    matrix = csr_matrix(data.interactions.matrix)
    model = implicit.als.AlternatingLeastSquares(factors=64, iterations=1, num_threads=1, random_state=SEED)
    model.fit(matrix, show_progress=False)
    rows = data.users.ids.rows(users)
    histories = matrix[rows]
    keys = {"N": k, "recalculate_user": True, "filter_already_liked_items": True}
    return (
        lambda: [model.recommend(row, histories[place], **keys) for place, row in enumerate(rows.tolist())],
        lambda: model.recommend(rows, histories, **keys),
    )


def assert_equal(single: Sequence[Any], batch: Any) -> None:
    """Refuse to time lists that differ."""
    for place, one in enumerate(single):
        np.testing.assert_array_equal(one.items, batch[place].items)
        np.testing.assert_array_equal(one.scores, batch[place].scores)


def time_works(
    works: dict[str, tuple[Callable[[], Any], Callable[[], Any]]], rounds: int, progress: Progress
) -> dict[str, list[float]]:
    """The median CPU seconds of each work, all in turn."""
    times: dict[str, list[list[float]]] = {name: [[], []] for name in works}
    for both in works.values():
        for work in both:
            work()
    with progress.task("rounds", rounds) as advance:
        for _ in range(rounds):
            for name, both in works.items():
                for place, work in enumerate(both):
                    start = thread_time()
                    work()
                    times[name][place].append(thread_time() - start)
            advance(1)
    return {name: [float(np.median(one)) for one in both] for name, both in times.items()}


if __name__ == "__main__":
    typer.run(main)
