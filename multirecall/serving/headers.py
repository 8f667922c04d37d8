"""What a request says in its headers besides who asks."""

from __future__ import annotations

from collections.abc import Mapping

from multirecall.serving.problems import Problem

MOST_VERSION = 2**63 - 1


def read_deadline_ms(headers: Mapping[str, str]) -> float | None:
    """Milliseconds that the answer may take, by `X-Deadline-Ms`; raises `Problem` 400 where it is no such number."""
    text = headers.get("x-deadline-ms")
    if text is None:
        return None
    try:
        deadline_ms = float(text)
    except ValueError:
        deadline_ms = -1.0
    if not 0 < deadline_ms < 1e9:
        raise Problem(400, f"X-Deadline-Ms must be a number of milliseconds between 0 and 1e9, got {text[:40]!r}")
    return deadline_ms


def read_min_version(headers: Mapping[str, str]) -> int | None:
    """The version that the answer must know, by `X-Min-Version`; raises `Problem` 400 where it is no whole number."""
    text = headers.get("x-min-version")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= MOST_VERSION):
        raise Problem(400, f"X-Min-Version must be the `version` of a write, a whole number, got {text[:40]!r}")
    return int(text)
