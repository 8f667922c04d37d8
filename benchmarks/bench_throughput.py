"""Users per second of `write_candidates`, beside what its paths and its fusion take by themselves, in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Annotated, Any

import numpy as np
import typer
from _generated import NOTE, PATHS, RECALL, fit_or_load, folder_of, item_vectors, use_generated_users
from _harness import rss_mib, write

from multirecall import Dataset, Engine
from multirecall.datasets import generate
from multirecall.engine.request import read_filters, read_queries
from multirecall.progress import Progress, terminal_progress

SEED = 7


def main(
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 100_000,
    users: Annotated[int, typer.Option(help="Users whose candidates are written.")] = 10_000,
    k: Annotated[int, typer.Option(help="Candidates of a user.")] = 500,
    chunks: Annotated[list[int] | None, typer.Option(help="Users in memory at a time; default: 1000 and 250.")] = None,
    rounds: Annotated[int, typer.Option(help="Files by each number of threads, in turn; the best counts.")] = 3,
    cache: Annotated[Path | None, typer.Option(help="Folder of built engines, shared with bench_latency.")] = None,
) -> None:
    """Write candidates of many users at several chunk sizes, and let each path and the fusion do the same alone.

    Paths, fusion and writing take turns chunk by chunk; CPU time of the parts is that of their thread, that of the
    whole also of the threads that encode the file. Compile time is excluded.
    """
    sizes = chunks or [1000, 250]
    events = min(20 * items, 2_000_000)
    with terminal_progress() as progress, tempfile.TemporaryDirectory() as scratch:
        log = generate(items // 2, items, events)
        data = Dataset.from_frames(log.interactions, log.items, log.users)
        vectors = item_vectors(data, SEED)
        folder = None if cache is None else folder_of(cache, items, data.n_users, events) / f"engine-{RECALL}"
        with use_generated_users(vectors):
            engine = fit_or_load(data, vectors, SEED, folder, progress)
            known = np.unique(data.interactions.users)
            asked = data.users.ids.ids(np.random.default_rng(SEED).choice(known, min(users, known.size), replace=False))
            alone = {name: [0.0, 0.0] for name in (*PATHS, "fusion")}
            runs = [run_of(engine, asked.tolist(), k, size, Path(scratch), alone, progress) for size in sizes]
            by_threads = threads_of(engine, asked.tolist(), k, sizes[0], Path(scratch), rounds)
    for threads, rate in by_threads.items():
        typer.echo(f"{threads} threads: {rate:.0f} users/s")
    for run in runs:
        typer.echo(
            f"chunk {run['chunk']}: {run['users_per_wall_s']:.0f} users/s, {run['wall_share']:.2f} of what paths and "
            f"fusion alone would give ({run['cpu_share']:.2f} by CPU time), {run['growth_mib']:.0f} MiB at most"
        )
    typer.echo(
        write(
            "throughput",
            {
                "items": data.n_items,
                "users": asked.size,
                "interactions": len(data.interactions),
                "k": k,
                "paths": PATHS,
                "quota": 500,
                "threads": 1,
                "seed": SEED,
                "generated": NOTE,
                "runs": runs,
                "users_per_wall_s_by_threads": by_threads,
            },
        )
    )


def run_of(
    engine: Engine,
    users: list[Any],
    k: int,
    chunk: int,
    scratch: Path,
    alone: dict[str, list[float]],
    progress: Progress,
) -> dict[str, Any]:
    """One file of all users, and beside each of its chunks the parts alone; seconds a user."""
    alone = {name: [0.0, 0.0] for name in alone}
    beside = [0.0, 0.0]
    engine.write_candidates(users[:64], scratch / "warm.parquet", k, chunk=32)
    before = peak = rss_mib()
    with progress.task(f"users, {chunk} at a time", len(users)) as advance:

        def feed() -> Iterator[Any]:
            nonlocal peak
            for start in range(0, len(users), chunk):
                part = users[start : start + chunk]
                peak = max(peak, rss_mib())
                clock = perf_counter(), thread_time()
                parts_alone(engine, part, k, alone)
                beside[0] += perf_counter() - clock[0]
                beside[1] += thread_time() - clock[1]
                yield from part
                advance(len(part))

        wall, cpu = perf_counter(), process_time()
        engine.write_candidates(feed(), scratch / f"{chunk}.parquet", k, chunk=chunk, threads=1)
        wall, cpu = perf_counter() - wall - beside[0], process_time() - cpu - beside[1]
    floor = [sum(times[clock] for times in alone.values()) for clock in (0, 1)]
    return {
        "chunk": chunk,
        "users_per_wall_s": len(users) / wall,
        "users_per_cpu_s": len(users) / cpu,
        "wall_share": floor[0] / wall,
        "cpu_share": floor[1] / cpu,
        "growth_mib": max(peak, rss_mib()) - before,
        "cpu_us_per_user": {name: times[1] / len(users) * 1e6 for name, times in alone.items()}
        | {"write_candidates": cpu / len(users) * 1e6},
    }


def threads_of(engine: Engine, users: list[Any], k: int, chunk: int, scratch: Path, rounds: int) -> dict[str, float]:
    """Users per second of the wall clock by the number of threads, which write equal files; the best of several."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for threads in (1, 2):
            start = perf_counter()
            engine.write_candidates(users, scratch / f"{threads}.parquet", k, chunk=chunk, threads=threads)
            best[str(threads)] = max(best.get(str(threads), 0.0), len(users) / (perf_counter() - start))
        assert (scratch / "1.parquet").read_bytes() == (scratch / "2.parquet").read_bytes()
    return best


def parts_alone(engine: Engine, users: list[Any], k: int, alone: dict[str, list[float]]) -> None:
    """Let each path answer the users in a batch, then the fusion merge; adds wall and CPU seconds to `alone`."""
    state = engine._current()
    queries = read_queries(state.data, users, read_filters(state, None, None, seen=False), {})

    def time_work(name: str, work: Callable[[], Any]) -> Any:
        wall, cpu = perf_counter(), thread_time()
        answer = work()
        alone[name][0] += perf_counter() - wall
        alone[name][1] += thread_time() - cpu
        return answer

    batches = [
        time_work(path.name, lambda path=path: path.retriever.retrieve_batch(queries, path.quota))  # type: ignore[misc]
        for path in state.paths
    ]
    fusion = state.segments[-1].fusion
    time_work("fusion", lambda: fusion.fuse_batch(batches, [1.0] * len(batches), state.quotas, k))


if __name__ == "__main__":
    typer.run(main)
