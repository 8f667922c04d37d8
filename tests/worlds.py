"""Small generated data for tests."""

from __future__ import annotations

import numpy as np
import polars as pl

from multirecall.data import Dataset


def weighted_shop() -> Dataset:
    """25 users, 30 items, 300 events of four weights, 0 among them; no order."""
    rng = np.random.default_rng(3)
    frame = pl.DataFrame({"user_id": rng.integers(0, 25, 300), "item_id": rng.integers(0, 30, 300)})
    return Dataset.from_frames(frame.with_columns(weight=pl.Series(rng.choice([0.0, 1.0, 2.0, 5.0], 300))))
