"""Saving and loading the bundle of a million-item engine, checks included, beside hashing its bytes in one thread."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import polars as pl
import typer
from _harness import cost, write

from multirecall import Dataset, Engine, EngineConfig
from multirecall.engine import bundle


def main(
    items: Annotated[int, typer.Option(help="Items of the catalogue.")] = 1_000_000,
    events: Annotated[int, typer.Option(help="Events of the log.")] = 5_000_000,
    neighbours: Annotated[int, typer.Option(help="Neighbours of each item, most of the bytes.")] = 70,
    runs: Annotated[int, typer.Option(help="Runs, of which the median counts.")] = 5,
) -> None:
    """Fit item_cf, content and popularity, save, and load with a warm page cache."""
    paths = [{"retriever": "item_cf", "params": {"neighbours": neighbours}}, "content", "popularity"]
    config = EngineConfig.model_validate({"paths": [{"retriever": p} if isinstance(p, str) else p for p in paths]})
    engine = Engine(config).fit(catalogue(items, events))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "bundle"
        saved = cost(lambda: engine.save(folder), 1)
        files = [file for file in folder.rglob("*") if file.is_file()]
        n_bytes = sum(file.stat().st_size for file in files)
        hashed = cost(lambda: [hashed_alone(file) for file in files], runs)
        verified = cost(lambda: bundle.verify(folder), runs)
        loaded = cost(lambda: bundle.load(folder), runs)
        served = perf_counter()
        Engine.load(folder).retrieve(0, 10)
        served = perf_counter() - served
    figures = {
        "items": items,
        "bytes": n_bytes,
        "runs": runs,
        "save": saved._asdict(),
        "sha256_one_thread": hashed._asdict(),
        "verify": verified._asdict(),
        "load": loaded._asdict(),
        "load_and_first_request_s": served,
    }
    typer.echo(f"{n_bytes / 1e6:,.0f} MB: load {loaded.wall_s:.2f} s, hashing in one thread {hashed.wall_s:.2f} s")
    typer.echo(write("bundle", figures))


def catalogue(items: int, events: int) -> Dataset:
    """A log in which popular items are much more popular, and a table with a category and a price."""
    rng = np.random.default_rng(1)
    chosen = np.minimum((items * rng.random(events) ** 2).astype(np.int64), items - 1)
    users = rng.integers(0, max(events // 20, 1), events)
    log = pl.DataFrame(
        {"user_id": users, "item_id": chosen, "timestamp": rng.integers(1_700_000_000, 1_710_000_000, events)}
    )
    table = {
        "item_id": np.arange(items),
        "category": rng.integers(0, 500, items).astype(str),
        "price": rng.random(items),
    }
    return Dataset.from_frames(log, pl.DataFrame(table))


def hashed_alone(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    typer.run(main)
