"""How values of ours are shown to people: numbers, counts, and tables in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def entries(n: int, what: str) -> str:
    """`n` of something, with the noun in its number."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def short_number(value: float) -> str:
    """A number in four significant digits at least, never cut."""
    return f"{value:.4f}" if 1e-2 <= abs(value) < 1e6 or value == 0 else f"{value:.4g}"


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]], n: int) -> str:
    """The first rows of `n` as an HTML table; every cell is escaped."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    more = f"<p>{len(rows):,} of {n:,} shown</p>" if len(rows) < n else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
