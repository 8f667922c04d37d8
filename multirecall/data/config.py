"""Settings for reading a log and its tables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from multirecall.validation import NonNegative, Positive, StrictModel

Column = Literal["user_id", "item_id", "timestamp", "position", "weight", "event"]
"""The names of the columns of a log."""

Kind = Literal["categorical", "list", "number", "text", "datetime", "ignore"]
"""The kind of values that a feature column holds; `ignore`: the column is not a feature."""

IdType = Literal["auto", "text", "int"]
"""The type of user and item ids; `auto`: decided over all tables together."""

Future = Literal["keep", "clamp", "refuse"]
"""What to do with an event whose time is far beyond the rest of the log."""


class DataConfig(StrictModel):
    """Settings for reading a log and its tables."""

    columns: dict[Column, str] = Field(default_factory=dict)
    """The column of the files for each column name of this library, e.g. `{"user_id": "customer"}`."""

    kinds: dict[str, Kind] = Field(default_factory=dict)
    """The kind of a feature column by its name, where the inferred kind is wrong; `ignore` leaves the column out.
    Changes results."""

    ids: IdType = "auto"
    """Type of user and item ids: `text`, `int` or `auto`. `auto` looks at all tables together. It takes the type of
    the typed tables. Where all tables are CSV, ids are integers if every cell is a plain integer, else text."""

    event_weights: dict[str, Annotated[NonNegative, Field(le=1e6)]] = Field(default_factory=dict)
    """Factor on the weight of an event by its name in the `event` column, 0 to 1e6; 1 for names not listed.
    Changes results."""

    half_life_days: Positive | None = None
    """Half-life of event weights in days, > 0, counted back from the newest event that is not far beyond the rest;
    None: no decay. Changes results."""

    future: Future = "keep"
    """What to do with events far beyond the rest, such as an event of the year 2099 in a log of today. `keep`: other
    events do not age by them. `clamp`: they get the time of the newest other event. `refuse`: an error. A note names
    them in any case. Changes results."""
