"""Rows of the log as a part, which is a parquet file, and a part as a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.errors import DataError
from multirecall.monitoring.request_log.columns import PATH, PATHS, REQUEST
from multirecall.monitoring.request_log.layout import write_whole
from multirecall.monitoring.request_log.rows import Row

BLOCK = 512
"""Rows of a row group of a part, and of what is read of it at a time."""


def write_part(file: Path, rows: Sequence[Row]) -> None:
    """Write rows, at least one, to a new file."""
    write_frame(file, _frame(rows))


def write_frame(file: Path, frame: pl.DataFrame) -> None:
    """Write the rows of a frame with the columns of the log."""
    write_whole(file, lambda draft: frame.write_parquet(draft, compression="lz4", row_group_size=BLOCK))


def read_part(file: Path, columns: Sequence[str] | None = None) -> pl.DataFrame | None:
    """The rows of a part, None where it has been removed meanwhile.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    try:
        frame = pl.read_parquet(file, columns=None if columns is None else list(columns), glob=False)
        return frame.select(columns or (*REQUEST, PATHS))
    except FileNotFoundError:
        return None
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise DataError(f"{file}: cannot be read as a part of a request log ({fault}); move it away") from None


def flat(lists: pl.Series) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The offsets, int64 (n + 1,), and the elements of lists; null counts as empty."""
    return offsets_of(lists.list.len().fill_null(0).to_numpy()), lists.explode().drop_nulls().to_numpy()


def _frame(rows: Sequence[Row]) -> pl.DataFrame:
    frame = _columns([row.values for row in rows], REQUEST)
    owners = np.repeat(np.arange(len(rows)), [len(row.paths) for row in rows])
    paths = _columns([path for row in rows for path in row.paths], PATH)
    grouped = (
        pl.DataFrame({"row": owners})
        .with_columns(paths.to_struct(PATHS))
        .group_by("row", maintain_order=True)
        .agg(pl.col(PATHS))
    )
    return frame.with_columns(grouped[PATHS])


def _columns(rows: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([_column(name, [row[name] for row in rows], dtype) for name, dtype in schema.items()])


def _column(name: str, values: list[Any], dtype: Any) -> pl.Series:
    if not isinstance(dtype, pl.List) or all(value is None for value in values):
        return pl.Series(name, values, dtype)
    lists = [None if value is None else pl.Series(value) for value in values]
    return pl.Series(name, lists).cast(dtype)  # with a dtype, polars would go through Python for each element
