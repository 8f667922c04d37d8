"""The files that models of implicit write of themselves: npz, read with numpy alone."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.data import Dataset
from multirecall.errors import DataError
from multirecall.numpy_files import load_numbers

from ._tables import finite_vectors, ids_of, open_table, read_unique_ids

FACTORS = {"user_factors", "item_factors"}
SIMILARITY = {"data", "indices", "indptr", "shape"}
NUMBERS = "fiu"
"""The kinds of dtype that are numbers."""

REMEDY = "write it with the method save of a fitted model of implicit"


@dataclass(frozen=True, slots=True)
class FoldIn:
    """What ALS folds a user in with.

    Attributes:
        alpha: the confidence of an event of weight 1.
        regularization: the L2 penalty of a vector.
    """

    alpha: float
    regularization: float


@dataclass(frozen=True, slots=True)
class FactorFile:
    """A model of ALS, BPR or LMF.

    Attributes:
        users: float32 (n_users, dim), with the constant and the bias of BPR and LMF.
        items: float32 (n_items, dim).
        fold_in: None for BPR and LMF.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    fold_in: FoldIn | None


def read_model(file: str) -> FactorFile | csr_array:
    """The factors, or the item × item matrix of an item-item model.

    Raises:
        DataError: the file is missing, cannot be read or is of no model of implicit.
    """
    try:
        with load_numbers(Path(file), "npz") as found:
            arrays = dict(found)
    except FileNotFoundError:
        raise DataError(f"model: {file}: no such file; check the path") from None
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as fault:
        raise DataError(f"model: {file}: cannot be read as npz: {fault}; {REMEDY}") from None
    if arrays.keys() >= FACTORS:
        return _factors(arrays, file)
    if arrays.keys() >= SIMILARITY:
        return _similarity(arrays, file)
    raise DataError(f"{file}: has the arrays {', '.join(arrays) or 'none'}, which are of no fitted model; {REMEDY}")


def _factors(arrays: dict[str, NDArray[Any]], file: str) -> FactorFile:
    found = arrays["user_factors"], arrays["item_factors"]
    if any(one.ndim != 2 or one.dtype.kind not in NUMBERS for one in found) or found[0].shape[1] != found[1].shape[1]:
        told = " and ".join(f"{one.dtype} {one.shape}" for one in found)
        raise DataError(f"{file}: factors are {told}; {REMEDY}")
    users, items = finite_vectors(found[0], f"{file}: user_factors"), finite_vectors(found[1], f"{file}: item_factors")
    if "use_cg" not in arrays and "alpha" not in arrays:
        return FactorFile(users, items, None)
    alpha = _number(arrays["alpha"], f"{file}: alpha") if "alpha" in arrays else 1.0
    return FactorFile(users, items, FoldIn(alpha, _number(arrays.get("regularization"), f"{file}: regularization")))


def _number(found: NDArray[Any] | None, place: str) -> float:
    if found is None or found.shape or found.dtype.kind not in NUMBERS or not np.isfinite(found):
        raise DataError(f"{place} is no finite number; {REMEDY}")
    return float(found)


def _similarity(arrays: dict[str, NDArray[Any]], file: str) -> csr_array:
    try:
        parts = tuple(arrays[name] for name in ("data", "indices", "indptr"))
        matrix = csr_array(parts, shape=tuple(arrays["shape"].ravel().tolist()))
        matrix.check_format(full_check=True)
    except (ValueError, TypeError) as fault:
        raise DataError(f"{file}: holds no similarity matrix: {fault}; {REMEDY}") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DataError(f"{file}: its similarity matrix is not square; {REMEDY}")
    if matrix.dtype.kind not in NUMBERS or not np.isfinite(matrix.data).all():
        raise DataError(f"{file}: its similarities are not all finite numbers; {REMEDY}")
    matrix.sum_duplicates()
    return matrix


def row_ids(table: str | None, column: str, n: int, data: Dataset, file: str) -> NDArray[Any]:
    """The ids of the rows of a model: those that a table names, or those of the data, in the order of their rows.

    Args:
        table: a file with the column `column`, or None.
        column: `item_id` or `user_id`.
        n: the rows of the model.
        data: whose ids they are.
        file: the model's, for errors.

    Raises:
        DataError: the table breaks a rule of its format, or there are more or fewer ids than rows.
        IdTypeError: ids are of another type than those of the data.
    """
    what = column.removesuffix("_id") + "s"
    if table is not None:
        source = open_table(table, f"ids of {what}", column)
        ids, place = read_unique_ids(source, column, data), source.name
    else:
        ids, place = ids_of(data, column)[0].ids(), "the log"
    if len(ids) != n:
        raise DataError(
            f"{file}: has {n:,} {what}, {place} has {len(ids):,}; name the ids of its rows, in their order, in a table "
            f"with the column {column!r}, and the table in {what}"
        )
    return ids
