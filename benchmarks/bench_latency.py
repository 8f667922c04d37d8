"""How long `engine.retrieve` takes with five paths, beside ONE bare hnswlib search, in one run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event
from time import perf_counter, process_time
from typing import Annotated, Any
from unittest.mock import patch

import hnswlib
import numpy as np
import typer
from _generated import (
    DIM,
    NOTE,
    PATHS,
    RECALL,
    TRAINED_NOTE,
    fit_or_load,
    folder_of,
    item_vectors,
    train_or_load,
    use_generated_users,
)
from _harness import percentiles, write
from numpy.typing import NDArray

from multirecall import Dataset, Engine
from multirecall.datasets import generate
from multirecall.engine import answer
from multirecall.engine.request import read_filters, read_query
from multirecall.progress import Progress, terminal_progress

SEED = 7
WARM = 50
COMPARED = 60
MOST_TRAINED = 200_000
M = 24
Seconds = tuple[float, float]
"""Of the wall clock and of the CPU."""

Work = Callable[[str], object]

Target = tuple[Any, str, str]
"""An object, the name of one of its functions, and the stage that this function is."""


def main(
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 100_000,
    users: Annotated[
        int | None, typer.Option(help="Users of the generated log; default: half as many as items.")
    ] = None,
    interactions: Annotated[
        int | None, typer.Option(help="Events of the generated log; default: 20 for each item, 2,000,000 at most.")
    ] = None,
    k: Annotated[int, typer.Option(help="Candidates of a request.")] = 500,
    requests: Annotated[int, typer.Option(help="Users that ask every engine and hnswlib.")] = 500,
    runs: Annotated[int, typer.Option(help="Runs over all users; ratios are the medians of theirs.")] = 5,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps built indexes from run to run.")] = None,
    ef_construction: Annotated[int, typer.Option(help="Width of the build of hnswlib's graph.")] = 200,
    recall: Annotated[
        float, typer.Option(help="Recall of two_tower's index; the bare search's own makes a fair comparison.")
    ] = RECALL,
    generated: Annotated[
        bool | None,
        typer.Option("--generated/--trained", help="Vectors generated or trained; default: trained up to 200,000."),
    ] = None,
) -> None:
    """Time single requests on one thread; compile time is excluded.

    The engines and hnswlib take turns in random order, so that whatever else the machine does meets all of them, each
    for another user, so that none finds in the cache what the one before has read. Stages are timed in a second round,
    since a clock takes time itself.
    """
    events = interactions or min(20 * items, 2_000_000)
    with terminal_progress() as progress:
        log = generate(users or items // 2, items, events)
        data = Dataset.from_frames(log.interactions, log.items, log.users)
        generated = items > MOST_TRAINED if generated is None else generated
        kind = "generated" if generated else "trained"
        start = perf_counter()
        with ExitStack() as stack:
            root = cache or Path(stack.enter_context(TemporaryDirectory()))
            folder = folder_of(root, items, data.n_users, events, kind)
            bundle = folder / f"engine-{recall}"
            if generated:
                vectors, labels = item_vectors(data, SEED), np.arange(data.n_items, dtype=np.int32)
                stack.enter_context(use_generated_users(vectors))
                fit_or_load(data, vectors, SEED, bundle, progress, recall).close()
            else:
                train_or_load(data, bundle, progress, recall).close()
            engines = {
                name: stack.enter_context(Engine.load(bundle, large_pages=large))
                for name, large in (("rrf", False), ("rrf, large pages", True))
            }
            first = engines["rrf"]
            if not generated:
                stored = tower_of(first)._index.vectors
                vectors, labels = stored.values, stored.rows
            ready_s = perf_counter() - start
            bare = bare_index(vectors, ef_construction, folder, progress)
            asked = np.random.default_rng(SEED).choice(np.unique(data.interactions.users), requests + WARM)
            figures = measure(engines, bare, data.users.ids.ids(asked).tolist(), k, runs, progress)
            figures["recall"] = recalls(first, bare, labels, data.users.ids.ids(asked[:COMPARED]).tolist(), k)
    for name, row in figures["whole"].items():
        typer.echo(f"{name:14} " + "  ".join(f"{key} {value:8.0f}" for key, value in row.items()))
    typer.echo(f"p50 of rrf / p50 of one bare search: {figures['ratios']}")
    sizes = {"items": data.n_items, "users": data.n_users, "interactions": len(data.interactions), "k": k}
    settings = {"paths": PATHS, "quota": 500, "dim": DIM, "index_recall": recall, "threads": 1, "seed": SEED}
    peer = {"hnswlib": version("hnswlib"), "M": M, "ef_construction": ef_construction, "ef": [2 * k, k]}
    typer.echo(
        write(
            f"latency-{items}",
            {
                **sizes,
                **settings,
                "requests": requests,
                "runs": runs,
                "vectors": NOTE if generated else TRAINED_NOTE,
                "bare": peer,
                "ready_s": ready_s,
                **figures,
            },
        )
    )


def tower_of(engine: Engine) -> Any:
    """The retriever of the first path, `two_tower`."""
    return engine._current().paths[0].retriever


def bare_index(vectors: NDArray[np.float32], ef_construction: int, folder: Path, progress: Progress) -> Any:
    """The peer's own index over the vectors of two_tower, from `folder` where it is there."""
    index = hnswlib.Index("cosine", DIM)
    file = folder / "bare.hnsw"
    if file.is_file():
        index.load_index(str(file), max_elements=len(vectors))
    else:
        index.init_index(len(vectors), M=M, ef_construction=ef_construction, random_seed=SEED)
        with progress.task("bare hnswlib", len(vectors)) as advance:
            for part in np.array_split(np.arange(len(vectors)), max(len(vectors) // 2000, 1)):
                index.add_items(vectors[part], part)
                advance(part.size)
        index.save_index(str(file))
    index.set_num_threads(1)
    return index


def recalls(engine: Engine, bare: Any, labels: NDArray[np.int32], users: Sequence[str], k: int) -> dict[str, float]:
    """Share of the true first `k` of two_tower that its index finds, and the bare search at both widths."""
    state, tower = engine._current(), tower_of(engine)
    no_filters = read_filters(state, None, None, seen=True)
    shares: dict[str, list[float]] = defaultdict(list)
    for user in users:
        (query,) = tower.user_vectors(read_query(state.data, user, no_filters, {}))
        truth = tower._index.vectors.scan(tower._index.vectors.query(query)[0], k).items
        shares["two_tower"].append(np.isin(truth, tower._index.search(query, k).items).mean())
        for ef in (2 * k, k):
            bare.set_ef(ef)
            shares[f"bare, ef={ef}"].append(np.isin(truth, labels[bare.knn_query(query, k)[0][0]]).mean())
    return {name: float(np.mean(values)) for name, values in shares.items()}


def measure(
    engines: dict[str, Engine], bare: Any, users: Sequence[str], k: int, runs: int, progress: Progress
) -> dict[str, Any]:
    """Percentiles of every engine, of its stages and of the bare search at two widths."""
    first = next(iter(engines.values()))
    state, tower = first._current(), tower_of(first)
    data = state.data
    no_filters = read_filters(state, None, None, seen=False)

    def search(ef: int) -> Work:
        def work(user: str) -> object:
            query = vectors[user]
            bare.set_ef(ef)
            return bare.knn_query(query, k)

        return work

    vectors = {user: tower.user_vectors(read_query(data, user, no_filters, {}))[0] for user in users}
    work: dict[str, Work] = {name: lambda user, one=one: one.retrieve(user, k) for name, one in engines.items()}  # type: ignore[misc]
    work |= {f"bare, ef={ef}": search(ef) for ef in (2 * k, k)}
    times: dict[str, list[list[Seconds]]] = {name: [] for name in work}
    with progress.task("requests", runs * len(users)) as advance:
        for _ in range(runs):
            for own in times.values():
                own.append([])
            for number, turns in enumerate(turns_of(work, users)):
                for name, user in turns:
                    seconds = spent(work[name], user)
                    if number >= WARM:
                        times[name][-1].append(seconds)
                advance(1)
    whole = {name: summary([one for run in own for one in run]) for name, own in times.items()}
    by_run = {name: [summary(run) for run in own] for name, own in times.items()}
    ratios = {
        f"{name} / {peer}": {
            key: median(ours[key] / theirs[key] for ours, theirs in zip(by_run[name], by_run[peer], strict=True))
            for key in ("p50_us", "cpu_p50_us")
        }
        for name in engines
        for peer in whole
        if peer not in engines
    }
    stages = staged(engines, work, users, progress)
    return {"whole": whole, "ratios": ratios, "stages": stages}


def staged(
    engines: dict[str, Engine], work: dict[str, Work], users: Sequence[str], progress: Progress
) -> dict[str, dict[str, dict[str, float]]]:
    """Percentiles of every engine's stages and their share of its time, with whatever else is asked in between.

    Python is what is left beside paths and fusion; reading the query, filter and backfill are parts of it.
    """
    stages: dict[str, dict[str, list[Seconds]]] = {name: defaultdict(list) for name in engines}
    with clocks(engines.values()) as parts, progress.task("stages", len(users)) as advance:
        for number, turns in enumerate(turns_of(work, users)):
            for name, user in turns:
                parts.clear()
                whole_s = spent(work[name], user)
                if number >= WARM and name in engines:
                    rest = [
                        one - sum(parts[stage][clock] for stage in (*PATHS, "fuse"))
                        for clock, one in enumerate(whole_s)
                    ]
                    parts["python overhead"] = rest
                    for stage, (wall_s, cpu_s) in parts.items():
                        stages[name][stage].append((wall_s, cpu_s))
            advance(1)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, own in stages.items():
        walls = {stage: sum(wall for wall, _ in times) for stage, times in own.items()}
        all_s = sum(walls[stage] for stage in (*PATHS, "fuse", "python overhead"))
        found[name] = {stage: {**summary(times), "share": walls[stage] / all_s} for stage, times in own.items()}
    with echoes(engines.values()) as repeat:
        for name in engines:
            warm = []
            for user in users:
                repeat.clear()
                work[name](user)
                repeat.set()
                warm.append(spent(work[name], user))
            found[name]["python overhead, caches warm"] = summary(warm)
    return found


def turns_of(names: Iterable[str], users: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
    """Rounds in which each is asked once, in an order drawn anew, for a user whom no other meets nearby."""
    rng = np.random.default_rng(SEED)
    everyone = list(names)
    for number in range(len(users)):
        shift = len(users) // len(everyone)
        pairs = [(name, users[(number + turn * shift) % len(users)]) for turn, name in enumerate(everyone)]
        yield [pairs[turn] for turn in rng.permutation(len(pairs))]


def spent(ask: Work, user: str) -> Seconds:
    """What one answer takes."""
    cpu_start, start = process_time(), perf_counter()
    ask(user)
    return perf_counter() - start, process_time() - cpu_start


def summary(times: Sequence[Seconds]) -> dict[str, float]:
    """Percentiles of the wall time, and the median of the CPU time, in microseconds."""
    wall, cpu = zip(*times, strict=True)
    return {**percentiles(wall), "cpu_p50_us": percentiles(cpu)["p50_us"]}


@contextmanager
def clocks(engines: Iterable[Engine]) -> Iterator[dict[str, list[float]]]:
    """Wall and CPU seconds by stage of what is asked of the engines."""
    parts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def clocked(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            cpu_start, start = process_time(), perf_counter()
            try:
                return work(*arguments)
            finally:
                part = parts[stage]
                part[0] += perf_counter() - start
                part[1] += process_time() - cpu_start

        return run

    targets = [*stage_targets(engines), (answer, "read_user", "read"), (answer, "backfill", "filter and backfill")]
    with patch_stages(targets, clocked):
        yield parts


@contextmanager
def echoes(engines: Iterable[Engine]) -> Iterator[Event]:
    """While the event is set, paths and fusions answer at once, and what they answered last: what is left is Python."""
    repeat, last = Event(), {}

    def echo_stage(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            if not repeat.is_set():
                last[stage] = work(*arguments)
            return last[stage]

        return run

    with patch_stages(stage_targets(engines), echo_stage):
        yield repeat


def stage_targets(engines: Iterable[Engine]) -> list[Target]:
    """The calls of the paths and the fusions of all engines."""
    states = [engine._current() for engine in engines]
    paths: list[Target] = [(path.retriever, "retrieve", path.name) for state in states for path in state.paths]
    return paths + [(state.segments[-1].fusion, "fuse", "fuse") for state in states]


@contextmanager
def patch_stages(
    targets: Iterable[Target], wrapped: Callable[[str, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Each target replaced by what `wrapped` makes of its stage and its function."""
    with ExitStack() as patches:
        for owner, name, stage in targets:
            patches.enter_context(patch.object(owner, name, wrapped(stage, getattr(owner, name))))
        yield


if __name__ == "__main__":
    typer.run(main)
