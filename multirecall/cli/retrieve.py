"""`multirecall retrieve`: candidates for one user, from a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from multirecall.cli.candidates import candidates_table
from multirecall.cli.options import (
    AsJson,
    Context,
    Exclude,
    Features,
    HistoryItems,
    Length,
    Plugins,
    Predicates,
    Seen,
    Terms,
    UserId,
    load_bundle,
    read_request,
    read_user,
)
from multirecall.cli.screen import console, is_unicode, note
from multirecall.data import Table
from multirecall.errors import RequestError
from multirecall.result import Candidates

NAMED = 5
"""The most unknown ids that a note lists."""


def retrieve(
    bundle: Annotated[Path, typer.Argument(help="Folder that `multirecall fit` wrote.")],
    user: UserId = None,
    k: Length = None,
    history: HistoryItems = None,
    features: Features = None,
    terms: Terms = None,
    exclude: Exclude = None,
    where: Predicates = None,
    context: Context = None,
    seen: Seen = False,
    plugin: Plugins = None,
    deadline_ms: Annotated[float | None, typer.Option(help="Go on without paths that are later than this.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the table that are shown.")] = 10,
    as_json: AsJson = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print all candidates as CSV, in UTF-8 and with every digit.")
    ] = False,
) -> None:
    """Retrieve candidates for a user of a bundle, or for a visitor with a history.

    Scores and ranks have every digit in --json and --csv; the table shows the first rows.
    """
    if as_json and as_csv:
        raise RequestError("--json and --csv: only one can be printed; leave one out")
    engine = load_bundle(bundle, plugin)
    asked = read_user(engine, user, history, features, terms)
    result = engine.retrieve(asked, k, **read_request(engine, exclude, where, seen, context), deadline_ms=deadline_ms)
    _notes(result, user)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=not is_unicode()))
    elif as_csv:
        typer.echo(result.to_polars().write_csv().encode(), nl=False)
    else:
        _show(result, engine.data.items, rows)


def _notes(result: Candidates, user: str | None) -> None:
    """Print the ids that the engine does not know."""
    if user is not None and not result.known:
        note(f"user {user!r} is unknown and gets what visitors get")
    unknown = result.unknown_items
    if unknown:
        named = ", ".join(repr(item) for item in unknown[:NAMED])
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        note(f"--history, --exclude: the catalogue does not have {named}{more}; passed over")


def _show(result: Candidates, items: Table, rows: int) -> None:
    screen, shown = console(), result[:rows]
    labels = [items.label(row) for row in items.ids.rows(shown.ids).tolist()]
    screen.print(candidates_table(screen, shown, labels))
    if len(shown) < len(result):
        screen.print(
            f"{len(shown):,} of {len(result):,} shown; --rows {len(result)} shows all, --csv and --json hold all."
        )
    screen.print(_summary(result))


def _summary(result: Candidates) -> str:
    states = ", ".join(f"{path} {one.state} ({one.count} in {one.ms:.2f} ms)" for path, one in result.status.items())
    faults = "".join(f"\n{path}: {one.detail}" for path, one in result.status.items() if one.detail)
    return (
        f"A path's number is its rank there, from 0. {states}; {result.n_backfilled} from the fallback, "
        f"{result.shortfall} missing.{faults}"
    )
