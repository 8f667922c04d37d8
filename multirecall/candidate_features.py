"""What each path says about each candidate, for a ranker that comes after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multirecall.candidate_frames import features_frame
from multirecall.csr import take_runs
from multirecall.lists import RankedBatch, RankedList
from multirecall.query import Where

if TYPE_CHECKING:
    import polars as pl

    from multirecall.protocols import Fusion

ANY = Where()
"""No condition."""

FIRST = np.zeros(1, np.int64)
"""The positions of the users of a single request."""


@dataclass(frozen=True, slots=True)
class CandidateFeatures:
    """The features of candidates by path: a row for each candidate, in their order, and a column for each path.

    Candidates that were backfilled have no path.

    Attributes:
        paths: the names of the columns.
        rank: int32 (n, n_paths), 0-based rank in the path's list, -1 where the path did not propose the candidate.
        score: float32 (n, n_paths), the path's score, scaled to [0, 1] over the list that the fusion read; all equal:
            1. NaN where the path did not propose the candidate.
        present: bool (n, n_paths), whether the path proposed the candidate.
        contribution: float64 (n, n_paths), what the path added to the fused score, its weight included; 0 where it did
            not propose the candidate. NaN where the fused score is no sum over paths, as in a `cascade`.
    """

    paths: tuple[str, ...]
    rank: NDArray[np.int32]
    score: NDArray[np.float32]
    present: NDArray[np.bool_]
    contribution: NDArray[np.float64]
    _columns: Callable[[], dict[str, Any]]

    def __len__(self) -> int:
        return len(self.rank)

    def to_polars(self) -> pl.DataFrame:
        """A frame with `user_id` (in a batch), `item_id` and the fused `score`, and four columns for each path.

        They are `rank_<path>`, `score_<path>`, `present_<path>` and `contribution_<path>`. What is -1 or NaN in the
        arrays is null.
        """
        parts = {
            "rank": self.rank,
            "score": self.score,
            "present": self.present,
            "contribution": self.contribution,
        }
        return features_frame(self._columns(), self.paths, parts)


@dataclass(frozen=True, slots=True)
class Proposals:
    """What the paths proposed to some users and how it was fused, from which the features are computed on demand.

    A copy by pickle is None, since a fusion may not be picklable and the lists are larger than the candidates.

    Attributes:
        lists: for each path, the ranked list of a single user or the lists of several.
        quotas: the quota of each path.
        segments: the longest history, the fusion and the weights of each segment, shortest first.
        lengths: the length of the history of each user of the lists.
        users: the positions in the lists of the users that this is about, int64 (n_users,).
        excluded: the sorted item rows that each user of the lists was not to get, int32.
        where: the conditions of the request.
        is_sum: whether the fused score is a sum over paths, unless the fusion says otherwise.
    """

    lists: Sequence[RankedList] | Sequence[RankedBatch]
    quotas: Sequence[int]
    segments: Sequence[tuple[float, Fusion, list[float]]]
    lengths: Sequence[int] | NDArray[np.int64]
    users: NDArray[np.int64]
    excluded: Sequence[NDArray[np.int32]] = ()
    where: Where = ANY
    is_sum: bool = True

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    def take(self, positions: NDArray[np.int64]) -> Proposals:
        """What is about the users at these positions of `users`; the lists of the others are kept too."""
        return replace(self, users=self.users[positions])

    @property
    def all_lengths(self) -> NDArray[np.int64]:
        """The length of the history of each user of the lists, int64 (n,)."""
        return np.asarray(self.lengths, np.int64)

    @property
    def batches(self) -> list[RankedBatch]:
        """For each path the lists of all users."""
        return [RankedBatch.from_lists([one]) if isinstance(one, RankedList) else one for one in self.lists]

    @property
    def segment_numbers(self) -> NDArray[np.int64]:
        """The position in `segments` of each user's, int64 (n_users,)."""
        longest = [segment[0] for segment in self.segments]
        numbers: NDArray[np.int64] = np.searchsorted(longest, self.all_lengths[self.users])
        return numbers

    def features(
        self,
        paths: tuple[str, ...],
        offsets: NDArray[np.int64],
        ranks: NDArray[np.int32],
        columns: Callable[[], dict[str, Any]],
    ) -> CandidateFeatures:
        """The features of candidates.

        Args:
            paths: the names of the paths.
            offsets: CSR offsets of the candidates of each user, int64 (n_users + 1,).
            ranks: the ranks of the candidates, int32 (n, n_paths), -1 where a path did not propose them.
            columns: makes the columns that come first in a frame.
        """
        score = np.full(ranks.shape, np.nan, np.float32)
        contribution = np.zeros(ranks.shape)
        batches, numbers = self.batches, self.segment_numbers
        owners = np.repeat(np.arange(self.users.size), np.diff(offsets))
        for number in np.unique(numbers).tolist():
            _, fusion, weights = self.segments[number]
            members = np.flatnonzero(numbers == number)
            part = [batch.take(self.users[members]) for batch in batches]
            added = fusion.contributions(part, weights, self.quotas) if self.is_sum else None
            rows = np.flatnonzero(numbers[owners] == number)
            if added is None:
                contribution[rows] = np.nan
            for path, window in enumerate(fusion.windows(self.quotas)):
                here = rows[ranks[rows, path] >= 0]
                users = np.searchsorted(members, owners[here])
                entries = part[path].offsets[users] + ranks[here, path]
                score[here, path] = _scaled(part[path], window, users, entries)
                if added is not None:
                    contribution[here, path] = added[path][entries]
        return CandidateFeatures(paths, ranks, score, ranks >= 0, contribution, columns)


