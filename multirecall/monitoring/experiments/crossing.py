"""How likely a sequential test finds an effect, by numerical integration."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from multirecall.monitoring.experiments.sequential import spread_for, z_bound

POINTS = 301
"""Of the grid over the statistic, at each look."""


def crossings(effect: float, spread: float, information: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """The probability that the test has found something by each look, float64 (n_looks,).

    The statistic at information I is normal with mean I times the effect and variance I, with independent increments;
    its density among the tests that go on is carried from look to look (Armitage, McPherson, Rowe, J. R. Stat. Soc. A
    132(2), 1969).

    Args:
        effect: the true effect.
        spread: the τ of the test, see `spread_for`.
        information: at each look, rising, float64 (n_looks,).
        alpha: of the test.
    """
    bounds = np.sqrt(information) * z_bound(information, spread, alpha)
    steps = np.diff(information, prepend=0.0)
    at, mass = np.zeros(1), np.ones(1)
    found = []
    for bound, step in zip(bounds, steps, strict=True):
        grid = np.linspace(-bound, bound, POINTS)
        weights = np.full(POINTS, 2.0)
        weights[1::2] = 4.0
        weights[[0, -1]] = 1.0
        weights *= (grid[1] - grid[0]) / 3
        distances = (grid[:, None] - at - effect * step) / np.sqrt(step)
        density = np.exp(-np.square(distances) / 2) @ mass / np.sqrt(2 * np.pi * step)
        at, mass = grid, density * weights
        found.append(1 - mass.sum())
    return np.asarray(np.clip(found, 0.0, 1.0), np.float64)


@lru_cache(256)
def needed(alpha: float, power: float, looks: int) -> tuple[float, float]:
    """The information that finds an effect of 1 with this power within so many equally spaced looks.

    Returns:
        The information at the last look; the mean information at which the test stops.
    """
    spread = float(spread_for(1.0, alpha))
    shares = np.arange(1, looks + 1) / looks

    def power_at(most: float) -> float:
        return float(crossings(1.0, spread, most * shares, alpha)[-1])

    most = float(brentq(lambda most: power_at(most) - power, 0.5, 500.0, xtol=1e-3))
    found = crossings(1.0, spread, most * shares, alpha)
    running = np.concatenate([[1.0], 1 - found[:-1]])
    return most, float(most / looks * running.sum())
