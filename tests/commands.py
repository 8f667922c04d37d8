"""Running a program to its end."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path


def output_of(*command: str | Path, environment: Mapping[str, str], cwd: Path | None = None) -> str:
    """What the program wrote to its standard output; it must succeed, within four minutes."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
