"""Intervals and p values that hold at every look: normal-mixture confidence sequences.

With V the estimated variance of a difference D, let I = 1 / V be its information. While users come, D I is close to a
Brownian motion with drift at time I. Mixing over normal effects with standard deviation τ gives the e-value

    E = (1 + I τ²)^(-1/2) exp(D² I / 2 · I τ² / (1 + I τ²)),

which exceeds 1/α at any time with probability α at most (Robbins, Ann. Math. Stat. 41(5), 1970). It is the mSPRT of
Johari, Koomen, Pekelis, Walsh (KDD 2017, eq. 5), the two-sided normal mixture of Howard, Ramdas, McAuliffe, Sekhon
(Ann. Stat. 49(2), 2021, eq. 14), and with an estimated variance the asymptotic confidence sequence of Waudby-Smith,
Arbour, Sinha, Kennedy, Ramdas (arXiv:2103.06476, theorem 2.2).
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

FEWEST = 100
"""Users of each arm before which nothing is said: a variance of fewer is too uncertain, and their mean not normal."""

POWER = 0.8
"""The power at which a sequence is narrowest."""


def spread_for(effect: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """The τ with which the sequence is narrowest when an effect of that size is found with a power of 80 %.

    The half-width at information I is narrowest where I τ² = x and x = 2 ln(1/α) + ln(1 + x); the effect is found there
    if √I times it is the bound √(1 + x) and a quantile of the power.
    """
    x = 2 * log(1 / alpha)
    for _ in range(50):
        x = 2 * log(1 / alpha) + log(1 + x)
    return np.abs(np.asarray(effect, np.float64)) * (sqrt(x) / (sqrt(1 + x) + float(ndtri(POWER))))


def z_bound(information: ArrayLike, spread: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """How many standard errors the sequence reaches to either side, at an information (1 / variance)."""
    x = np.maximum(np.asarray(information, np.float64) * np.square(spread), 1e-300)
    return np.asarray(np.sqrt((1 + 1 / x) * (2 * np.log(1 / alpha) + np.log1p(x))))


def radius(variance: ArrayLike, spread: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """Half the width of the interval; infinite where the variance is 0 or not known."""
    variance = np.asarray(variance, np.float64)
    known = variance > 0
    safe = np.where(known, variance, 1.0)
    return np.where(known, np.sqrt(safe) * z_bound(1 / safe, spread, alpha), np.inf)


def p_value(difference: ArrayLike, variance: ArrayLike, spread: ArrayLike) -> NDArray[np.float64]:
    """The p value that holds at every look: the smallest α whose interval leaves 0 out; 1 without a variance."""
    variance = np.asarray(variance, np.float64)
    known = variance > 0
    safe = np.where(known, variance, 1.0)
    x = np.square(spread) / safe
    exponent = np.square(difference) / safe / 2 * x / (1 + x) - np.log1p(x) / 2
    return np.where(known, np.exp(-np.maximum(exponent, 0.0)), 1.0)
