"""A killed process loses nothing that it acknowledged; `benchmarks/crash.py` is the long form."""

from __future__ import annotations

from pathlib import Path

from crashes import Harness


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    harness = Harness(tmp_path / "bundle", seed=1)
    for _ in range(6):
        harness.kill_once()
    assert harness.kills == 6
    assert harness.operations > 6
