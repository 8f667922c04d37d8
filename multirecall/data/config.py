"""How a log and its tables are read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from multirecall.validation import NonNegative, Positive, StrictModel

Column = Literal["user_id", "item_id", "timestamp", "position", "weight", "event"]
"""What the columns of a log are called here."""

Kind = Literal["categorical", "list", "number", "text", "datetime", "ignore"]
"""What a column of a feature table holds; `ignore`: no feature."""

IdType = Literal["auto", "text", "int"]

Future = Literal["keep", "clamp", "refuse"]
"""What becomes of an event whose time is far beyond the rest of the log."""


class DataConfig(StrictModel):
    """How a log and its tables are read."""

    columns: dict[Column, str] = Field(default_factory=dict)
    """The caller's column for each of ours, e.g. `{"user_id": "customer"}`."""

    kinds: dict[str, Kind] = Field(default_factory=dict)
    """Feature kinds by field name, where the inferred kind is not the right one; `ignore` leaves the column out.
    Changes results."""

    ids: IdType = "auto"
    """Type of user and item ids: `text` or `int` for good, or `auto`, by all tables together: what typed tables
    have; in CSV, integers where every cell is the plain spelling of one."""

    event_weights: dict[str, Annotated[NonNegative, Field(le=1e6)]] = Field(default_factory=dict)
    """Factor on an event's weight by its name in the `event` column, ≥ 0; 1 where not named. Changes results."""

    half_life_days: Positive | None = None
    """Days after which an event weighs half, counted back from the newest event that is not far beyond the rest;
    None: no decay. Changes results."""

    future: Future = "keep"
    """What becomes of events far beyond the rest, such as one of the year 2099 in a log of today: `keep` (nothing ages
    by them), `clamp` (to the newest of the rest) or `refuse`. They are noted in any case. Changes results."""
