"""Candidates as frames of polars and pandas, which are imported only when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import RequestError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


def candidates_frame(
    columns: dict[str, Any], rank: NDArray[np.int32], paths: tuple[str, ...], ranks: NDArray[np.int32]
) -> pl.DataFrame:
    """The columns, `rank` (n,), and a column `rank_<path>` of `ranks` (n, n_paths), in which -1 is null."""
    import polars as pl

    own = {f"rank_{path}": ranks[:, column] for column, path in enumerate(paths)}
    return pl.DataFrame({**columns, "rank": rank, **own}).with_columns(pl.col(name).replace(-1, None) for name in own)


def features_frame(columns: dict[str, Any], paths: tuple[str, ...], parts: Mapping[str, NDArray[Any]]) -> pl.DataFrame:
    """The columns, and for each path a column `<part>_<path>` of each part (n, n_paths); -1 and NaN are null."""
    import polars as pl

    own = {
        f"{part}_{path}": np.ascontiguousarray(values[:, column])
        for column, path in enumerate(paths)
        for part, values in parts.items()
    }
    frame = pl.DataFrame({**columns, **own})
    ranks = [pl.col(f"rank_{path}").replace(-1, None) for path in paths]
    return frame.with_columns(*ranks, *(pl.col(name).fill_nan(None) for name in own if frame.schema[name].is_float()))


def as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """The frame as one of pandas, in which ranks are nullable integers.

    Raises:
        RequestError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise RequestError("to_pandas needs pandas: pip install pandas") from None

    columns = {name: frame[name].to_list() for name in frame.columns}
    return pd.DataFrame(
        {
            name: pd.array(values, dtype="Int32") if name.startswith("rank") else values
            for name, values in columns.items()
        }
    )
