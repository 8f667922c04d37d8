"""How many users an experiment needs, and what it can find with those that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtri, chndtr, ndtri

from multirecall.errors import RequestError
from multirecall.monitoring.experiments.crossing import needed
from multirecall.monitoring.experiments.estimates import MISMATCH

LOOKS = 28
"""How often one looks at a sequential test before it ends, such as daily for four weeks."""

LARGEST = 1e6
"""The largest standardised effect that is looked for."""


@dataclass(frozen=True, slots=True)
class Design:
    """How an experiment is tested.

    Attributes:
        alpha: the probability of a false alarm, of all comparisons with the control together.
        power: the probability that the effect is found.
        comparisons: the number of arms beside the control; each has an equal part of alpha.
        looks: of a sequential test, how often one looks before it ends; None: once, at the end.
    """

    alpha: float = 0.05
    power: float = 0.8
    comparisons: int = 1
    looks: int | None = LOOKS

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("power", self.power)):
            if not 0 < value < 1:
                raise RequestError(f"{name}: must be above 0 and below 1, got {value:g}")
        if self.power <= self.alpha:
            raise RequestError(f"power: {self.power:g} is no more than alpha; ask for more")
        for name, count in (("comparisons", self.comparisons), ("looks", self.looks)):
            if count is not None and not 1 <= count <= 1_000:
                raise RequestError(f"{name}: must be 1 to 1,000, got {count}")

    @property
    def information(self) -> float:
        """The information (1 / variance) that finds an effect of 1."""
        return self._needed()[0]

    @property
    def mean_information(self) -> float:
        """The mean information at which the test stops if the effect is 1."""
        return self._needed()[1]

    def _needed(self) -> tuple[float, float]:
        alpha = self.alpha / self.comparisons
        if self.looks is None:
            once = float(ndtri(1 - alpha / 2) + ndtri(self.power)) ** 2
            return once, once
        return needed(alpha, self.power, self.looks)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an experiment needs.

    Attributes:
        users: the number of users of all arms together, ≥ 1.
        mean_users: the mean number at which it ends if the effect is what was planned for; a test that looks once ends
            at `users`.
        effect: the smallest effect that is found with the power, in units of the metric.
    """

    users: int
    mean_users: int
    effect: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


Noise = Callable[[float], float]
"""The variance of an estimated effect times the number of users, given the effect."""


def noise_of_rates(baseline: float, shares: tuple[float, float]) -> Noise:
    """That of a difference of two rates; the shares are those of the control and of the arm."""

    def noise(effect: float) -> float:
        other = min(max(baseline + effect, 0.0), 1.0)
        return baseline * (1 - baseline) / shares[0] + other * (1 - other) / shares[1]

    return noise


def noise_of_means(sd: float, shares: tuple[float, float]) -> Noise:
    """That of a difference of two means with a standard deviation over users; for a ratio, by the delta method."""
    return lambda effect: sd**2 / shares[0] + sd**2 / shares[1]


def noise_of_preferences(credited: float, share: float) -> Noise:
    """That of a mean preference of the users who give credit; it is largest if each gives all of it to one side.

    Args:
        credited: the share of users who give credit.
        share: the share of users whose lists are interleaved.
    """
    return lambda effect: max(1 - effect**2, 0.0) / credited / share


def plan_users(effect: float, noise: Noise, design: Design) -> Plan:
    """The users that an effect needs, in units of the metric."""
    scale = noise(effect) / effect**2
    users = ceil(design.information * scale)
    return Plan(max(users, 1), max(min(users, ceil(design.mean_information * scale)), 1), effect)


def plan_effect(users: int, noise: Noise, design: Design, most: float = LARGEST) -> Plan:
    """The smallest effect that so many users find, of at most `most`.

    Raises:
        RequestError: so few users find no effect at all.
    """

    def lacking(effect: float) -> float:
        return design.information * noise(effect) - users * effect**2

    if lacking(most) > 0:
        raise RequestError(f"users: {users:,} are too few to find any effect; take more")
    effect = float(brentq(lacking, 0.0, most, xtol=1e-12))
    return Plan(users, min(users, ceil(design.mean_information * noise(effect) / effect**2)), effect)


def users_for_mismatch(shares: Sequence[float], actual: Sequence[float], power: float) -> int:
    """The users at which the sample-ratio test finds, with this power, that the shares are not those intended.

    Args:
        shares: what the settings say, of each arm.
        actual: the shares that users really have.
        power: the probability.
    """
    intended, real = (np.asarray(one) / np.sum(one) for one in (shares, actual))
    noncentral = float(np.sum((real - intended) ** 2 / intended))
    freedom = len(intended) - 1
    limit = float(chdtri(freedom, MISMATCH))
    needs = brentq(lambda noncentrality: 1 - chndtr(limit, freedom, noncentrality) - power, 1e-9, 1e4)
    return ceil(float(needs) / noncentral)
