"""How long `engine.retrieve` takes for one known user, and where the time goes."""

from __future__ import annotations

from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from _harness import write

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.datasets import generate
from multirecall.progress import terminal_progress

PERCENTILES = (50, 95, 99)
DEFAULT_PATHS = ("item_cf", "content", "popularity")


def main(
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 100_000,
    users: Annotated[int, typer.Option(help="Users of the generated log.")] = 50_000,
    interactions: Annotated[int, typer.Option(help="Events of the generated log.")] = 5_000_000,
    paths: Annotated[list[str] | None, typer.Option(help="Retriever; repeat for several.")] = None,
    k: Annotated[int, typer.Option(help="Candidates of a request.")] = 500,
    requests: Annotated[int, typer.Option(help="Requests that are timed, each for another user.")] = 2_000,
) -> None:
    """Fit paths on a generated log and time single requests on one thread; compile time is excluded."""
    log = generate(users, items, interactions)
    engine = Engine(EngineConfig(paths=tuple(PathConfig(retriever=name) for name in paths or DEFAULT_PATHS)))
    with terminal_progress() as progress:
        data = Dataset.from_frames(log.interactions, log.items, log.users)
        start = perf_counter()
        engine.fit(data, progress=progress)
        fit_s = perf_counter() - start
        asked = np.random.default_rng(0).choice(np.unique(data.interactions.users), requests)
        ids = data.users.ids.ids(asked).tolist()
        for user in ids[:100]:
            engine.retrieve(user, k)
        times: dict[str, list[float]] = {name: [] for name in ("whole", *engine.paths)}
        with progress.task("requests", requests) as advance:
            for user in ids:
                start = perf_counter()
                result = engine.retrieve(user, k)
                times["whole"].append((perf_counter() - start) * 1e6)
                for path, status in result.status.items():
                    times[path].append(status.ms * 1e3)
                advance(1)
    figures: dict[str, Any] = {
        name: {f"p{one}_us": float(np.percentile(values, one)) for one in PERCENTILES} for name, values in times.items()
    }
    for name, row in figures.items():
        typer.echo(f"{name:12} " + "  ".join(f"{key} {value:8.0f}" for key, value in row.items()))
    sizes = {"items": data.n_items, "users": data.n_users, "interactions": len(data.interactions), "k": k}
    typer.echo(
        write(f"latency-{items}", {**sizes, "threads": 1, "requests": requests, "fit_s": fit_s, "stages": figures})
    )


if __name__ == "__main__":
    typer.run(main)
