"""Reading a 10-million-row log, beside what polars itself needs to read and sort it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from _harness import cost, write

from multirecall import Dataset
from multirecall.datasets import generate


def main(
    rows: Annotated[int, typer.Option(help="Rows of the log.")] = 10_000_000,
    users: Annotated[int, typer.Option(help="Users of the log.")] = 200_000,
    items: Annotated[int, typer.Option(help="Items of the log.")] = 100_000,
    runs: Annotated[int, typer.Option(help="Runs, of which the median counts.")] = 3,
) -> None:
    """Time `Dataset.load` and polars' read and sort in turn, for text and for integer ids."""
    log = generate(users, items, rows).interactions.sample(fraction=1.0, shuffle=True, seed=1)
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for ids in ("text", "integer"):
            frame = log if ids == "text" else log.with_columns(pl.col("user_id", "item_id").str.slice(1).cast(pl.Int64))
            file = Path(folder) / f"{ids}.parquet"
            frame.write_parquet(file)
            polars = cost(lambda file=file: pl.read_parquet(file).sort("user_id", "timestamp"), runs)  # type: ignore[misc]
            ours = cost(lambda file=file: Dataset.load(file), runs)  # type: ignore[misc]
            figures[ids] = {
                "polars_read_and_sort": polars._asdict(),
                "dataset_load": ours._asdict(),
                "wall_ratio": ours.wall_s / polars.wall_s,
                "cpu_ratio": ours.cpu_s / polars.cpu_s,
            }
            typer.echo(
                f"{ids} ids: polars {polars.wall_s:.2f} s, ours {ours.wall_s:.2f} s, "
                f"{ours.wall_s / polars.wall_s:.2f} times"
            )
    typer.echo(
        write("load", {"rows": rows, "users": users, "items": items, "runs": runs, "order": "shuffled", **figures})
    )


if __name__ == "__main__":
    typer.run(main)
