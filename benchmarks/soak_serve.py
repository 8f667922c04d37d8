"""A service under load for long, while its data change, are fitted anew and rolled back; see `_soak.py`."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from _harness import write
from _soak import soak


def main(seconds: Annotated[float, typer.Option(help="How long the services run together.")] = 3_600.0) -> None:
    """Run, and write what was seen; the exit code is 1 if an answer was wrong."""
    with TemporaryDirectory() as name:
        seen = soak(Path(name), seconds)
    figures: dict[str, Any] = {
        "seconds": seconds,
        "answers": {str(status): count for status, count in sorted(seen.statuses.items())},
        "changes": dict(sorted(seen.done.items())),
        "wrong": len(seen.wrong),
        "first_wrong": seen.wrong[:5],
        "memory": list(seen.growth().values()),
    }
    print(json.dumps(figures, indent=2))
    write("serve-soak", figures)
    raise typer.Exit(bool(seen.wrong))


if __name__ == "__main__":
    typer.run(main)
