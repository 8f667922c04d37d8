"""The gain or loss of the fused list over the best path alone, by metric and list length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multirecall.config import FUSED
from multirecall.learning.bootstrap import Interval, intervals

Outcome = Literal["gains", "loses", "unclear"]

COMPARED = ("recall", "ndcg")
"""The metrics by which a report compares the fused list with the best path."""


@dataclass(frozen=True, slots=True)
class FusionGain:
    """The fused list compared with the path that is best by one metric at one list length, user by user.

    Attributes:
        path: the path with the highest mean.
        k: the list length.
        n_users: the number of test users.
        best: the mean of that path.
        fused: the mean of the fused list.
        gain: the mean gain of the fused list over the path, with its paired 95 % bootstrap interval over users.
        metric: what is compared, one of `METRICS`.
    """

    path: str
    k: int
    n_users: int
    best: float
    fused: float
    gain: Interval
    metric: str = "recall"

    @property
    def outcome(self) -> Outcome:
        """Whether the fused list `gains` (interval above 0), `loses` (below 0), or it is `unclear` (0 inside)."""
        if self.gain.low > 0:
            return "gains"
        return "loses" if self.gain.high < 0 else "unclear"

    @property
    def change(self) -> str:
        """The size of the gain or loss as a share of the best path's mean, without its sign."""
        return f"{abs(self.gain.mean) / self.best:.1%}" if self.best else "from nothing"

    def to_dict(self) -> dict[str, Any]:
        """The comparison and its outcome as JSON values."""
        return asdict(self) | {"outcome": self.outcome}

    def __str__(self) -> str:
        gain = self.gain
        figures = (
            f"{self.metric} {self.fused:.4f} against {self.best:.4f}, {gain.mean:+.4f} "
            f"[{gain.low:+.4f}, {gain.high:+.4f}], {self.n_users:,} users"
        )
        best = f"the best path ({self.path}) at k = {self.k}"
        finds = self.metric == "recall"
        if self.outcome == "unclear":
            what = "finds more than" if finds else f"has a higher {self.metric} than"
            return f"Whether the fused list {what} {best} cannot be told from these users ({figures})."
        if finds:
            more = "more" if self.outcome == "gains" else "less"
            return f"The fused list finds {self.change} {more} than {best} ({figures})."
        higher = "higher" if self.outcome == "gains" else "lower"
        return f"The {self.metric} of the fused list is {self.change} {higher} than that of {best} ({figures})."


def fusion_gains(
    values: Mapping[str, NDArray[np.float64]], metrics: Sequence[str], ks: Sequence[int]
) -> tuple[FusionGain, ...]:
    """Compare the fused list with the best path by each metric and k; none without a fused list or with only one path.

    Args:
        values: the metrics of each user by list, float64 (n_metrics, n_users, n_ks).
        metrics: the names of the metrics.
        ks: the list lengths.
    """
    paths = [name for name in values if name != FUSED]
    if FUSED not in values or len(paths) < 2 or not values[FUSED].shape[1]:
        return ()
    means = {name: own.mean(axis=1) for name, own in values.items()}
    cells = [(row, column) for row in range(len(metrics)) for column in range(len(ks))]
    best = [max(paths, key=lambda name: float(means[name][cell])) for cell in cells]
    fused = values[FUSED]
    differences = np.stack(
        [fused[row, :, column] - values[path][row, :, column] for path, (row, column) in zip(best, cells, strict=True)],
        axis=1,
    )
    bounds = intervals(differences).T
    return tuple(
        FusionGain(
            path,
            ks[cell[1]],
            fused.shape[1],
            float(means[path][cell]),
            float(means[FUSED][cell]),
            Interval(float(own.mean()), float(low), float(high)),
            metrics[cell[0]],
        )
        for path, cell, own, (low, high) in zip(best, cells, differences.T, bounds, strict=True)
    )


def fusion_gain(recalls: Mapping[str, NDArray[np.float64]], k: int) -> FusionGain | None:
    """Compare the recall at `k` of each user, (n_users,) by list; None without a fused list or with only one path."""
    found = fusion_gains({name: own[None, :, None] for name, own in recalls.items()}, ("recall",), (k,))
    return found[0] if found else None


def describe_losses(gains: Sequence[FusionGain]) -> str | None:
    """Where the fused list loses to the best path, in a sentence; None if it does not."""
    lost = [one for one in gains if one.outcome == "loses"]
    if not lost:
        return None
    named = ", ".join(f"{one.metric} at k = {one.k} (-{one.change} to {one.path})" for one in lost)
    return f"The fused list loses to the best path in {len(lost)} of {len(gains)} comparisons: {named}."
