"""What answers of another config would have been worth, from a log in which chance had a part.

The value of an answer is the number of its candidates that the user chose within the horizon. It is taken to be a sum
over candidates: whether a user chooses one depends neither on its place nor on the other candidates. The reward `r_i`
of a candidate of the new answer `B` that was in the logged answer `A` has the weight `1 / p_i`, where `p_i` is the
probability with which it was there.

- IPS, inverse propensity scores (Horvitz & Thompson 1952): the mean over requests of `Σ_{i ∈ A ∩ B} r_i / p_i`.
- SNIPS, self-normalised (Swaminathan & Joachims, NIPS 2015): IPS divided by the mean of `Σ_{i ∈ A ∩ B} 1 / p_i`, whose
  expectation is known to be the mean size of `B`, by which it is multiplied.
- DR, doubly robust (Dudík, Langford, Li, ICML 2011, equation 1): the mean of
  `Σ_{i ∈ B} q_i + Σ_{i ∈ A ∩ B} (r_i - q_i) / p_i`, where `q_i` is predicted by a model that was fitted on other users.

Candidates of `B` that could not have been in the logged answer are left out of all three, which are too low by what
these are worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import skew, t

from multirecall.engine.merge import chance_of_places
from multirecall.learning.bootstrap import LEVEL, Interval
from multirecall.lists import FusedBatch
from multirecall.monitoring.replay.groups import Group
from multirecall.monitoring.replay.rewards import RewardModel
from multirecall.monitoring.replay.similarity import places_in
from multirecall.monitoring.replay.sums import UserSums

REFUSED = (
    "no request of a user has propensities: turn exploration on while the log is written (Engine.use_exploration, or "
    "[explore] of the service); interleaved answers have none"
)
"""Why there are no estimates."""

NOTHING = "no candidate of the new answers was both shown and chosen, so there is nothing to weigh; log more requests"


@dataclass(frozen=True, slots=True)
class Estimates:
    """Candidates chosen per request, with 95 % intervals that are clustered by user.

    Attributes:
        requests: the requests with propensities.
        left_out: requests of users without.
        users: their users.
        hits: candidates of new answers that were shown and chosen.
        by_chance: those among them that chance could have kept away; estimates rest on these.
        unsupported: the share of the candidates of new answers that the logged answers could never show.
        logged: of the logged answers, as they were.
        ips: of the new answers, by inverse propensity scores.
        snips: the same, self-normalised.
        dr: doubly robust.
        gain: of the new answers over the logged ones, by the doubly robust estimate.
    """

    requests: int
    left_out: int
    users: int
    hits: int
    by_chance: int
    unsupported: float
    logged: Interval
    ips: Interval
    snips: Interval
    dr: Interval
    gain: Interval

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


class Counterfactual:
    """Adds up, by user, what the estimates are made of.

    Args:
        names: the paths of the other config, whose ranks the model of rewards reads.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._model = RewardModel(names)
        self._sums = UserSums(5 + self._model.width)
        self._left_out = self._hits = self._by_chance = 0

    def add(self, group: Group, everything: FusedBatch | None, new: FusedBatch, chosen: NDArray[np.bool_]) -> None:
        """Take the requests of a group that have users and propensities.

        Args:
            group: the requests.
            everything: the whole fused lists that the logged answers were drawn from; None: there are no propensities.
            new: the answers of the other config.
            chosen: whether each candidate of the logged answers was chosen, bool.
        """
        users = group.frame["user"].to_list()
        known = np.array([user is not None for user in users])
        if everything is None or not known.any():
            self._left_out += int(known.sum())
            return
        old = group.answer
        owners = np.repeat(np.arange(len(group)), np.diff(new.offsets))
        at = places_in(old.offsets, old.items, new.offsets, new.items)
        shown = at >= 0
        entries = old.offsets[owners[shown]] + at[shown]
        weights = 1.0 / group.propensity[entries]
        rewards = chosen[entries].astype(np.float64)
        supported = self._chances(group, everything, new) > 0
        self._hits += int(rewards[known[owners[shown]]].sum())
        self._by_chance += int((rewards * (weights > 1))[known[owners[shown]]].sum())

        def by_request(values: NDArray[np.float64], of: NDArray[np.int64]) -> NDArray[np.float64]:
            return np.bincount(of, values, len(group)).astype(np.float64)

        seen = owners[shown]
        features = self._model.features(group, new)
        old_owners = np.repeat(np.arange(len(group)), np.diff(old.offsets))
        direct = features.sums(owners, supported.astype(np.float64), len(group))
        corrected = features.take(shown).sums(seen, weights, len(group))
        values = np.column_stack(
            (
                by_request(rewards * weights, seen),
                by_request(weights, seen),
                by_request(supported.astype(np.float64), owners),
                np.diff(new.offsets),
                by_request(chosen.astype(np.float64), old_owners),
                direct - corrected,
            )
        )
        self._sums.add([user for user in users if user is not None], values[known])
        keep = known[old_owners]
        self._model.learn(
            self._model.features(group, old).take(keep), [users[one] for one in old_owners[keep]], chosen[keep]
        )

    def estimates(self) -> Estimates | str:
        """The estimates, or why there are none."""
        if not self._sums.names:
            return REFUSED
        if not self._hits:
            return NOTHING
        n, sums = self._sums.counts, self._sums.sums
        ips, weights, size, total, logged = sums[:, :5].T
        doubly = ips + self._model.predict(list(self._sums.names), sums[:, 5:])
        a, b, c, requests = (one.mean() for one in (ips, weights, size, n))
        snips = a / b * c / requests
        self_normalised = snips * (ips / a - weights / b + size / c - n / requests)
        return Estimates(
            int(n.sum()),
            self._left_out,
            n.size,
            self._hits,
            self._by_chance,
            float(1 - size.sum() / total.sum()) if total.sum() else 0.0,
            _ratio(logged, n),
            _ratio(ips, n),
            clustered(float(snips), self_normalised),
            _ratio(doubly, n),
            _ratio(doubly - logged, n),
        )

    def _chances(self, group: Group, everything: FusedBatch, new: FusedBatch) -> NDArray[np.float64]:
        """The probability with which each candidate of new answers is in the logged answer, (n_candidates,)."""
        places = places_in(everything.offsets, everything.items, new.offsets, new.items)
        found = np.zeros(new.items.size)
        exploration = group.config.exploration
        assert exploration is not None
        stops, backfilled = group.answer.offsets[1:], group.backfilled
        for user in range(len(group)):
            own = slice(new.offsets[user], new.offsets[user + 1])
            n = int(everything.offsets[user + 1] - everything.offsets[user])
            chances = np.append(chance_of_places(n, group.k, exploration), 0.0)
            found[own] = chances[places[own]]
            if backfilled[user]:
                rest = group.answer.items[stops[user] - backfilled[user] : stops[user]]
                found[own] = np.where(np.isin(new.items[own], rest), 1.0, found[own])
        return found


