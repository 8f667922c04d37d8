"""`multirecall similar`: the items most like an item, from a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multirecall.cli.candidate_tables import print_candidates, refuse_both
from multirecall.cli.options import (
    AsCsv,
    AsJson,
    Context,
    DeadlineMs,
    Exclude,
    Length,
    Plugins,
    Predicates,
    ShownRows,
    load_bundle,
    read_request,
)


def similar(
    bundle: Annotated[Path, typer.Argument(help="Folder that `multirecall fit` wrote.")],
    item: Annotated[str, typer.Argument(help="Item id.")],
    k: Length = None,
    exclude: Exclude = None,
    where: Predicates = None,
    context: Context = None,
    plugin: Plugins = None,
    deadline_ms: DeadlineMs = None,
    rows: ShownRows = 10,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Find the items most like an item, by every path that compares items."""
    refuse_both(as_json, as_csv)
    engine = load_bundle(bundle, plugin)
    filters = read_request(engine, exclude, where, context)
    result = engine.similar(engine.data.items.ids.parse(item), k, **filters, deadline_ms=deadline_ms)
    print_candidates(result, engine.data.items, rows, as_json=as_json, as_csv=as_csv)
