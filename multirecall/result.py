"""What the engine returns: fused candidates with their provenance, and how each path fared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from multirecall.vocabulary import Id, Vocabulary

if TYPE_CHECKING:
    import polars as pl

State = Literal["ok", "late", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class PathStatus:
    """How one path fared in a request.

    Attributes:
        state: `ok` (also when it found nothing), `late` (missed the deadline), `failed` (raised or returned
            garbage) or `skipped` (not called, since it kept failing).
        count: candidates that it contributed to the fusion; in a batch, over all users.
        ms: wall time until its list was there, or until it was given up, in milliseconds.
        detail: what went wrong, or None; in a batch that is `ok`, for which of its users.
    """

    state: State
    count: int
    ms: float
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proposed item. `provenance` maps each path that proposed it to its 0-based rank there."""

    item_id: Id
    score: float
    provenance: dict[str, int]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The fused list for one user, best first. Iteration and indexing yield `Candidate`s.

    Attributes:
        ids: external item ids in the caller's dtype, (n,).
        scores: float64 (n,), falling.
        ranks: int32 (n, n_paths), 0-based rank in each path's list, -1 where the path did not propose it.
        paths: names of the columns of `ranks`.
        status: how each configured path fared.
        n_refilled: how many candidates at the end come from the fallback.
        shortfall: how many of the `k` asked for are missing because the catalogue has no more.
    """

    ids: NDArray[Any]
    scores: NDArray[np.float64]
    ranks: NDArray[np.int32]
    paths: tuple[str, ...]
    status: Mapping[str, PathStatus]
    n_refilled: int
    shortfall: int

    def __len__(self) -> int:
        return self.ids.size

    def __getitem__(self, position: int) -> Candidate:
        position = range(len(self))[position]
        first_refilled = len(self) - self.n_refilled
        if position >= first_refilled:
            provenance = {"fallback": position - first_refilled}
        else:
            ranks = self.ranks[position].tolist()
            provenance = {path: rank for path, rank in zip(self.paths, ranks, strict=True) if rank >= 0}
        return Candidate(self.ids[position].item(), float(self.scores[position]), provenance)

    def __iter__(self) -> Iterator[Candidate]:
        return (self[position] for position in range(len(self)))


@dataclass(frozen=True)
class CandidateBatch:
    """The fused lists of several users as CSR; indexing yields one user's `Candidates`.

    Attributes:
        user_ids: external user ids (n_users,), None for a visitor.
        user_dtype: dtype of the user ids that the engine knows.
        catalogue: the item ids by row.
        offsets: int64 (n_users + 1,): the list of user `u` is `offsets[u]:offsets[u + 1]`.
        items: item rows, int32 (n,).
        scores, ranks, paths, status: as in `Candidates`, over all users.
        n_refilled: int64 (n_users,).
        shortfall: int64 (n_users,).
    """

    user_ids: tuple[Id | None, ...]
    user_dtype: np.dtype[Any]
    catalogue: Vocabulary
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    scores: NDArray[np.float64]
    ranks: NDArray[np.int32]
    paths: tuple[str, ...]
    status: Mapping[str, PathStatus]
    n_refilled: NDArray[np.int64]
    shortfall: NDArray[np.int64]

    @cached_property
    def ids(self) -> NDArray[Any]:
        """External item ids in the caller's dtype, (n,)."""
        return self.catalogue.ids(self.items)

    def __len__(self) -> int:
        return len(self.user_ids)

    def __getitem__(self, user: int) -> Candidates:
        user = range(len(self))[user]
        part = slice(self.offsets[user], self.offsets[user + 1])
        return Candidates(
            self.ids[part],
            self.scores[part],
            self.ranks[part],
            self.paths,
            self.status,
            int(self.n_refilled[user]),
            int(self.shortfall[user]),
        )

    def __iter__(self) -> Iterator[Candidates]:
        return (self[user] for user in range(len(self)))

    def to_polars(self) -> pl.DataFrame:
        """A frame with `user_id, item_id, score, rank` and a column `rank_<path>` for each path.

        Ranks are 0-based; a path that did not propose the item has null.
        """
        import polars as pl

        lengths = np.diff(self.offsets)
        columns: dict[str, Any] = {
            "user_id": self._users().gather(np.repeat(np.arange(len(self)), lengths)),
            "item_id": self._item_ids(),
            "score": self.scores,
            "rank": np.arange(self.items.size) - np.repeat(self.offsets[:-1], lengths),
        }
        for column, path in enumerate(self.paths):
            columns[f"rank_{path}"] = self.ranks[:, column]
        return pl.DataFrame(columns).with_columns(
            pl.col("rank").cast(pl.Int32),
            *(pl.col(f"rank_{path}").replace(-1, None) for path in self.paths),
        )

    def _item_ids(self) -> pl.Series:
        """The item ids as a column; each id is brought into polars once, since that takes long for text."""
        import polars as pl

        occurs = np.zeros(len(self.catalogue), np.bool_)
        occurs[self.items] = True
        distinct = pl.Series(self.catalogue.ids(np.flatnonzero(occurs)))
        return distinct.gather((np.cumsum(occurs) - 1)[self.items])

    def _users(self) -> pl.Series:
        import polars as pl

        if self.user_dtype.kind == "U":
            return pl.Series(self.user_ids, dtype=pl.String)
        return pl.Series(self.user_ids, dtype=pl.UInt64 if self.user_dtype == np.uint64 else pl.Int64)


@dataclass(frozen=True, slots=True)
class PathExplanation:
    """What one path has to say about one item.

    Attributes:
        rank: 0-based rank in the path's list, or None.
        score: the path's raw score, or None.
        normalised: the fused score that the path alone would give at weight 1, or None; in `rrf` and
            `weighted_sum` the fused score is the sum of these times the weights.
        reason: why the path does not propose the item, or None where it does.
    """

    rank: int | None
    score: float | None
    normalised: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item stands where it does for a user.

    Attributes:
        item_id: the item.
        rank: 0-based rank among the candidates asked for, or None when it is not among them.
        score: fused score, or None.
        reason: why it is not among the fused candidates, or None.
        paths: what each path says.
    """

    item_id: Id
    rank: int | None
    score: float | None
    reason: str | None
    paths: Mapping[str, PathExplanation]
