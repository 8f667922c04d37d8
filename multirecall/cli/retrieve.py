"""`multirecall retrieve`: candidates for one user, from a bundle."""

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
    Features,
    HistoryItems,
    Length,
    Plugins,
    Predicates,
    Seen,
    ShownRows,
    Terms,
    UserId,
    load_bundle,
    read_request,
    read_user,
)
from multirecall.cli.screen import note


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
    deadline_ms: DeadlineMs = None,
    rows: ShownRows = 10,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Retrieve candidates for a user of a bundle, or for a visitor with a history.

    Scores and ranks have every digit in --json and --csv; the table shows the first rows.
    """
    refuse_both(as_json, as_csv)
    engine = load_bundle(bundle, plugin)
    asked = read_user(engine, user, history, features, terms)
    result = engine.retrieve(
        asked, k, **read_request(engine, exclude, where, context), seen=seen, deadline_ms=deadline_ms
    )
    if user is not None and not result.known:
        note(f"user {user!r} is unknown and gets what visitors get")
    print_candidates(result, engine.data.items, rows, as_json=as_json, as_csv=as_csv)
