"""Shapley values of the paths: what each is worth, averaged over all orders of joining (Shapley 1953)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial

import numpy as np

EXACT_UP_TO = 6
"""Players for which all subsets are valued; for more, orders are drawn."""

ORDERS = 12
"""Orders that are drawn, each with its reverse."""


@dataclass(frozen=True, slots=True)
class Shapley:
    """The values, which sum to that of all players, and whether they are exact."""

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

    For many players the mean over random orders with their reverses takes its place (Castro et al., C&OR 2009),
    which sums to `v` of all players just as well.

    Args:
        n_players: how many, numbered from 0.
        value: `v`; of the empty set it is taken as 0. Asked once for each subset.
        exact_up_to: players for which it is computed exactly.
        orders: orders that are drawn beyond that.
        seed: of the draw.
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
