"""`multirecall explain`: why an item has its place among a user's candidates, or none."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from multirecall.cli.candidate_tables import shorten
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
from multirecall.cli.screen import console, is_unicode
from multirecall.cli.tables import plain_table
from multirecall.display import short_number
from multirecall.explanation import Explanation, PathExplanation

NAMED = 3
"""The most items that a path's own words are shown with."""


def explain(
    bundle: Annotated[Path, typer.Argument(help="Folder that `multirecall fit` wrote.")],
    item: Annotated[str, typer.Argument(help="Item id.")],
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
    as_json: AsJson = False,
) -> None:
    """Explain the place of an item among the candidates of a user or visitor, or why it is missing."""
    engine = load_bundle(bundle, plugin)
    asked = read_user(engine, user, history, features, terms)
    told = engine.explain(
        asked, engine.data.items.ids.parse(item), k, **read_request(engine, exclude, where, context), seen=seen
    )
    if as_json:
        typer.echo(json.dumps(asdict(told), ensure_ascii=not is_unicode()))
        return
    screen = console()
    screen.print(_place(told))
    screen.print(_paths(told))


def _place(told: Explanation) -> str:
    if told.rank is None or told.score is None:
        return f"{told.item_id} is not among the candidates: {told.reason}."
    remark = f"; {told.reason}" if told.reason else ""
    return f"{told.item_id} has rank {told.rank}, from 0, and score {short_number(told.score)}{remark}."


def _paths(told: Explanation) -> Table:
    table = plain_table("path")
    for head in ("rank", "score", "adds at weight 1"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for path, one in told.paths.items():
        numbers = (one.score, one.normalised)
        cells = ["–" if number is None else short_number(number) for number in numbers]
        table.add_row(path, "–" if one.rank is None else str(one.rank), *cells, _why(one))
    return table


def _why(one: PathExplanation) -> str:
    if one.reason or not one.detail:
        return one.reason or ""
    named = ", ".join(shorten(str(item), 24) for item in one.items[:NAMED])
    return f"{one.detail}: {named}" if named else one.detail
