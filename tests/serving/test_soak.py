"""Thirty seconds of load on real services, while their data change, are fitted anew and rolled back."""

from __future__ import annotations

from pathlib import Path

from _soak import soak

SECONDS = 30.0


def test_no_answer_is_wrong_while_everything_changes(tmp_path: Path) -> None:
    seen = soak(tmp_path, SECONDS)
    assert seen.wrong[:3] == []
    assert set(seen.statuses) == {200}
    assert seen.statuses[200] > 100
    assert {"events", "remove", "add", "refresh", "rollback"} <= set(seen.done), "something was never tried"
