"""Experiments on simulated users with a known truth: false alarms while looking daily, power beside the plan, the users
that interleaving needs, and wrong splits."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _harness import write
from numpy.typing import NDArray
from scipy.special import ndtr

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.engine.fuse import plan_of
from multirecall.engine.merge import team_draft
from multirecall.monitoring.experiments import (
    Design,
    noise_of_means,
    noise_of_preferences,
    noise_of_rates,
    plan_users,
    users_for_mismatch,
)
from multirecall.monitoring.experiments.estimates import mismatch_p, ratio_of
from multirecall.monitoring.experiments.report import preferences_of
from multirecall.monitoring.experiments.sequential import FEWEST, p_value, spread_for
from multirecall.progress import terminal_progress

Floats = NDArray[np.float64]

PLANNED = {"planned_005": 0.05, "planned_03": 0.3}
"""Relative effects for which always-valid tests are planned: far too small for so few users, and one that they find."""

TESTS = (*PLANNED, "ordinary", "ordinary_at_end")


def daily(rng: np.random.Generator, days: int, users: int, cohort: bool) -> dict[str, tuple[Floats, Floats]]:
    """Sums by day and user, (days, users), of both arms alike: users come over time, come back, and differ.

    A hit rate by request, and a heavy-tailed mean by user and day.
    """
    first = np.zeros(users) if cohort else rng.integers(0, days, users)
    here = np.arange(days)[:, None] >= first
    requests = rng.poisson(rng.gamma(1.0, 0.5, users), (days, users)) * here
    requests[first.astype(int), np.arange(users)] += 1
    hits = rng.binomial(requests, rng.beta(1, 6, users))
    spent = requests * rng.lognormal(0, 1.2, users) * rng.lognormal(0, 1.2, (days, users))
    asked = requests.cumsum(0).astype(float)
    return {
        "hit_rate": (hits.cumsum(0).astype(float), asked),
        "heavy-tailed by day": (spent.cumsum(0), here.cumsum(0).astype(float)),
    }


def false_alarms(runs: int, days: int, users: int, cohort: bool, progress: Any) -> dict[str, Any]:
    """The share of A/A experiments that raise an alarm on any day."""
    found: dict[str, Any] = {}
    with progress.task("A/A", runs) as advance:
        for run in range(runs):
            rng = np.random.default_rng([1, int(cohort), run])
            for metric, (top, bottom) in daily(rng, days, users, cohort).items():
                half = users // 2
                begun = (bottom[:, :half] > 0).sum(1) >= FEWEST
                begun &= (bottom[:, half:] > 0).sum(1) >= FEWEST
                arms = []
                for own in (slice(half), slice(half, None)):
                    with np.errstate(all="ignore"):
                        ratio, _ = ratio_of(top[:, own], bottom[:, own])
                        n = (bottom[:, own] > 0).sum(1)
                        rest = top[:, own] - ratio[:, None] * bottom[:, own]
                        variance = np.square(rest).sum(1) / np.square(bottom[:, own].sum(1)) * n / (n - 1)
                    arms.append((ratio, variance))
                (base, base_variance), (other, other_variance) = arms
                variance, difference = base_variance + other_variance, other - base
                begun &= np.isfinite(variance) & (variance > 0)
                z = np.abs(difference[begun]) / np.sqrt(variance[begun])
                own_counts = found.setdefault(metric, dict.fromkeys(TESTS, 0))
                for name, effect in PLANNED.items():
                    p = p_value(difference[begun], variance[begun], spread_for(effect * base[begun], 0.05))
                    own_counts[name] += bool((p < 0.05).any())
                own_counts["ordinary"] += bool((2 * ndtr(-z) < 0.05).any())
                own_counts["ordinary_at_end"] += bool(2 * ndtr(-z[-1]) < 0.05)
            advance(1)
    return {metric: {name: count / runs for name, count in own.items()} for metric, own in found.items()}


def power_of_rates(baseline: float, lift: float, share: float, looks: int | None, runs: int) -> dict[str, Any]:
    """The power that tests of rates really have at the planned size, with one answer for each user."""
    design = Design(looks=looks)
    effect = baseline * lift
    plan = plan_users(effect, noise_of_rates(baseline, (1 - share, share)), design)
    rng = np.random.default_rng([2, looks or 0, int(1000 * baseline), int(100 * share)])
    steps = looks or 1
    ends = np.round(np.arange(1, steps + 1) / steps * plan.users).astype(int)
    arrived = np.diff(ends, prepend=0)
    to_other = rng.binomial(arrived, share, (runs, steps))
    counts = (arrived - to_other).cumsum(1), to_other.cumsum(1)
    hits = (
        rng.binomial(arrived - to_other, baseline).cumsum(1),
        rng.binomial(to_other, baseline + effect).cumsum(1),
    )
    rates = [one / n for one, n in zip(hits, counts, strict=True)]
    variance = sum(rate * (1 - rate) / n for rate, n in zip(rates, counts, strict=True))
    difference = rates[1] - rates[0]
    if looks is None:
        crossed = 2 * ndtr(-np.abs(difference) / np.sqrt(variance)) < 0.05
    else:
        crossed = p_value(difference, variance, spread_for(lift * rates[0], 0.05)) < 0.05
    any_day = crossed.any(1)
    stopped = np.where(any_day, ends[crossed.argmax(1)], plan.users)
    return {
        "baseline": baseline,
        "lift": lift,
        "share": share,
        "looks": looks,
        "users": plan.users,
        "planned": 0.8,
        "power": float(any_day.mean()),
        "planned_mean_users": plan.mean_users,
        "mean_users": float(stopped.mean()),
    }


def wrong_splits(runs: int) -> dict[str, Any]:
    """How often a split of 50.5 to 49.5 alarms at its planned size, and how often a right one does, looking daily."""
    users = users_for_mismatch([0.5, 0.5], [0.505, 0.495], 0.9)
    rng = np.random.default_rng(3)
    found: dict[str, Any] = {"users": users, "planned": 0.9}
    for name, share in (("wrong", 0.505), ("right", 0.5)):
        first = rng.binomial(users // 28, share, (runs, 28)).cumsum(1)
        total = np.arange(1, 29) * (users // 28)
        alarms = mismatch_p(np.stack([first, total - first], -1), [1, 1]) < 0.001
        found[name] = {"at_end": float(alarms[:, -1].mean()), "any_day": float(alarms.any(1).mean())}
    return found


def interleaving(pool: int, runs: int, k: int, progress: Any) -> dict[str, Any]:
    """The users that an A/B test and an interleaving need for the same power; real lists, drafts and fusions.

    What a user likes is what they did in the last fifth of a generated log. A user asks once or more, and takes a liked
    item that they are shown with a probability that falls with its place.
    """
    log = generate(n_users=2_000, n_items=1_500, n_interactions=80_000, seed=5).interactions.sort("timestamp")
    cut = int(log.height * 0.8)
    paths: list[dict[str, Any]] = [{"retriever": "item_cf"}, {"retriever": "popularity"}]
    old = EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}})
    paths = [{"retriever": "item_cf", "weight": 1.5}, {"retriever": "popularity"}]
    new = EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}})
    engine = Engine(old).fit(Dataset.from_frames(log[:cut]))
    likes = {
        key[0]: set(own["item_id"].to_list()) for key, own in log[cut:].partition_by("user_id", as_dict=True).items()
    }
    known = [user for user in likes if engine.data.users.ids.rows(np.array([user]))[0] >= 0]
    plans = [plan_of(config, engine.paths) for config in (old, new)]
    ids, drafts = engine.data.items.ids.ids(), 8
    gives = 0.35 / np.log2(np.arange(k) + 2)
    chances: dict[str, Floats] = {"old": np.zeros((len(known), k)), "new": np.zeros((len(known), k))}
    sides, drafted = np.zeros((len(known), drafts, k), np.int8), np.zeros((len(known), drafts, k))
    with progress.task("lists", len(known)) as advance:
        for row, user in enumerate(known):
            trace = engine.trace(user, k)
            length = trace.history[0].size
            lists = [trace.lists[name] for name in engine.paths]
            fused = [plan.fuse(lists, length, 10 * k) for plan in plans]
            for name, one in zip(("old", "new"), fused, strict=True):
                liked = np.isin(ids[one.items[:k]], list(likes[user]))
                chances[name][row, : liked.size] = liked * gives[: liked.size]
            for number in range(drafts):
                both, draw = team_draft(fused[0], fused[1], k, f"{user}-{number}")
                n = len(both)
                assert draw is not None
                drafted[row, number, :n] = np.isin(ids[both.items], list(likes[user])) * gives[:n]
                sides[row, number, :n] = draw.team
            advance(1)
    engine.close()
    rng = np.random.default_rng(6)
    asks = 1 + rng.poisson(1.0, pool)
    sums = {name: (np.zeros(pool), asks.astype(float)) for name in chances}
    credits = np.zeros((pool, 2))
    who = {name: rng.integers(0, len(known), pool) for name in ("old", "new", "both")}
    for ask in range(int(asks.max())):
        on = np.flatnonzero(asks > ask)
        for name, chance in chances.items():
            sums[name][0][on] += (rng.random((on.size, k)) < chance[who[name][on]]).any(1)
        which = rng.integers(0, drafts, on.size)
        taken = rng.random((on.size, k)) < drafted[who["both"][on], which]
        side = sides[who["both"][on], which]
        for team in (0, 1):
            credits[on, team] += (taken & (side == team)).sum(1)
    base, base_variance = ratio_of(*sums["old"])
    other, other_variance = ratio_of(*sums["new"])
    scores, gave = preferences_of(credits)
    preference, _ = ratio_of(scores, gave)
    credited = float(gave.mean())
    effect, sd = float(other - base), float(np.sqrt((base_variance + other_variance) / 2 * pool))
    found: dict[str, Any] = {
        "k": k,
        "baseline": float(base),
        "effect": effect,
        "preference": float(preference),
        "credited": credited,
        "pool": pool,
    }
    for name, looks in (("once", None), ("sequential", 28)):
        design = Design(looks=looks)
        ab = plan_users(effect, noise_of_means(sd, (0.5, 0.5)), design).users
        draft = plan_users(abs(float(preference)), noise_of_preferences(credited, 1.0), design).users
        power = _powers(sums, (scores, gave), ab, draft, looks, runs, float(preference), effect / float(base))
        found[name] = {"ab_users": ab, "interleaved_users": draft, "ratio": ab / draft, **power}
    return found


def _powers(
    sums: dict[str, tuple[Floats, Floats]],
    scores: tuple[Floats, Floats],
    ab: int,
    draft: int,
    looks: int | None,
    runs: int,
    preference: float,
    lift: float,
) -> dict[str, float]:
    """The power of both tests at their sizes, on users drawn anew from the pool."""
    rng, steps = np.random.default_rng([7, looks or 0]), looks or 1
    alarms = {"ab_power": 0, "interleaved_power": 0, "interleaved_with_a_fifth": 0}
    pool = scores[0].size
    for _ in range(runs):
        picks = rng.integers(0, pool, (2, ab // 2))
        arms = [
            _growing(top[own], bottom[own], steps)
            for (top, bottom), own in zip((sums["old"], sums["new"]), picks, strict=True)
        ]
        (base, first), (other, second) = arms
        alarms["ab_power"] += _alarms(other - base, first + second, lift * base, looks)
        for name, n in (("interleaved_power", draft), ("interleaved_with_a_fifth", ab // 5)):
            own = rng.integers(0, pool, n)
            mean, variance = _growing(scores[0][own], scores[1][own], steps)
            alarms[name] += _alarms(mean, variance, preference, looks)
    return {name: count / runs for name, count in alarms.items()}


def _growing(top: Floats, bottom: Floats, steps: int) -> tuple[Floats, Floats]:
    """A ratio and its variance at each look; none before enough users are there, as in a report."""
    ends = np.round(np.arange(1, steps + 1) / steps * top.size).astype(int)
    found = [ratio_of(top[:end], bottom[:end]) for end in ends]
    enough = np.array([(bottom[:end] > 0).sum() >= FEWEST or steps == 1 for end in ends])
    variance = np.array([float(one) for _, one in found])
    return np.array([float(one) for one, _ in found]), np.where(enough, variance, np.nan)


def _alarms(difference: Floats, variance: Floats, planned: Any, looks: int | None) -> bool:
    good = np.isfinite(variance) & (variance > 0)
    if looks is None:
        return bool((2 * ndtr(-np.abs(difference) / np.sqrt(variance))[good] < 0.05).any())
    spread = np.broadcast_to(spread_for(planned, 0.05), difference.shape)
    return bool((p_value(difference[good], variance[good], spread[good]) < 0.05).any())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000, help="simulated A/A experiments of each kind")
    parser.add_argument("--days", type=int, default=60, help="days of each, with a look each day")
    parser.add_argument("--users", type=int, default=2_000, help="users of each")
    parser.add_argument("--powers", type=int, default=4_000, help="simulated experiments for each power")
    parser.add_argument("--pool", type=int, default=100_000, help="simulated users of each arm, for interleaving")
    given = parser.parse_args()
    with terminal_progress() as progress:
        figures = {
            "runs": given.runs,
            "days": given.days,
            "users": given.users,
            "aa": {
                "users who come over time": false_alarms(given.runs, given.days, given.users, False, progress),
                "users who are there from the start": false_alarms(given.runs, given.days, given.users, True, progress),
            },
            "powers": [
                power_of_rates(baseline, lift, share, looks, given.powers)
                for looks in (None, 28)
                for baseline, lift, share in ((0.1, 0.1, 0.5), (0.02, 0.2, 0.5), (0.3, 0.05, 0.2))
            ],
            "interleaving": interleaving(given.pool, given.powers // 10, 20, progress),
            "splits": wrong_splits(given.powers),
        }
    write("experiments", figures)


if __name__ == "__main__":
    main()
