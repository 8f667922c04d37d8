"""How far beyond its deadline `engine.retrieve` returns, beside paths that sleep, hang or compute."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from time import perf_counter, sleep
from typing import Annotated, Any, Self
from unittest.mock import patch

import numpy as np
import typer
from _harness import write
from numpy.typing import NDArray

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.engine import breaker
from multirecall.lists import RankedList
from multirecall.progress import Progress, terminal_progress
from multirecall.protocols import PluginConfig, Retriever
from multirecall.query import Query
from multirecall.registry import RETRIEVERS

DEADLINES_MS = (20.0, 50.0)
MARK_MS = 5.0
PERCENTILES = (50, 99, 99.9)
QUICK = ({"retriever": "item_cf"}, {"retriever": "popularity"})

SCENARIOS: dict[str, tuple[list[str], bool]] = {
    "quick": ([], False),
    "sleeps": (["sleeps"], False),
    "three_sleep": (["sleeps", "sleeps", "sleeps"], False),
    "hangs": (["hangs"], True),
    "sleeps_and_hangs": (["sleeps", "hangs"], True),
    "computes": (["computes"], False),
}
"""Unwell paths, and whether breakers may open; where they are held shut, every request waits for its deadline."""


class UnwellConfig(PluginConfig):
    """How long an answer takes at most."""

    most_ms: float = 0.0


class Sleeps(Retriever):
    """Answers with nothing after between none and `most_ms` milliseconds; at the start at once."""

    Config = UnwellConfig
    begun = threading.Event()

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Nothing to learn."""

    def retrieve(self, query: Query, quota: int) -> RankedList:
        if self.begun.is_set():
            self.take(float(np.random.default_rng().uniform(0, self.config.most_ms / 1e3)))
        return RankedList.empty()

    def take(self, seconds: float) -> None:
        """Let time go by."""
        sleep(seconds)

    def save(self, folder: Path) -> None:
        """Nothing to keep."""

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        return cls(config)


class Hangs(Sleeps):
    """Never answers."""

    def take(self, seconds: float) -> None:
        threading.Event().wait()


class Computes(Sleeps):
    """Keeps the interpreter busy with Python code, which gives way every 5 ms only."""

    def take(self, seconds: float) -> None:
        end = perf_counter() + seconds
        while perf_counter() < end:
            pass


def main(
    requests: Annotated[int, typer.Option(help="Requests of a scenario and deadline.")] = 3_000,
    callers: Annotated[int, typer.Option(help="Threads that ask at the same time.")] = 2,
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 20_000,
    k: Annotated[int, typer.Option(help="Candidates of a request.")] = 500,
) -> None:
    """Time `retrieve` under deadlines of 20 and 50 ms, beside a bare wait; neither fitting nor compiling is timed."""
    nothing = threading.Event()
    log = generate(10_000, items, 500_000)
    data = Dataset.from_frames(log.interactions)
    users = data.users.ids.ids(np.arange(len(data.users), dtype=np.int32)).tolist()
    figures: list[dict[str, Any]] = []

    def note(scenario: str, deadline_ms: float, over_ms: NDArray[np.float64], **more: object) -> None:
        row = {"scenario": scenario, "deadline_ms": deadline_ms, "load_average": os.getloadavg()[0]}
        row |= {f"over_p{one}_ms": float(np.percentile(over_ms, one)) for one in PERCENTILES}
        figures.append({**row, "over_max_ms": float(over_ms.max()), **more})
        typer.echo("  ".join(f"{value:9.2f}" if isinstance(value, float) else f"{value:16}" for value in row.values()))

    with terminal_progress() as progress, progress.task("scenarios", len(SCENARIOS) * len(DEADLINES_MS)) as advance:
        for deadline_ms in DEADLINES_MS:
            note(
                "bare wait",
                deadline_ms,
                overruns(lambda _, limit: nothing.wait(limit / 1e3), requests, callers, deadline_ms),
            )
            for name, (unwell, may_open) in SCENARIOS.items():
                engine = fit_engine(data, unwell, deadline_ms)
                Sleeps.begun.set()
                with patch.object(breaker, "FAILURES_TO_OPEN", breaker.FAILURES_TO_OPEN if may_open else 10**9):
                    over_ms = overruns(asking(engine, users, k), requests, callers, deadline_ms)
                Sleeps.begun.clear()
                note(name, deadline_ms, over_ms, paths={path: health_counts(engine, path) for path in engine.paths})
                engine.close()
                advance(1)
    sizes = {"items": data.n_items, "interactions": len(data.interactions), "k": k}
    typer.echo(
        write("deadline", {**sizes, "requests": requests, "callers": callers, "mark_ms": MARK_MS, "runs": figures})
    )


def fit_engine(data: Dataset, unwell: list[str], deadline_ms: float) -> Engine:
    """An engine of quick paths and unwell ones, whose answers take up to twice the deadline."""
    plugins = {"sleeps": Sleeps, "hangs": Hangs, "computes": Computes}
    points = [
        EntryPoint(name, f"{one.__module__}:{one.__name__}", RETRIEVERS.entry_points) for name, one in plugins.items()
    ]
    params = {"most_ms": 2 * deadline_ms}
    paths = [
        *QUICK,
        *({"name": f"{one}{number}", "retriever": one, "params": params} for number, one in enumerate(unwell)),
    ]
    with patch("multirecall.plugins.entry_points", lambda group: [*entry_points(group=group), *points]):
        return Engine(EngineConfig.model_validate({"paths": paths})).fit(data)


def asking(engine: Engine, users: list[Any], k: int) -> Callable[[int, float], object]:
    """The call that is timed, of its number and the deadline in milliseconds."""
    return lambda number, deadline_ms: engine.retrieve(users[number % len(users)], k, deadline_ms=deadline_ms)


def overruns(
    call: Callable[[int, float], object], requests: int, callers: int, deadline_ms: float
) -> NDArray[np.float64]:
    """Milliseconds by which each call returned after its deadline; negative: before it."""

    def time_request(number: int) -> float:
        start = perf_counter()
        call(number, deadline_ms)
        return (perf_counter() - start) * 1e3 - deadline_ms

    with ThreadPoolExecutor(callers) as pool:
        return np.array(list(pool.map(time_request, range(requests))))


def health_counts(engine: Engine, path: str) -> dict[str, int]:
    """How the path fared."""
    health = engine.health().paths[path]
    return {"ok": health.ok, "late": health.late, "failed": health.failed, "skipped": health.skipped}


if __name__ == "__main__":
    typer.run(main)
