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
    model = folder / "model.npz"
    rng, sizes = np.random.default_rng(1), {"user": data.n_users, "item": data.n_items}
    factors: dict[str, Any] = {f"{what}_factors": rng.random((n, 3)) for what, n in sizes.items()}
    np.savez(model, **factors)
    return {
        "http": {"endpoint": "nowhere"},
        "implicit": {"model": str(model)},
        "lists": {"file": write_lists(folder / "lists.parquet", "item_id", data)},
        "vectors": {"items": write_vectors(folder / "items.parquet", "item_id", data)},
    }


def some_ids(column: str, data: Dataset) -> list[Any]:
    """The ids of the items or users of the small shop, and of 8 more who may join later."""
    holds_text = data.items.ids.holds_text
    return [f"{column[0]}{number}" if holds_text else number for number in range(73 if column == "item_id" else 50)]


def write_vectors(
    file: Path, column: str, data: Dataset, vectors: NDArray[Any] | None = None, ids: list[Any] | None = None
) -> str:
    """Write a table of ids and vectors, drawn at random unless given; the name of the file."""
    ids = some_ids(column, data) if ids is None else ids
    if vectors is None:
        vectors = np.random.default_rng(len(column)).standard_normal((len(ids), 6))
    pl.DataFrame({column: ids, "vector": vectors.tolist()}).write_parquet(file)
    return str(file)


def write_lists(file: Path, key: str, data: Dataset, pairs: list[tuple[Any, Any, float]] | None = None) -> str:
    """Write a table of lists, of users or of items, drawn at random unless given; the name of the file."""
    if pairs is None:
        rng, items = np.random.default_rng(2), some_ids("item_id", data)
        drawn = [(one, rng.choice(len(items), 20, replace=False)) for one in some_ids(key, data)]
        pairs = [
            (one, items[place], float(score))
            for one, few in drawn
            for place, score in zip(few, rng.random(20), strict=True)
        ]
    columns = [key, "item_id" if key == "user_id" else "neighbour_id", "score"]
    pl.DataFrame(pairs, schema=columns, orient="row").write_parquet(file)
    return str(file)
