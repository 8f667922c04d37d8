"""Kills an engine that takes live changes, hundreds of times, and examines each survivor."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from _harness import write

from multirecall.progress import terminal_progress

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from crashes import Harness


def main(
    kills: Annotated[int, typer.Option(help="How many children are killed.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the moments at which they are.")] = 0,
) -> None:
    """Each child saves, appends, compacts and refits until SIGKILL; the first loss ends the run with an error."""
    start = perf_counter()
    with tempfile.TemporaryDirectory() as home, terminal_progress() as progress:
        harness = Harness(Path(home) / "bundle", seed)
        with progress.task("kills", kills) as advance:
            for _ in range(kills):
                harness.kill_once()
                advance(1)
    figures = {
        "kills": harness.kills,
        "operations": harness.operations,
        "killed_in": harness.killed_in,
        "seed": seed,
        "seconds": perf_counter() - start,
    }
    typer.echo(figures)
    typer.echo(write("crash", figures))


if __name__ == "__main__":
    typer.run(main)
