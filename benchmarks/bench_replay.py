"""Ten thousand requests of every kind, logged and replayed: are the answers the same to the byte, and how fast?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any

import polars as pl
import typer
from _harness import peak_rss_mib, write

from multirecall import Dataset, Engine, EngineConfig, PathConfig, User
from multirecall.chance import share_of
from multirecall.datasets import generate
from multirecall.engine.variants import Interleaving
from multirecall.monitoring.replay import replay
from multirecall.monitoring.request_log import LogSettings, RequestLog
from multirecall.online import Exploration
from multirecall.progress import terminal_progress

PATHS = ("item_cf", "user_cf", "sequence", "content", "popularity")
STRATEGIES = ("rrf", "weighted_sum", "cascade")
SEED = 7


def config(strategy: str, quota: int = 500, **changed: Any) -> EngineConfig:
    """Five paths under one fusion."""
    paths = [PathConfig(retriever=name, quota=quota) for name in PATHS]
    return EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": strategy}, **changed})


class ByRequest:
    """Gives each request one of several variants, by its id."""

    def __init__(self, names: list[str | None]) -> None:
        self._names = names

    def choose(self, user: Any, context: Mapping[str, Any], request_id: str) -> str | None:
        """See `VariantChooser.choose`."""
        return self._names[int(share_of(request_id, "bench") * len(self._names))]


def main(
    requests: Annotated[int, typer.Option(help="Requests, over all kinds.")] = 10_000,
    users: Annotated[int, typer.Option(help="Users of the generated log.")] = 4_000,
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 3_000,
    k: Annotated[int, typer.Option(help="Candidates of a request.")] = 500,
) -> None:
    """Log requests under three fusions and a learned one, with segments, variants, live items, a refit, backfill,
    explored and interleaved answers, batches, cached answers, failing paths; replay them as they were and otherwise."""
    log = generate(users, items, 60 * users)
    data = Dataset.from_frames(log.interactions, log.items, log.users)
    with TemporaryDirectory() as folder, terminal_progress() as progress:
        counts = ask_all(data, Path(folder), requests, k, progress.task)
        start = perf_counter()
        same = replay(Path(folder), progress=progress).sameness
        same_s = perf_counter() - start
        assert same is not None
        start = perf_counter()
        replay(Path(folder), config("weighted_sum"), progress=progress)
        other_s = perf_counter() - start
        kinds = seen_in(Path(folder))
        size = sum(file.stat().st_size for file in Path(folder).glob("day=*/*.parquet"))
    figures = {
        "requests": sum(counts.values()),
        "kinds": counts,
        "features": kinds,
        "equal": same.equal,
        "differ": same.differ,
        "untold": same.untold,
        "same_s": same_s,
        "other_s": other_s,
        "log_bytes": size,
        "peak_rss_mib": peak_rss_mib(),
    }
    for name, value in figures.items():
        typer.echo(f"{name}: {value}")
    sizes = {"users": data.n_users, "items": data.n_items, "paths": PATHS, "k": k, "seed": SEED}
    typer.echo(write("replay", {**sizes, **figures}))


def ask_all(data: Dataset, folder: Path, requests: int, k: int, task: Any) -> dict[str, int]:
    """Log all kinds of requests, as many of each, and return how many each has."""
    share = requests // 10
    names = data.users.ids.ids().tolist()
    asked: dict[str, int] = {}
    with task("requests", requests) as advance:

        def ask(engine: Engine, kind: str, n: int = share) -> None:
            """Half of the requests one by one, filtered or not, and half in batches."""
            asked[kind] = n
            for number in range(n // 2):
                user = names[(number * 7 + len(asked) * 131) % len(names)]
                where = {"price": {"max": 40}} if number % 5 == 0 else None
                engine.retrieve(user if number % 9 else User(), k, request_id=f"{kind} {number}", where=where)
            for start in range(n // 2, n, 100):
                engine.retrieve_batch(names[start : min(start + 100, n)], k, request_id=f"{kind} batch {start}")
            advance(n)

        for strategy in STRATEGIES:
            with logged(Engine(config(strategy)).fit(data), folder) as engine:
                ask(engine, strategy)
        with logged(Engine(config("auto", cache_size=1_000)).fit(data), folder) as engine:
            ask(engine, "learned")
            asked["cached"] = share // 2
            for number in range(share // 2):
                user = names[(number * 7 + 4 * 131) % len(names)]
                engine.retrieve(user, k, request_id=f"again {number}")
            advance(share // 2)
        segments = [
            {"max_history": 40, "weights": {"popularity": 4.0}},
            {"max_history": 60, "fusion": {"strategy": "cascade"}},
        ]
        with logged(Engine(config("rrf", segments=segments)).fit(data), folder) as engine:
            ask(engine, "segments")
            engine.use_exploration(Exploration(slots=10, share=0.5))
            ask(engine, "explored")
            engine.use_exploration(None)
            variants: dict[str, Any] = {one: config(one) for one in STRATEGIES}
            variants["mixed"] = Interleaving(config("weighted_sum"), config("rrf"))
            engine.use_variants(ByRequest([None, *variants]), variants)
            ask(engine, "variants, interleaved among them")
            engine.use_variants(None)
            event = {"timestamp": data.now or 0, "event": "view"}
            for number in range(20):
                engine.add_interactions([event | {"user_id": names[number], "item_id": f"new {number}"}])
                ask(engine, f"live {number}", share // 40)
            engine.refresh().result()
            ask(engine, "after a refit", share // 2)
        with logged(Engine(config("rrf", quota=40)).fit(data), folder) as engine:
            ask(engine, "backfilled", share)
            with broken(engine):
                ask(engine, "a path fails", requests - sum(asked.values()))
    return asked


@contextmanager
def logged(engine: Engine, folder: Path) -> Iterator[Engine]:
    """The engine with a log of all its answers."""
    with engine, RequestLog(LogSettings(folder=folder, share=1.0)) as log:
        end = engine.observe(log)
        yield engine
        end()
        log.close()
        assert log.health.dropped == log.health.lost == engine.health().missed == 0


@contextmanager
def broken(engine: Engine) -> Iterator[None]:
    """The engine while its first path fails."""
    retriever = engine._current().paths[0].retriever
    of_class = type(retriever)
    working = of_class.retrieve, of_class.retrieve_batch

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of order")

    of_class.retrieve = of_class.retrieve_batch = fail  # type: ignore[method-assign]
    try:
        yield
    finally:
        of_class.retrieve, of_class.retrieve_batch = working  # type: ignore[method-assign]


def seen_in(folder: Path) -> dict[str, int]:
    """How many requests of the log have what makes a replay hard."""
    columns = ["cached", "n_backfilled", "place", "team", "variant", "late", "catalogue", "call", "where"]
    frame = pl.read_parquet(folder / "day=*/*.parquet", columns=columns)
    states = pl.read_parquet(folder / "day=*/*.parquet", columns=["paths"])["paths"].list.eval(
        pl.element().struct.field("state")
    )
    return {
        "cached": int(frame["cached"].sum()),
        "backfilled": int((frame["n_backfilled"] > 0).sum()),
        "explored": int((frame["place"].list.max() >= 0).sum()),
        "interleaved": int((frame["team"].list.max() >= 0).sum()),
        "of a variant": int(frame["variant"].is_not_null().sum()),
        "with live items": int(frame["late"].is_not_null().sum()),
        "catalogues": frame["catalogue"].n_unique(),
        "of a batch": int((frame["call"] == "retrieve_batch").sum()),
        "filtered": int(frame["where"].is_not_null().sum()),
        "a path failed or was skipped": int(states.list.set_intersection(["failed", "skipped"]).list.len().gt(0).sum()),
    }


if __name__ == "__main__":
    typer.run(main)
