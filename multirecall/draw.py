"""What chance decided about an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXPLORED = "explored"
"""In the provenance of a candidate that was drawn into an explored slot, the key of its place in the fused list."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What chance decided about each candidate of an answer, where exploration or interleaving is on.

    Attributes:
        propensity: the exact probability with which the candidate is in the answer to such a request, whatever its
            id, float64 (n,); NaN where two fusions are interleaved.
        place: where the candidate stands in the whole fused list, if it was drawn into an explored slot; else -1.
            int32 (n,).
        team: the fusion that drafted the candidate, 0 for the first and 1 for the second, where two are interleaved;
            else -1. int8 (n,).
    """

    propensity: NDArray[np.float64]
    place: NDArray[np.int32]
    team: NDArray[np.int8]

    @property
    def explored(self) -> NDArray[np.bool_]:
        """Whether each candidate was drawn into an explored slot, bool (n,)."""
        return self.place >= 0

    @staticmethod
    def certain(n: int) -> Draw:
        """What stands for `n` candidates that chance has no part in."""
        return Draw(np.ones(n), np.full(n, -1, np.int32), np.full(n, -1, np.int8))

    @staticmethod
    def concat(draws: Sequence[Draw]) -> Draw:
        """What was decided about the candidates of several answers, one behind the other."""
        return Draw(
            np.concatenate([one.propensity for one in draws]),
            np.concatenate([one.place for one in draws]),
            np.concatenate([one.team for one in draws]),
        )

    def take(self, part: slice | NDArray[np.bool_]) -> Draw:
        """What was decided about some of the candidates."""
        return Draw(self.propensity[part], self.place[part], self.team[part])

    def pad(self, n: int) -> Draw:
        """The same with `n` candidates behind, which chance has no part in."""
        return Draw.concat([self, Draw.certain(n)]) if n else self
