"""The engine's answers: fused candidates with their provenance, and the status of each path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from multirecall.candidate_features import CandidateFeatures, MixedProposals, Proposals
from multirecall.candidate_frames import as_pandas, candidates_frame
from multirecall.deprecation import warn_of_name
from multirecall.display import entries, html_table, short_number
from multirecall.draw import EXPLORED, Draw
from multirecall.errors import RequestError
from multirecall.lists import FusedBatch
from multirecall.vocabulary import Id, Vocabulary

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

State = Literal["ok", "partial", "late", "failed", "skipped", "dropped"]

StoreState = Literal["ok", "late", "failed"]

UNREMARKABLE = ("ok", "dropped")
"""States that a `repr` does not mention."""

REPR_ENTRIES = 3
"""Candidates that a `repr` shows."""

HTML_ENTRIES = 20
"""Rows of a table shown in a notebook."""


@dataclass(frozen=True, slots=True)
class PathStatus:
    """The status of one path in a request.

    Attributes:
        state: `ok` (also when the path found nothing), `partial` (some shards of it gave nothing), `late` (it missed
            the deadline), `failed` (it raised, or returned an invalid list), `skipped` (it was not called, since it
            kept failing or the deployment lacks what it needs) or `dropped` (it is not called, since the fusion that
            was learned does not use it).
        count: candidates that the path contributed to the fusion, at most its quota; in a batch, over all users.
        ms: wall time until the path returned or was abandoned, in milliseconds.
        detail: the fault, or None. A batch may be `ok` and yet have failed for some users; `detail` then names them.
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


@dataclass(frozen=True, slots=True, repr=False)
class Candidates:
    """The fused list for one user, best first. Iteration and indexing yield `Candidate`s, a slice a shorter list.

    For `features`, it also holds the lists of the paths, 8 bytes for each entry; a pickled answer does not.

    Attributes:
        ids: external item ids in the caller's dtype, (n,).
        scores: float64 (n,), falling.
        ranks: int32 (n, n_paths), 0-based rank in each path's list, -1 where the path did not propose it.
        paths: names of the columns of `ranks`.
        status: the status of each configured path.
        n_backfilled: the number of candidates at the end that are backfill, which no path proposed.
        shortfall: the number of candidates, of the `k` asked for, that are missing because the catalogue has no more.
        known: whether the engine knows the user; False for a visitor and for an id that the engine has never seen.
        unknown_items: ids of the history and of `exclude` that the catalogue lacks; they were ignored.
        store: how the source of history answered, if the engine has one and the user has an id: `ok`; or `late` or
            `failed`, and the answer is made from what the bundle knows.
        variant: the variant that answered, see `Engine.use_variants`; None: the engine's own settings.
        level: the level of adaptive width, see `Engine.use_adaptive_width`; 0: full width.
        draw: what chance decided about each candidate; None without exploration and interleaving.
        first_rank: the rank of the first candidate in the whole answer; above 0 only in a slice.
    """

    ids: NDArray[Any]
    scores: NDArray[np.float64]
    ranks: NDArray[np.int32]
    paths: tuple[str, ...]
    status: Mapping[str, PathStatus]
    n_backfilled: int
    shortfall: int
    known: bool = True
    unknown_items: tuple[Id, ...] = ()
    store: StoreState | None = None
    variant: str | None = None
    level: int = 0
    draw: Draw | None = None
    first_rank: int = 0
    _first_backfilled: int = 0
    _proposals: Proposals | MixedProposals | None = field(default=None, repr=False, compare=False)

    @property
    def n_refilled(self) -> int:
        """The former name of `n_backfilled`."""
        warn_of_name("Candidates.n_refilled", "n_backfilled")
        return self.n_backfilled

    def __len__(self) -> int:
        return self.ids.size

    @overload
    def __getitem__(self, position: int) -> Candidate: ...

    @overload
    def __getitem__(self, position: slice) -> Candidates: ...

    def __getitem__(self, position: int | slice) -> Candidate | Candidates:
        if isinstance(position, slice):
            return self._slice(range(len(self))[position])
        position = range(len(self))[position]
        first_backfilled = len(self) - self.n_backfilled
        if position >= first_backfilled:
            provenance = {"fallback": position - first_backfilled + self._first_backfilled}
        else:
            ranks = self.ranks[position].tolist()
            provenance = {path: rank for path, rank in zip(self.paths, ranks, strict=True) if rank >= 0}
            if self.draw is not None and self.draw.place[position] >= 0:
                provenance[EXPLORED] = int(self.draw.place[position])
        return Candidate(self.ids[position].item(), float(self.scores[position]), provenance)

    def __iter__(self) -> Iterator[Candidate]:
        return (self[position] for position in range(len(self)))

    def to_polars(self) -> pl.DataFrame:
        """A frame with `item_id, score, rank` and a column `rank_<path>` for each path, as in `CandidateBatch`."""
        import polars as pl

        return candidates_frame(
            {"item_id": pl.Series(self.ids), "score": self.scores}, self._rank(), self.paths, self.ranks
        )

    def to_pandas(self) -> pd.DataFrame:
        """As `to_polars`, but a pandas frame, whose ranks are nullable integers; needs pandas."""
        return as_pandas(self.to_polars())

    def features(self) -> CandidateFeatures:
        """What each path says about each candidate, for a ranker; as `CandidateBatch.features`, without `user_id`."""
        bounds = np.array([0, len(self)])
        return _known(self._proposals).features(
            self.paths, bounds, self.ranks, lambda: {"item_id": self.ids, "score": self.scores}
        )

    def to_dict(self) -> dict[str, Any]:
        """The whole answer as JSON values."""
        return {
            "candidates": [{"item_id": one.item_id, "score": one.score, "provenance": one.provenance} for one in self],
            "known": self.known,
            "unknown_items": list(self.unknown_items),
            "status": {path: asdict(one) for path, one in self.status.items()},
            "n_backfilled": self.n_backfilled,
            "n_refilled": self.n_backfilled,  # the former name, for those who read the JSON
            "shortfall": self.shortfall,
            **({} if self.store is None else {"store": self.store}),
            **({} if self.variant is None else {"variant": self.variant}),
            **({} if self.level == 0 else {"level": self.level}),
        }

    def __repr__(self) -> str:
        first = ", ".join(f"{one.item_id!r} {short_number(one.score)}" for one in self[:REPR_ENTRIES])
        more = ", …" if len(self) > REPR_ENTRIES else ""
        not_ok = "".join(f"; {path} {one.state}" for path, one in self.status.items() if one.state not in UNREMARKABLE)
        return (
            f"<Candidates: {entries(len(self), 'item')} of {entries(len(self.paths), 'path')}{not_ok}: {first}{more}>"
        )

    def _repr_html_(self) -> str:
        rows = [
            [str(rank), str(one.item_id), short_number(one.score), *_places(one, self.paths)]
            for rank, one in zip(self._rank()[:HTML_ENTRIES].tolist(), self, strict=False)
        ]
        return html_table(["rank", "item", "score", *self.paths], rows, len(self))

    def _rank(self) -> NDArray[np.int32]:
        return np.arange(self.first_rank, self.first_rank + len(self), dtype=np.int32)

    def _slice(self, places: range) -> Candidates:
        if places.step != 1:
            raise RequestError(
                f"candidates: a slice keeps their order and has no step, got {places.step}; take list(candidates) first"
            )
        part = slice(places.start, max(places.start, places.stop))
        first_backfilled = len(self) - self.n_backfilled
        return replace(
            self,
            ids=self.ids[part],
            scores=self.scores[part],
            ranks=self.ranks[part],
            n_backfilled=min(max(part.stop - first_backfilled, 0), len(places)),
            first_rank=self.first_rank + part.start,
            draw=self.draw and self.draw.take(part),
            _first_backfilled=self._first_backfilled + max(part.start - first_backfilled, 0),
        )


