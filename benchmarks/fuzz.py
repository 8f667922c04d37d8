"""Inputs by the thousand: malformed files, which are loaded or refused by an error of ours, and what an oracle judges.

What is judged is read, found or refused as plain Python says that it must be, so that nothing is silently wrong.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from _fuzzing import KINDS, fuzz
from _harness import write
from _judging import JUDGED, judge
from rich.progress import track

PER_CHILD = 500
CHILD_S = 900
CHILD_BYTES = 16 << 30


def main(
    inputs: Annotated[int, typer.Option(help="Inputs of each kind.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the inputs.")] = 1,
    child: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Load and judge in child processes, so that a crash or a hang is seen and named."""
    if child:
        resource.setrlimit(resource.RLIMIT_AS, (CHILD_BYTES, CHILD_BYTES))
        work = fuzz if child in KINDS else judge
        typer.echo(json.dumps(work(child, inputs, seed, Path.cwd())))
        return
    figures: dict[str, Any] = {"inputs_of_each_kind": inputs, "seed": seed}
    for name, kinds in (("malformed", KINDS), ("judged", JUDGED)):
        figures[name] = {kind: outcomes(kind, inputs, seed) for kind in kinds}
    typer.echo(write("fuzz", figures))


def outcomes(kind: str, inputs: int, seed: int) -> Counter[str]:
    """The outcomes of all inputs of a kind."""
    found: Counter[str] = Counter()
    for part in track(range(-(-inputs // PER_CHILD)), kind):
        found.update(one_child(kind, min(PER_CHILD, inputs - part * PER_CHILD), seed * 100_000 + part))
    typer.echo(f"{kind}: {dict(found.most_common())}")
    return found


def one_child(kind: str, n: int, seed: int) -> Counter[str]:
    """The outcomes of one child process; where it fails, the input that did it is kept and the run ends."""
    folder = tempfile.mkdtemp(prefix="fuzz-")
    command = [sys.executable, str(Path(__file__).resolve()), "--child", kind, "--inputs", str(n), "--seed", str(seed)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=CHILD_S, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as fault:
        typer.echo(
            f"{kind}, seed {seed}: {fault}\n{fault.stderr!s}\nThe input is in {folder}, or named above", err=True
        )
        raise typer.Exit(1) from None
    for file in Path(folder).iterdir():
        file.unlink()
    Path(folder).rmdir()
    return Counter(json.loads(done.stdout))


if __name__ == "__main__":
    typer.run(main)
