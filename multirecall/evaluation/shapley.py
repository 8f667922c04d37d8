"""Shapley values of the paths: the gain by adding each path, averaged over all orders of adding (Shapley 1953)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial

import numpy as np

EXACT_UP_TO = 6
"""Number of players up to which all subsets are valued, at most 64 of them; for more players, orders are drawn."""

ORDERS = 12
"""Number of random orders, each used with its reverse; more make the values steadier and take longer."""


@dataclass(frozen=True, slots=True)
class Shapley:
    """The Shapley values, whose sum is the value of all players together, and whether they are exact."""

    values: tuple[float, ...]
    exact: bool


def shapley(
    n_players: int,
    value: Callable[[frozenset[int]], float],
    *,
    exact_up_to: int = EXACT_UP_TO,
    orders: int = ORDERS,
    seed: int = 0,
) -> Shapley:
    """`φ_p = Σ_S |S|! (n - |S| - 1)! / n! · (v(S ∪ p) - v(S))` over the subsets S without p.

    For many players, the values are estimated by the mean over random orders and their reverses (Castro et al., C&OR
    2009); the estimates also sum to `v` of all players.

    Args:
        n_players: the number of players, numbered from 0.
        value: the function `v`; it is called once for each subset, and the empty set counts 0.
        exact_up_to: the number of players up to which the values are exact.
        orders: the number of random orders for more players.
        seed: the seed of the random orders.
    """
    known: dict[frozenset[int], float] = {frozenset(): 0.0}

    def v(players: frozenset[int]) -> float:
        if players not in known:
            known[players] = value(players)
        return known[players]

    values = [0.0] * n_players
    if n_players <= exact_up_to:
        for mask in range(2**n_players):
            subset = frozenset(player for player in range(n_players) if mask >> player & 1)
            share = factorial(len(subset)) * factorial(n_players - len(subset) - 1) if len(subset) < n_players else 0
            for player in set(range(n_players)) - subset:
                values[player] += share / factorial(n_players) * (v(subset | {player}) - v(subset))
        return Shapley(tuple(values), exact=True)
    rng = np.random.default_rng(seed)
    for _ in range(orders):
        order = rng.permutation(n_players).tolist()
        for players in (order, order[::-1]):
            joined: frozenset[int] = frozenset()
            for player in players:
                values[player] += (v(joined | {player}) - v(joined)) / (2 * orders)
                joined |= {player}
    return Shapley(tuple(values), exact=False)