@dataclass(frozen=True, slots=True)
class MixedProposals:
    """The proposals to users who were answered by several fusions; a copy by pickle is None, as of `Proposals`.

    Attributes:
        parts: the proposals of each fusion.
        owners: the part of each user, int64 (n_users,).
        places: the position of each user in their part, int64 (n_users,).
    """

    parts: Sequence[Proposals]
    owners: NDArray[np.int64]
    places: NDArray[np.int64]

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    @staticmethod
    def of(parts: Sequence[Proposals]) -> MixedProposals:
        """The users of all parts, in their order."""
        sizes = [part.users.size for part in parts]
        return MixedProposals(
            parts, np.repeat(np.arange(len(parts)), sizes), np.concatenate([np.arange(size) for size in sizes])
        )

    def take(self, positions: NDArray[np.int64]) -> MixedProposals:
        """What is about the users at these positions; the lists of the others are kept too."""
        return replace(self, owners=self.owners[positions], places=self.places[positions])

    @property
    def segment_numbers(self) -> NDArray[np.int64]:
        """The segment of each user among those of their fusion, int64 (n_users,)."""
        numbers = np.zeros(self.owners.size, np.int64)
        for part, members in self._parts():
            numbers[members] = part.segment_numbers
        return numbers

    def features(
        self,
        paths: tuple[str, ...],
        offsets: NDArray[np.int64],
        ranks: NDArray[np.int32],
        columns: Callable[[], dict[str, Any]],
    ) -> CandidateFeatures:
        """The features of candidates; arguments as in `Proposals.features`."""
        score = np.full(ranks.shape, np.nan, np.float32)
        contribution = np.zeros(ranks.shape)
        for part, members in self._parts():
            own, rows = take_runs(offsets, members)
            found = part.features(paths, own, ranks[rows], columns)
            score[rows], contribution[rows] = found.score, found.contribution
        return CandidateFeatures(paths, ranks, score, ranks >= 0, contribution, columns)

    def _parts(self) -> Iterator[tuple[Proposals, NDArray[np.int64]]]:
        """Each part with only its users that are left, and their positions."""
        for number, part in enumerate(self.parts):
            members = np.flatnonzero(self.owners == number)
            yield part.take(self.places[members]), members


def _scaled(
    batch: RankedBatch, window: int, users: NDArray[np.int64], entries: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The scores of some entries of the lists of `users`, scaled to [0, 1] over the first `window` of each list."""
    starts = batch.offsets[users]
    ends = np.minimum(batch.offsets[users + 1], starts + window)
    scores = batch.scores.astype(np.float64)
    worst = scores[ends - 1]
    width = scores[starts] - worst
    return np.where(width > 0, (scores[entries] - worst) / np.where(width > 0, width, 1.0), 1.0)
