"""Values in the form that people read: numbers, counts, and tables in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def entries(n: int, what: str) -> str:
    """A count with its noun, in the singular or the plural: "1 item", "2,000 items"."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def short_number(value: float) -> str:
    """A number with at least four significant digits, in scientific form where it is very small or large."""
    return f"{value:.4f}" if 1e-2 <= abs(value) < 1e6 or value == 0 else f"{value:.4g}"


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]], n: int) -> str:
    """An HTML table of `rows`, the first of `n` in all; every cell is escaped."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    more = f"<p>{len(rows):,} of {n:,} shown</p>" if len(rows) < n else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
