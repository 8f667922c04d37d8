"""Kills what writes a batch of candidates, at random moments: workers, drivers, actors and nodes of Ray."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import polars as pl
import typer
from _harness import write

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from batches import (
    N_PARTS,
    USERS,
    contents,
    fill,
    fill_with_killed_actors,
    fill_with_killed_drivers,
    fill_with_killed_workers,
    frame_of_one,
    make_bundle,
)
from ray_clusters import ray_cluster


def main(
    workers: Annotated[int, typer.Option(help="Least number of local workers to kill.")] = 40,
    drivers: Annotated[int, typer.Option(help="Drivers to kill.")] = 8,
    actors: Annotated[int, typer.Option(help="Actors of Ray to kill.")] = 8,
    nodes: Annotated[int, typer.Option(help="Nodes of Ray to kill.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Fill folders while things are killed; the first part that is lost, differs or is written again ends the run."""
    start = perf_counter()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        bundle, users = make_bundle(folder / "bundle"), folder / "users.parquet"
        pl.DataFrame({"user_id": USERS}).write_parquet(users)
        fill(bundle, folder / "whole", workers=1)
        whole = contents(folder / "whole")
        assert pl.read_parquet(folder / "whole/*.parquet").equals(frame_of_one(bundle, folder / "one.parquet"))
        kills = {
            "workers": sum(_until(workers, bundle, folder, whole, seed)),
            "drivers": fill_with_killed_drivers(bundle, users, folder / "drivers", drivers, seed),
        }
        assert contents(folder / "drivers") == whole
        kills |= _on_ray(bundle, users, folder, whole, actors, nodes, seed)
    result = {
        "seed": seed,
        "kills": kills,
        "all_kills": sum(kills.values()),
        "parts": N_PARTS,
        "users": len(USERS),
        "parts_lost": 0,
        "parts_written_twice": 0,
        "equal_to_one_process": True,
        "seconds": perf_counter() - start,
    }
    typer.echo(kills)
    typer.echo(write("candidates-kills", result))


def _until(least: int, bundle: Path, folder: Path, whole: dict[str, bytes], seed: int) -> Iterator[int]:
    """The kills of each folder, until there are enough."""
    killed = 0
    for number in count():
        if killed >= least:
            return
        out = folder / f"workers{number}"
        found = fill_with_killed_workers(bundle, out, seed + number)
        assert contents(out) == whole
        killed += found
        yield found


def _on_ray(
    bundle: Path, users: Path, folder: Path, whole: dict[str, bytes], actors: int, nodes: int, seed: int
) -> dict[str, Any]:
    with ray_cluster(1, 1) as cluster:
        killed = fill_with_killed_actors(bundle, folder / "actors", cluster, actors, nodes, seed)
        assert contents(folder / "actors") == whole
        options = ("--ray", cluster.address)
        drivers = fill_with_killed_drivers(bundle, users, folder / "ray-drivers", 2, seed, *options)
        assert contents(folder / "ray-drivers") == whole
    return {"actors": killed[0], "nodes": killed[1], "drivers with Ray": drivers}


if __name__ == "__main__":
    typer.run(main)