def _ratio(sums: NDArray[np.float64], n: NDArray[np.float64]) -> Interval:
    """The mean over requests of what stands in sums by user."""
    mean = sums.mean() / n.mean()
    return clustered(float(mean), (sums - mean * n) / n.mean())


def clustered(value: float, influence: NDArray[np.float64]) -> Interval:
    """An interval from what each user adds to the error of an estimate, (n_users,).

    Weights of `1 / p` make it skewed, by `γ`. So the quantiles `z` of Student's t are those of the studentised error
    after the transformation of Hall (JRSS B 1992, "On the removal of skewness by transformation"),
    `g(T) = T + a T² + a² T³ / 3 + b` with `a = γ / (3 √n)` and `b = γ / (6 √n)`.
    """
    n = influence.size
    if n < 2:
        return Interval(value, -math.inf, math.inf)
    error = float(influence.std(ddof=1)) / math.sqrt(n)
    z = float(t.ppf((1 + LEVEL) / 2, n - 1))
    if not error:
        return Interval(value, value, value)
    a = float(skew(influence)) / (3 * math.sqrt(n))
    return Interval(value, value - error * _inverse(z, a), value - error * _inverse(-z, a))


def _inverse(z: float, a: float) -> float:
    """The `T` with `g(T) = z`."""
    return z if abs(a) < 1e-9 else (math.cbrt(1 + 3 * a * (z - a / 2)) - 1) / a
