"""How a log and its tables are read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from multirecall.validation import StrictModel

Kind = Literal["categorical", "list", "number", "text", "datetime"]


class DataConfig(StrictModel):
    """How a log and its tables are read."""

    columns: dict[str, str] = Field(default_factory=dict)
    """The caller's column for each of ours, e.g. `{"user_id": "customer"}`."""

    kinds: dict[str, Kind] = Field(default_factory=dict)
    """Feature kinds by field name, where the inferred kind is not the right one. Changes results."""

    event_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Factor on an event's weight by its name in the `event` column, ≥ 0; 1 where not named. Changes results."""

    half_life_days: float | None = Field(default=None, gt=0)
    """Days after which an event weighs half, counted back from the newest event; None: no decay.
    Changes results."""
