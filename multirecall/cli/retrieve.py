"""`multirecall retrieve`: candidates for one user, from a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from multirecall.cli.options import AsJson, Seen, json_option
from multirecall.cli.tables import console, plain_table
from multirecall.engine import Engine
from multirecall.query import User
from multirecall.result import Candidates


def retrieve(
    bundle: Annotated[Path, typer.Argument(help="Folder that `multirecall fit` wrote.")],
    user: Annotated[str | None, typer.Option(help="User id; leave out for a visitor.")] = None,
    k: Annotated[int | None, typer.Option("-k", "--k", help="How many candidates; default: the config's.")] = None,
    history: Annotated[
        list[str] | None, typer.Option(help="Item id of the history, oldest first; repeat for each.")
    ] = None,
    features: Annotated[str | None, typer.Option(help="User features as JSON.")] = None,
    terms: Annotated[str | None, typer.Option(help="What is asked for, by item field, as JSON.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Item id to leave out; may be repeated.")] = None,
    where: Annotated[str | None, typer.Option(help="Predicates over item features as JSON.")] = None,
    seen: Seen = False,
    deadline_ms: Annotated[float | None, typer.Option(help="Go on without paths that are later than this.")] = None,
    as_json: AsJson = False,
) -> None:
    """Retrieve candidates for a user of a bundle, or for a visitor with a history."""
    engine = Engine.load(bundle)
    items = engine.data.items
    asked = User(
        None if user is None else engine.data.users.ids.parse(user),
        None if history is None else [items.ids.parse(item) for item in history],
        json_option(features, "features") or {},
        json_option(terms, "terms") or {},
    )
    result = engine.retrieve(
        asked,
        k,
        exclude=[items.ids.parse(item) for item in exclude or []],
        where=json_option(where, "where"),
        seen=seen,
        deadline_ms=deadline_ms,
    )
    if as_json:
        typer.echo(json.dumps(as_dict(result), ensure_ascii=False))
        return
    screen = console()
    screen.print(_table(result, {row: _label(engine, row) for row in result.ids.tolist()}))
    screen.print(_summary(result))


def as_dict(result: Candidates) -> dict[str, Any]:
    """A result as JSON values."""
    return {
        "candidates": [{"item_id": one.item_id, "score": one.score, "provenance": one.provenance} for one in result],
        "status": {
            path: {"state": one.state, "count": one.count, "ms": round(one.ms, 3), "detail": one.detail}
            for path, one in result.status.items()
        },
        "n_refilled": result.n_refilled,
        "shortfall": result.shortfall,
    }


def _label(engine: Engine, item: Any) -> str:
    """Something that a person recognises the item by: its first text or categorical feature."""
    table = engine.data.items
    values = table.values(table.ids.row(item))
    named = [values[field] for field, one in table.features.items() if one.kind == "text" and field in values]
    others = [
        str(values[field]) for field, one in table.features.items() if one.kind == "categorical" and field in values
    ]
    return str(next(iter([*named, *others]), ""))


def _table(result: Candidates, labels: dict[Any, str]) -> Table:
    table = plain_table()
    table.add_column("item", no_wrap=True, min_width=max((len(str(item)) for item in labels), default=0))
    table.add_column("", overflow="ellipsis", no_wrap=True, max_width=24)
    for column in ("score", *result.paths):
        table.add_column(column, justify="right", min_width=len(column))
    for one in result:
        ranks = (str(one.provenance.get(path, "–")) for path in result.paths)
        table.add_row(str(one.item_id), labels[one.item_id], f"{one.score:.4f}", *ranks)
    return table


def _summary(result: Candidates) -> str:
    states = ", ".join(f"{path} {one.state} ({one.count} in {one.ms:.2f} ms)" for path, one in result.status.items())
    return (
        f"{states}; {result.n_refilled} from the fallback, {result.shortfall} missing. "
        "The column of a path holds its rank, from 0."
    )
