"""Users per second of a batch of candidates: one engine, local workers, and actors of Ray, in turn."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import polars as pl
import typer
from _harness import write

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.progress import Advance
from multirecall.scaleout import write_candidates

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from ray_clusters import ray_cluster

PATHS = ("item_cf", "user_cf", "sequence", "content", "popularity")


class Watch:
    """A progress that notes when parts are reported.

    Attributes:
        reports: seconds since the start, and users that are done by then.
    """

    def __init__(self) -> None:
        self._start = perf_counter()
        self.reports: list[tuple[float, int]] = []

    @contextmanager
    def task(self, name: str, total: int, *, steady: bool = True) -> Iterator[Advance]:
        """See `Progress.task`."""
        yield self._advance

    def _advance(self, steps: int, note: str = "") -> None:
        done = self.reports[-1][1] if self.reports else 0
        self.reports.append((perf_counter() - self._start, done + steps))

    def figures(self) -> tuple[float, float]:
        """Seconds until the first part was there, and users per second from then on."""
        (first, before), (last, after) = self.reports[1], self.reports[-1]
        return first, (after - before) / (last - first)


def main(
    users: Annotated[int, typer.Option(help="Users of the log, all of whom are asked for.")] = 10_000,
    items: Annotated[int, typer.Option(help="Items of the log.")] = 10_000,
    events: Annotated[int, typer.Option(help="Events of the log.")] = 400_000,
    k: Annotated[int, typer.Option(help="Candidates of a user.")] = 200,
    chunk: Annotated[int, typer.Option(help="Users of a part.")] = 500,
    rounds: Annotated[int, typer.Option(help="Rounds; the median counts.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the log.")] = 7,
) -> None:
    """Write the candidates of all users of a made-up log, again and again, and compare the rates."""
    with tempfile.TemporaryDirectory() as home, ray_cluster(1, 1) as cluster:
        folder = Path(home)
        log = generate(users, items, events, seed=seed)
        config = EngineConfig.model_validate({"k": k, "paths": [{"retriever": name} for name in PATHS]})
        with Engine(config).fit(Dataset.from_frames(log.interactions, log.items, log.users)) as engine:
            engine.save(folder / "bundle")
            asked = engine.data.users.ids.ids().tolist()
            works: dict[str, Callable[[], tuple[float, float]]] = {
                "one process, `Engine.write_candidates`": lambda: of_engine(engine, asked, folder, chunk),
                "1 local worker": lambda: of_workers(asked, folder, chunk, 1, None),
                "2 local workers": lambda: of_workers(asked, folder, chunk, 2, None),
                "2 actors of Ray": lambda: of_workers(asked, folder, chunk, 2, cluster.address),
            }
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
            for _ in range(rounds):
                for name, work in works.items():
                    found[name].append(work())
    figures = {
        name: {"start_s": median(one for one, _ in both), "users_per_s": median(rate for _, rate in both)}
        for name, both in found.items()
    }
    for name, both in figures.items():
        typer.echo(f"{name}: {both['users_per_s']:,.0f} users/s, the first part after {both['start_s']:.1f} s")
    result = {"users": len(asked), "items": items, "events": events, "k": k, "chunk": chunk, "rounds": rounds}
    typer.echo(write("candidates", {**result, "seed": seed, "runs": figures}))


def of_engine(engine: Engine, users: list[str], folder: Path, chunk: int) -> tuple[float, float]:
    """The same of one engine, which is there from the start."""
    start = perf_counter()
    engine.write_candidates(users[:chunk], folder / "first.parquet", chunk=chunk)
    first = perf_counter() - start
    engine.write_candidates(users, folder / "one.parquet", chunk=chunk)
    return first, len(users) / (perf_counter() - start - first)


def of_workers(users: list[str], folder: Path, chunk: int, workers: int, address: str | None) -> tuple[float, float]:
    """Seconds until the first part, and users per second from then on; checks that the candidates are those of one."""
    watch = Watch()
    with tempfile.TemporaryDirectory(dir=folder) as out:
        write_candidates(
            folder / "bundle", users, Path(out) / "out", workers=workers, chunk=chunk, ray=address, progress=watch
        )
        assert pl.read_parquet(f"{out}/out/*.parquet").equals(pl.read_parquet(folder / "one.parquet"))
    return watch.figures()


if __name__ == "__main__":
    typer.run(main)
