"""A batch as an Arrow stream, for callers in other languages and for data frames."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import polars as pl

from multirecall.result import CandidateBatch
from multirecall.serving.fields import Fields

MEDIA_TYPE = "application/vnd.apache.arrow.stream"


def to_arrow(found: CandidateBatch, fields: Fields) -> bytes:
    """The columns of `CandidateBatch.to_polars`, then `variant`, then one for each of `fields`, as `field_<name>`.

    Where chance has a part, the columns of a `Draw` stand between: `propensity`, `place` and `team`.
    """
    variants = pl.Series("variant", found.variants, pl.String).gather(
        np.repeat(np.arange(len(found)), np.diff(found.offsets))
    )
    frame = found.to_polars().with_columns(variants)
    if (draw := found.draw) is not None:
        frame = frame.with_columns(
            pl.Series("propensity", draw.propensity), pl.Series("place", draw.place), pl.Series("team", draw.team)
        )
    stream = BytesIO()
    frame.with_columns(pl.Series(f"field_{name}", values) for name, values in fields.columns.items()).write_ipc_stream(
        stream
    )
    return stream.getvalue()
