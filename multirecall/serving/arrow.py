"""A batch as an Arrow stream, for callers in other languages and for data frames."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import polars as pl

from multirecall.data import Dataset
from multirecall.result import CandidateBatch
from multirecall.serving.columns import field_columns

MEDIA_TYPE = "application/vnd.apache.arrow.stream"


def to_arrow(found: CandidateBatch, data: Dataset, fields: Sequence[str]) -> bytes:
    """The columns of `CandidateBatch.to_polars`, then one for each of `fields`, as `field_<name>`."""
    frame = found.to_polars()
    columns = field_columns(found.ids, data, fields)
    stream = BytesIO()
    frame.with_columns(pl.Series(f"field_{name}", values) for name, values in columns.items()).write_ipc_stream(stream)
    return stream.getvalue()
