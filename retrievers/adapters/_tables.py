"""Files of other systems: tables of ids and vectors, read and checked cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.data.config import IdType
from multirecall.data.files import read
from multirecall.data.source import Source
from multirecall.errors import DataError
from multirecall.numpy_files import load_numbers
from multirecall.validation import nearest
from multirecall.vocabulary import Vocabulary

from .._foreign_ids import foreign_ids

VECTOR = "vector"
"""The column that holds vectors."""

NPY = ".npy"


def open_table(file: str, what: str, *columns: str) -> Source:
    """The table in `file`, in any form that `Dataset.load` reads; a glob pattern stands for all files that match it.

    Args:
        file: of this machine, never a URL.
        what: the name of the table in errors.
        columns: that it must have.

    Raises:
        DataError: the file is missing, cannot be read, has no rows or lacks a column.
    """
    source = read(Path(file), what)  # Path() collapses the slashes of a URL, so the reader cannot open one
    for column in columns:
        if column not in source.frame.columns:
            raise DataError(
                f"{source.name}: column {column!r} is missing; {nearest(column, source.frame.columns)}. "
                f"Name the columns of {what} {' and '.join(columns)}"
            )
    if source.frame.is_empty():
        raise DataError(f"{source.name}: has no rows; write {what} into it")
    return source


def ids_of(data: Dataset, column: str) -> tuple[Vocabulary, IdType]:
    """The ids of the data that a column `item_id` or `user_id` speaks of, and the option of their type."""
    return (data.items if column == "item_id" else data.users).ids, data.config.ids


def read_unique_ids(source: Source, column: str, data: Dataset) -> NDArray[Any]:
    """The ids of a column, `item_id` or `user_id`, in the order of the file, (n,), of an integer or text dtype.

    Raises:
        DataError: an id is null, cannot be of the type of the data's ids, or occurs twice.
        IdTypeError: ids are of another type than those of the data.
    """
    ids = foreign_ids(source, column, *ids_of(data, column))
    source.refuse(column, ~ids.is_first_distinct(), "{value} occurs a second time; keep one row for each id")
    return as_array(ids)


def as_array(ids: pl.Series) -> NDArray[Any]:
    """Ids as an array of an integer or text dtype."""
    return np.array(ids.to_list(), np.str_) if ids.dtype == pl.String else ids.to_numpy()


def read_vectors(
    file: str, ids_file: str | None, column: str, data: Dataset, what: str
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Ids, (n,), and their vectors, float32 (n, dim), in the order of the file.

    Args:
        file: a table with the columns `column` and `vector`, or npy of shape (n, dim).
        ids_file: a table whose rows name those of npy by `column`; None for a table.
        column: `item_id` or `user_id`.
        data: whose ids they are.
        what: the name of the table in errors.

    Raises:
        DataError: a file is missing, cannot be read or breaks a rule of its format.
        IdTypeError: ids are of another type than those of the data.
    """
    if ids_file is None:
        source = open_table(file, what, column, VECTOR)
        return read_unique_ids(source, column, data), vectors_in(source)
    names = open_table(ids_file, f"ids of {what}", column)
    ids, vectors = read_unique_ids(names, column, data), read_npy(Path(file), what)
    if len(ids) != len(vectors):
        raise DataError(
            f"{file}: has {len(vectors):,} rows, {names.name} names {len(ids):,}; write one id for each row"
        )
    return ids, vectors


def vectors_in(source: Source) -> NDArray[np.float32]:
    """The column `vector` of a table as float32 (n, dim).

    Raises:
        DataError: the column holds no lists of numbers, their lengths differ, or a number is missing or not finite.
    """
    column = source.frame[VECTOR]
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if not isinstance(column.dtype, pl.List) or not column.dtype.inner.is_numeric():
        raise DataError(
            f"{source.column(VECTOR)} has type {source.frame[VECTOR].dtype}; let each cell be a list of numbers, "
            "in parquet"
        )
    source.refuse(VECTOR, column.is_null(), "the vector is null; fill it or drop the row")
    lengths = column.list.len()
    dim = lengths.item(0)
    source.refuse(
        VECTOR, (lengths != dim) | (lengths == 0), lambda value: f"has {len(value)} numbers, row 0 has {dim}; {EQUAL}"
    )
    numbers = column.list.explode().cast(pl.Float32, strict=False)
    vectors: NDArray[np.float32] = numbers.fill_null(np.nan).to_numpy().reshape(-1, dim)
    bad = pl.Series(~np.isfinite(vectors).all(axis=1))
    source.refuse(VECTOR, bad, "a number of the vector is missing, not finite or beyond float32; correct it")
    return vectors


EQUAL = "give all vectors one length above 0"


def read_npy(path: Path, what: str) -> NDArray[np.float32]:
    """The vectors in an npy file, float32 (n, dim).

    Raises:
        DataError: the file is missing, or does not hold finite numbers of shape (n, dim).
    """
    try:
        found = load_numbers(path, "npy")
    except FileNotFoundError:
        raise DataError(f"{what}: {path}: no such file; check the path") from None
    except (OSError, ValueError, EOFError) as fault:
        raise DataError(f"{what}: {path}: cannot be read as npy: {fault}") from None
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu" or not found.size:
        shape = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "several arrays"
        raise DataError(f"{path}: holds {shape}; write numbers of shape (n, dim)")
    return finite_vectors(found, path)


def finite_vectors(found: NDArray[Any], place: object) -> NDArray[np.float32]:
    """Numbers as float32; `place` begins the error.

    Raises:
        DataError: a number is not finite, or beyond float32.
    """
    with np.errstate(over="ignore"):
        vectors: NDArray[np.float32] = np.ascontiguousarray(found, np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise DataError(f"{place}: row {bad[0]} (the first is 0) has a number that is not finite float32; correct it")
    return vectors
