"""What the exporters share: arrays of a model into the tables that multirecall's paths `vectors` and `lists` read.

It needs numpy and pyarrow only, so that it runs in the environment of the library whose model it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def write_vectors(
    folder: str | Path, item_ids: Any, items: Any, user_ids: Any, users: Any, space: str = "inner_product"
) -> str:
    """Write `items.parquet` and `users.parquet`, and return the table of the path for a configuration file.

    Args:
        folder: is made if it is missing.
        item_ids: the id of each row of `items`, (n_items,).
        items: numbers (n_items, dim).
        user_ids: the id of each row of `users`, (n_users,).
        users: numbers (n_users, dim).
        space: `inner_product` or `cosine`.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    _write(place / "items.parquet", "item_id", item_ids, items)
    _write(place / "users.parquet", "user_id", user_ids, users)
    files = f'items = "{place / "items.parquet"}", users = "{place / "users.parquet"}"'
    return f'[[paths]]\nretriever = "vectors"\nparams = {{ {files}, space = "{space}", without_vector = "nothing" }}\n'


def write_lists(folder: str | Path, item_ids: Any, matrix: Any) -> str:
    """Write `lists.parquet`, and return the table of the path for a configuration file.

    Args:
        folder: is made if it is missing.
        item_ids: the id of each row and column, (n_items,).
        matrix: (n_items, n_items), dense or of scipy; row `s` is what item `s` of a history adds to each item.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    rows, columns = matrix.nonzero()
    scores = np.asarray(matrix[rows, columns], np.float32).ravel()
    ids = np.asarray(item_ids)
    pairs = {"item_id": ids[rows], "neighbour_id": ids[columns], "score": scores}
    pq.write_table(pa.table(pairs), place / "lists.parquet")
    file = place / "lists.parquet"
    return f'[[paths]]\nretriever = "lists"\nparams = {{ file = "{file}" }}\n'


def _write(file: Path, column: str, ids: Any, vectors: Any) -> None:
    numbers = np.ascontiguousarray(vectors, np.float32)
    cells = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), numbers.shape[1])
    pq.write_table(pa.table({column: pa.array(np.asarray(ids)), "vector": cells}), file)