@dataclass(frozen=True, repr=False)
class CandidateBatch:
    """The fused lists of several users as CSR; indexing yields one user's `Candidates`, a slice a smaller batch.

    For `features`, a batch and its parts also hold the lists of the paths, 8 bytes for each entry of each list. A
    pickled batch does not.

    Attributes:
        user_ids: external user ids (n_users,), None for a visitor.
        user_dtype: dtype of the engine's user ids.
        catalogue: the item ids and their rows.
        offsets: int64 (n_users + 1,): the list of user `u` is `offsets[u]:offsets[u + 1]`.
        items: item rows, int32 (n,).
        scores: float64 (n,), as in `Candidates`.
        ranks: int32 (n, n_paths), as in `Candidates`.
        paths: names of the columns of `ranks`.
        status: how each path fared, over all users.
        n_backfilled: int64 (n_users,), as in `Candidates`.
        shortfall: int64 (n_users,), as in `Candidates`.
        known: bool (n_users,), as in `Candidates`.
        unknown_items: a tuple of ids for each user, as in `Candidates`.
        store: how the source of history answered for all users, as in `Candidates`.
        variants: the variant of each user, as in `Candidates`.
        draws: what chance decided about the candidates of each user, as in `Candidates`.
        level: as in `Candidates`.
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
    n_backfilled: NDArray[np.int64]
    shortfall: NDArray[np.int64]
    known: NDArray[np.bool_]
    unknown_items: tuple[tuple[Id, ...], ...]
    store: StoreState | None = None
    variants: tuple[str | None, ...] = ()
    draws: tuple[Draw | None, ...] = ()
    level: int = 0
    _proposals: Proposals | MixedProposals | None = field(default=None, repr=False, compare=False)

    @cached_property
    def ids(self) -> NDArray[Any]:
        """External item ids in the caller's dtype, (n,)."""
        return self.catalogue.ids(self.items)

    @property
    def draw(self) -> Draw | None:
        """What chance decided about each candidate of all users; None if it has no part in any."""
        if not any(self.draws):
            return None
        lengths = np.diff(self.offsets).tolist()
        return Draw.concat([own or Draw.certain(n) for own, n in zip(self.draws, lengths, strict=True)])

    @property
    def n_refilled(self) -> NDArray[np.int64]:
        """The former name of `n_backfilled`."""
        warn_of_name("CandidateBatch.n_refilled", "n_backfilled")
        return self.n_backfilled

    def __len__(self) -> int:
        return len(self.user_ids)

    @overload
    def __getitem__(self, user: int) -> Candidates: ...

    @overload
    def __getitem__(self, user: slice) -> CandidateBatch: ...

    def __getitem__(self, user: int | slice) -> Candidates | CandidateBatch:
        if isinstance(user, slice):
            return self._slice(user)
        user = range(len(self))[user]
        part = slice(self.offsets[user], self.offsets[user + 1])
        return Candidates(
            self.ids[part],
            self.scores[part],
            self.ranks[part],
            self.paths,
            self.status,
            int(self.n_backfilled[user]),
            int(self.shortfall[user]),
            bool(self.known[user]),
            self.unknown_items[user],
            self.store,
            self.variants[user] if self.variants else None,
            self.level,
            self.draws[user] if self.draws else None,
            _proposals=self._proposals and self._proposals.take(np.array([user])),
        )

    def __iter__(self) -> Iterator[Candidates]:
        return (self[user] for user in range(len(self)))

    def to_polars(self) -> pl.DataFrame:
        """A frame with `user_id, item_id, score, rank` and a column `rank_<path>` for each path.

        Ranks are 0-based; the rank of a path that did not propose the item is null.
        """
        rank = (np.arange(self.items.size) - np.repeat(self.offsets[:-1], np.diff(self.offsets))).astype(np.int32)
        return candidates_frame(self._columns(), rank, self.paths, self.ranks)

    def to_pandas(self) -> pd.DataFrame:
        """As `to_polars`, but a pandas frame, whose ranks are nullable integers; needs pandas."""
        return as_pandas(self.to_polars())

    def features(self) -> CandidateFeatures:
        """What each path says about each candidate, for a ranker: rank, score, presence, share of the fused score.

        Raises:
            RequestError: the batch was pickled.
        """
        return _known(self._proposals).features(self.paths, self.offsets, self.ranks, self._columns)

    def __repr__(self) -> str:
        not_ok = "".join(f"; {path} {one.state}" for path, one in self.status.items() if one.state not in UNREMARKABLE)
        return (
            f"<CandidateBatch: {entries(self.items.size, 'candidate')} for {entries(len(self), 'user')} "
            f"of {entries(len(self.paths), 'path')}{not_ok}>"
        )

    def _repr_html_(self) -> str:
        rows = [
            ["visitor" if user is None else str(user), str(len(own)), ", ".join(str(one.item_id) for one in own[:5])]
            for user, own in zip(self.user_ids[:HTML_ENTRIES], self, strict=False)
        ]
        return html_table(["user", "candidates", "first"], rows, len(self))

    def _slice(self, users: slice) -> CandidateBatch:
        places = np.arange(len(self))[users]
        part = FusedBatch(self.offsets, self.items, self.scores, self.ranks).take(places)
        return replace(
            self,
            user_ids=self.user_ids[users],
            offsets=part.offsets,
            items=part.items,
            scores=part.scores,
            ranks=part.ranks,
            n_backfilled=self.n_backfilled[places],
            shortfall=self.shortfall[places],
            known=self.known[places],
            unknown_items=self.unknown_items[users],
            variants=self.variants[users],
            draws=self.draws[users],
            _proposals=self._proposals and self._proposals.take(places),
        )

    def _columns(self) -> dict[str, Any]:
        """The columns that come first in a frame."""
        users = self._users().gather(np.repeat(np.arange(len(self)), np.diff(self.offsets)))
        return {"user_id": users, "item_id": self._item_ids(), "score": self.scores}

    def _item_ids(self) -> pl.Series:
        """The item ids as a column; each distinct id is converted once, since converting text is slow."""
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


def _known(proposals: Proposals | MixedProposals | None) -> Proposals | MixedProposals:
    if proposals is None:
        raise RequestError("features: candidates that were pickled have no lists of their paths; ask the engine again")
    return proposals


def _places(one: Candidate, paths: tuple[str, ...]) -> list[str]:
    return [str(one.provenance.get(path, "–")) for path in paths]
