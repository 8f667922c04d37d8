"""The gain or loss in recall of the fused list over the best path alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from multirecall.config import FUSED
from multirecall.learning.bootstrap import Interval, interval

Outcome = Literal["gains", "loses", "unclear"]


@dataclass(frozen=True, slots=True)
class FusionGain:
    """The fused list compared with the path of the highest recall, user by user.

    Attributes:
        path: the path of the highest recall.
        k: the list length.
        n_users: the number of test users.
        best: the recall of that path.
        fused: the recall of the fused list.
        gain: the mean gain of the fused list over the path, with its paired 95 % bootstrap interval over users.
    """

    path: str
    k: int
    n_users: int
    best: float
    fused: float
    gain: Interval

    @property
    def outcome(self) -> Outcome:
        """Whether the fused list `gains` (interval above 0), `loses` (below 0), or it is `unclear` (0 inside)."""
        if self.gain.low > 0:
            return "gains"
        return "loses" if self.gain.high < 0 else "unclear"

    def __str__(self) -> str:
        gain = self.gain
        change = f"{abs(gain.mean) / self.best:.1%}" if self.best else "from nothing"
        figures = (
            f"recall {self.fused:.4f} against {self.best:.4f}, {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}], "
            f"{self.n_users:,} users"
        )
        if self.outcome == "unclear":
            return (
                f"Whether the fused list finds more than the best path ({self.path}) at k = {self.k} cannot be told "
                f"from these users ({figures})."
            )
        more = "more" if self.outcome == "gains" else "less"
        return f"The fused list finds {change} {more} than the best path ({self.path}) at k = {self.k} ({figures})."


def fusion_gain(recalls: Mapping[str, NDArray[np.float64]], k: int) -> FusionGain | None:
    """Compare the recall at `k` of each user, (n_users,) by list; None without a fused list or with only one path."""
    paths = {name: values for name, values in recalls.items() if name != FUSED}
    if FUSED not in recalls or len(paths) < 2 or not recalls[FUSED].size:
        return None
    fused, best = recalls[FUSED], max(paths, key=lambda name: float(paths[name].mean()))
    return FusionGain(
        best, k, fused.size, float(paths[best].mean()), float(fused.mean()), interval(fused - paths[best])
    )
