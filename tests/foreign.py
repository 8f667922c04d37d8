"""Files as other systems write them, for the ids of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data import Dataset


def adapter_params(folder: Path, data: Dataset) -> dict[str, dict[str, Any]]:
    """The settings that adapters cannot do without, by the name of the retriever; writes the files that they name."""
    return {"vectors": {"items": write_vectors(folder / "items.parquet", "item_id", data)}}


def some_ids(column: str, data: Dataset, extra: int = 8) -> list[Any]:
    """The ids of the data's items or users, and `extra` ids of those who may join later."""
    ids = (data.items if column == "item_id" else data.users).ids
    later = range(len(ids), len(ids) + extra)
    return [*ids.ids().tolist(), *(f"{column[0]}{number}" if ids.holds_text else number for number in later)]


def write_vectors(
    file: Path, column: str, data: Dataset, vectors: NDArray[Any] | None = None, ids: list[Any] | None = None
) -> str:
    """Write a table of ids and vectors, drawn at random unless given; the name of the file."""
    ids = some_ids(column, data) if ids is None else ids
    if vectors is None:
        vectors = np.random.default_rng(len(column)).standard_normal((len(ids), 6))
    pl.DataFrame({column: ids, "vector": vectors.tolist()}).write_parquet(file)
    return str(file)
