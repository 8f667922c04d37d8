"""The columns of the request log."""

from __future__ import annotations

import polars as pl

PATH = {
    "path": pl.String,
    "state": pl.String,
    "ms": pl.Float32,
    "detail": pl.String,
    "window": pl.Int32,
    "quota": pl.Int32,
    "items": pl.List(pl.Int32),
    "scores": pl.List(pl.Float32),
}
"""What is kept of one path in one request: its list, in its order, and how it fared."""

REQUEST = {
    "id": pl.String,
    "time": pl.Datetime("us", "UTC"),
    "call": pl.String,
    "user": pl.String,
    "salt": pl.String,
    "visitor": pl.Boolean,
    "known": pl.Boolean,
    "item": pl.Int32,
    "k": pl.Int32,
    "version": pl.String,
    "data_version": pl.Int64,
    "last_change": pl.Int64,
    "config": pl.String,
    "catalogue": pl.String,
    "late": pl.String,
    "n_items": pl.Int32,
    "variant": pl.String,
    "level": pl.Int32,
    "store": pl.String,
    "cached": pl.Boolean,
    "ms": pl.Float32,
    "length": pl.Int64,
    "segment": pl.Int32,
    "seen": pl.Boolean,
    "asked": pl.String,
    "where": pl.String,
    "excluded": pl.List(pl.Int32),
    "n_backfilled": pl.Int32,
    "shortfall": pl.Int32,
    "items": pl.List(pl.Int32),
    "scores": pl.List(pl.Float64),
    "ranks": pl.List(pl.Int32),
    "propensity": pl.List(pl.Float64),
    "place": pl.List(pl.Int32),
    "team": pl.List(pl.Int8),
}
"""What is kept of one request of one user. `paths`, a list of `PATH`, is the last column."""

PATHS = "paths"
