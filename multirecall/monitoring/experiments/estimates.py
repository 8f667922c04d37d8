"""Means over users, their differences, and whether the arms have the users that they should have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

MISMATCH = 0.001
"""The p value below which shares are said to be wrong (Fabijan et al., KDD 2019)."""


def ratio_of(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A ratio of sums over users and its variance, by the delta method (Deng, Knoblich, Lu, KDD 2018, eq. 3).

    Users are independent, what one user does is not: so a rate by request has the variance of users.

    Args:
        numerator: of each user, float64 (..., n_users).
        denominator: likewise; ones for a mean over users.

    Returns:
        The ratio and its variance, float64 (...); NaN where the denominators sum to 0, or of fewer than two users.
    """
    n = numerator.shape[-1]
    if n < 2:
        unknown = np.full(numerator.shape[:-1], np.nan)
        return unknown, unknown
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = numerator.sum(-1) / denominator.sum(-1)
        rest = (numerator - ratio[..., None] * denominator) / denominator.mean(-1)[..., None]
        return ratio, np.square(rest).sum(-1) / (n - 1) / n


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """P values adjusted so that any false alarm among them has probability α at most (Holm, Scand. J. Stat. 6, 1979).

    It holds for p values that hold at every look, too.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    result = np.empty_like(p)
    result[order] = np.minimum(adjusted, 1.0)
    return result


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The sample-ratio test: whether the arms have the users that their shares say.

    Attributes:
        expected: the users that each arm should have.
        observed: those that it has.
        p: of a chi-square test (Fabijan et al., KDD 2019); 1 for a single arm.
    """

    expected: tuple[float, ...]
    observed: tuple[int, ...]
    p: float

    @property
    def alarming(self) -> bool:
        """Whether something other than chance decides who is in which arm, so that no difference can be trusted."""
        return self.p < MISMATCH


def check_shares(observed: Sequence[int], shares: Sequence[float]) -> Mismatch:
    """Test whether users are split as the shares say; shares sum to anything above 0."""
    total, parts = sum(observed), np.asarray(shares, np.float64)
    expected = total * parts / parts.sum()
    p = float(mismatch_p(np.asarray(observed), parts)) if len(observed) > 1 and total else 1.0
    return Mismatch(tuple(expected.tolist()), tuple(observed), p)


def mismatch_p(observed: NDArray[np.int64], shares: ArrayLike) -> NDArray[np.float64]:
    """The p values of chi-square tests; observed int64 (..., n_arms)."""
    parts = np.asarray(shares, np.float64)
    expected = observed.sum(-1, keepdims=True) * parts / parts.sum()
    statistic = (np.square(observed - expected) / expected).sum(-1)
    return np.asarray(chdtrc(parts.size - 1, statistic))
