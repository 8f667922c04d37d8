"""Vectors by item row in one of three spaces: their storage, and searches over all or some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multirecall.csr import offsets_of
from multirecall.errors import BundleError, DataError, RequestError
from multirecall.kernels import Array
from multirecall.lists import RankedBatch, RankedList
from multirecall.topk import ALL_ALLOWED, NO_ROWS
from multirecall.vector_index import SPACES, Space, take_vectors

from .scan import pick, prepare, prepare_rows, rescore, scan

DTYPES = {
    "rows": "int32",
    "values": "float32",
    "dead": "bool",
    "new_rows": "int32",
    "new_values": "float32",
    "asked": "float32",
}


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of some items: a main part, which later states share, and a small part that was added since.

    Attributes:
        space: the similarity; in `cosine` vectors are kept at length 1, zero vectors as they are.
        rows: int32 (n,), unique item rows of the main part, sorted but for `reorder`.
        values: float32 (n, dim), C-contiguous.
        dead: bool (n,), which of the main part are removed or replaced.
        new_rows: int32 (m,), sorted unique; a row is live in one of the two parts only.
        new_values: float32 (m, dim).
        asked: float32 (m, dim), queries as they will come, for an index that measures itself; there may be none.
        n_dead: how many of the main part are dead.
        last: the largest of `rows`, -1 where there is none.
    """

    space: Space
    rows: NDArray[np.int32]
    values: NDArray[np.float32]
    dead: NDArray[np.bool_]
    new_rows: NDArray[np.int32]
    new_values: NDArray[np.float32]
    asked: NDArray[np.float32]
    n_dead: int
    last: int

    @property
    def marked_dead(self) -> NDArray[np.bool_]:
        """`dead`, or nothing where no vector is: most searches need not look."""
        return self.dead if self.n_dead else ALL_ALLOWED

    @classmethod
    def of(cls, rows: NDArray[np.int32], values: ArrayLike, space: Space, asked: ArrayLike | None = None) -> Vectors:
        """The vectors `values` (n, dim) of the item rows `rows` (n,), in any order, and queries to measure on.

        Raises:
            DataError: a row is repeated or negative, shapes do not fit, or a vector is not finite.
        """
        rows, kept = _check_rows(rows, values, space, None)
        samples = np.array([] if asked is None else asked, np.float32).reshape(-1, kept.shape[1])
        samples = samples[samples.any(axis=1)]
        return cls._main(space, rows, kept, samples)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.values.shape[1])

    @property
    def live(self) -> int:
        """How many items have a vector."""
        return self.rows.size - self.n_dead + self.new_rows.size

    def with_rows(self, rows: NDArray[np.int32], values: ArrayLike) -> Vectors:
        """With these vectors as well, in place of those that the rows had; the main arrays are shared.

        Raises:
            DataError: as in `of`, or the vectors have another length.
        """
        rows, kept = _check_rows(rows, values, self.space, self.dim)
        rest = self.without(rows)
        all_rows = np.concatenate([rest.new_rows, rows])
        order = np.argsort(all_rows)
        return replace(rest, new_rows=all_rows[order], new_values=np.concatenate([rest.new_values, kept])[order])

    def without(self, rows: NDArray[np.int32]) -> Vectors:
        """Without the vectors of these rows; rows that have none are passed over. The main arrays are shared."""
        rows = np.asarray(rows, np.int32)
        dead = self.dead | np.isin(self.rows, rows)
        keep = ~np.isin(self.new_rows, rows)
        return replace(
            self,
            dead=dead,
            n_dead=int(np.count_nonzero(dead)),
            new_rows=self.new_rows[keep],
            new_values=self.new_values[keep],
        )

    def compact(self) -> Vectors:
        """The same vectors with all of them in the main part."""
        rows = np.concatenate([self.rows[~self.dead], self.new_rows])
        order = np.argsort(rows)
        values = np.concatenate([self.values[~self.dead], self.new_values])[order]
        return self._main(self.space, rows[order], values, self.asked)

    def of_rows(self, rows: NDArray[np.int32]) -> Vectors:
        """The vectors of these rows only, all of them in the main part, to the bit as they are kept."""
        whole = self.compact()
        kept = np.isin(whole.rows, rows)
        return self._main(self.space, whole.rows[kept], whole.values[kept], self.asked)

    def reorder(self, order: NDArray[np.intp]) -> Vectors:
        """The same vectors, all of them in the main part, with position `order[i]` at `i`."""
        return self._main(self.space, self.rows[order], self.values[order], self.asked)

    def take(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """The vectors of `rows`, int32 (n,), float32 (n, dim); zeros for a row that has none."""
        old, new = np.isin(self.rows, rows) & ~self.dead, np.isin(self.new_rows, rows)
        known = np.concatenate([self.rows[old], self.new_rows[new]])
        order = np.argsort(known)
        return take_vectors(known[order], np.concatenate([self.values[old], self.new_values[new]])[order], rows)

    def query(self, vector: ArrayLike) -> tuple[NDArray[np.float32], bool]:
        """`vector` (dim,) as the kernels take it, at length 1 in `cosine`, and whether it is zero.

        Raises:
            RequestError: it has another length or is not finite.
        """
        given = _as_single(vector)
        if given.shape != (self.dim,):
            raise RequestError(f"vector: has shape {given.shape}, the index needs ({self.dim},); pass one vector of it")
        query, norm = prepare(given, self.space == "cosine")
        if not isfinite(norm):
            fault = int(np.flatnonzero(~np.isfinite(given))[0])
            raise RequestError(f"vector[{fault}]: is {given[fault]}; pass finite numbers only")
        return query, norm == 0.0

    def queries(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """`query` for several vectors (n, dim) at once."""
        given = _as_single(vectors)
        if given.shape[1:] != (self.dim,) and len(given):
            self.query(given[0])
        prepared, fault = prepare_rows(given, np.arange(len(given)), self.space == "cosine")
        if fault >= 0:
            self.query(given[fault])
        return prepared

    def check_filter(self, allowed: NDArray[np.bool_]) -> None:
        """Refuse a bitmap that is shorter than the item rows.

        Raises:
            RequestError: it is.
        """
        last = max(self.last, self.new_rows[-1] if self.new_rows.size else -1)
        if allowed.size and allowed.size <= last:
            raise RequestError(f"allowed: has {allowed.size} entries, the index has row {last}; pass one for each item")

    def n_eligible(self, allowed: NDArray[np.bool_]) -> int:
        """An upper bound of the vectors that a bitmap leaves; all that are live where it is empty."""
        return min(self.live, int(np.count_nonzero(allowed))) if allowed.size else self.live

    def scan(
        self,
        query: NDArray[np.float32],
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> RankedList:
        """The best `k` eligible items for a query from `query()`, from the scores of all of them."""
        return RankedList(*scan(*self._kernel_arrays(), query, self.space == "l2", k, exclude, allowed))

    def pick(
        self,
        near: NDArray[np.float32],
        errors: NDArray[np.float64],
        queries: NDArray[np.float32],
        k: int,
        exclude: Sequence[NDArray[np.int32]],
        allowed: NDArray[np.bool_],
    ) -> RankedBatch:
        """What `scan` gives for each of several queries, found with the help of scores that are known up to an error.

        Args:
            near: float32 (B, n + m), finite scores of the main part and of the new part; overwritten.
            errors: float64 (B,), how far any of them may be from the score that `scan` computes.
            queries: float32 (B, dim), from `queries()`.
            k: as in `scan`.
            exclude: as in `scan`, for each query.
            allowed: as in `scan`, for all.
        """
        bounds, rows = offsets_of([one.size for one in exclude]), np.concatenate(exclude)
        arrays = *self._kernel_arrays(), queries, self.space == "l2", k
        return RankedBatch(*pick(near, errors, *arrays, bounds, rows, allowed))

    def rescore(
        self,
        positions: NDArray[np.integer],
        query: NDArray[np.float32],
        k: int,
        exclude: NDArray[np.int32],
        allowed: NDArray[np.bool_],
    ) -> tuple[RankedList, float]:
        """The best `k` eligible items among `positions` of the main part and all of the new part.

        Returns:
            These, and the lowest score at any of the positions, eligible or not.
        """
        items, scores, lowest = rescore(
            positions, *self._kernel_arrays(), query, self.space == "l2", k, exclude, allowed
        )
        return RankedList(items, scores), lowest

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `of_arrays` rebuilds it from."""
        return {name: getattr(self, name) for name in DTYPES}

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]], space: Space, place: str) -> Vectors:
        """The vectors that `arrays()` was taken from.

        Raises:
            BundleError: arrays are missing or do not fit together; begins with `place`.
        """
        try:
            found = {name: arrays[name] for name in DTYPES}
            fits = (
                all(found[name].dtype == dtype for name, dtype in DTYPES.items())
                and found["values"].shape == (*found["rows"].shape, found["values"].shape[1])
                and found["dead"].shape == found["rows"].shape
                and found["new_values"].shape == (*found["new_rows"].shape, found["values"].shape[1])
                and found["asked"].shape == (len(found["asked"]), found["values"].shape[1])
                and found["rows"].ndim == found["new_rows"].ndim == 1
                and found["rows"].min(initial=0) >= 0
                and found["new_rows"].min(initial=0) >= 0
                and (found["new_rows"][1:] > found["new_rows"][:-1]).all()
            )
        except (KeyError, IndexError):
            fits = False
        if not fits or space not in SPACES:
            raise BundleError(f"{place}: the arrays of the vectors do not fit together; save the index again")
        return cls(space, **found, n_dead=int(np.count_nonzero(found["dead"])), last=int(found["rows"].max(initial=-1)))

    @classmethod
    def _main(
        cls, space: Space, rows: NDArray[np.int32], values: NDArray[np.float32], asked: NDArray[np.float32]
    ) -> Vectors:
        none, last = np.empty((0, values.shape[1]), np.float32), int(rows.max(initial=-1))
        return cls(space, rows, values, np.zeros(rows.size, np.bool_), NO_ROWS, none, asked, 0, last)

    def _kernel_arrays(self) -> tuple[Array, Array, Array, Array, Array]:
        return self.rows, self.values, self.dead, self.new_rows, self.new_values


def _check_rows(
    rows: NDArray[np.int32], values: ArrayLike, space: Space, dim: int | None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Rows in ascending order and their vectors as they are kept, which never share memory with `values`."""
    rows = np.asarray(rows, np.int32)
    given = _as_single(values)
    if given.ndim != 2 or given.shape[1] == 0 or given.shape[:1] != rows.shape:
        raise DataError(f"vectors: have shape {given.shape} for {rows.shape} rows; pass one vector for each row")
    if dim is not None and given.shape[1] != dim:
        raise DataError(f"vectors: have length {given.shape[1]}, the index needs {dim}; pass vectors of that length")
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    if rows.size and rows[0] < 0:
        raise DataError(f"rows: has {rows[0]}; pass item rows, which are 0 or more")
    repeated = np.flatnonzero(rows[1:] == rows[:-1])
    if repeated.size:
        raise DataError(f"rows: has row {rows[repeated[0]]} twice; pass one vector for each row")
    kept, fault = prepare_rows(given, order, space == "cosine")
    if fault >= 0:
        raise DataError(f"vectors: that of row {rows[fault]} is not finite; leave it out or repair it")
    return rows, kept


def _as_single(values: ArrayLike) -> NDArray[np.float32]:
    """As float32, C-contiguous; what is too large becomes infinite, without a warning."""
    if isinstance(values, np.ndarray) and values.dtype == np.float32:
        return np.ascontiguousarray(values)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)
