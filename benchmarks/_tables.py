"""What the tables of the docs are made of: result files and Markdown."""

from __future__ import annotations

import json
from typing import Any

from _harness import RESULTS


def result(name: str) -> dict[str, Any]:
    """The content of a result file."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def machine_of(figures: dict[str, Any]) -> str:
    """What the figures were measured on, in words."""
    return f"{figures['machine']['cpu']}, {figures['machine']['cores']} cores"


def table(head: list[str], rows: list[list[str]], align: str = "---:") -> str:
    """A Markdown table; `align` is that of all columns but the first, by default to the right, as suits figures."""
    lines = [head, ["---", *[align] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
