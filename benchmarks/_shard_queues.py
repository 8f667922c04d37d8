"""Replicas of one shard as queues, and the times at which all replicas of some shard are down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel

Times = NDArray[np.float64]

NEVER = np.inf


@kernel
def serve(arrivals: Array, service: Array, delay: float, n_replicas: int) -> tuple[Array, Array]:
    """When one shard has answered each request, and which requests were sent to a second replica.

    A request goes to the replica that will be free first, and waits behind what that one has been given. If it is not
    answered `delay` after its arrival, the replica that will be free first among the others gets it as well. The first
    answer counts; the other one is computed all the same, as a shard does not learn that nobody waits any more.

    Args:
        arrivals: float64 (n,), ascending.
        service: float64 (n, 2), how long the first and the second replica compute.
        delay: infinity for no second replica.
        n_replicas: at least 1; 0 replicas answer never.

    Returns:
        The times of the answers, float64 (n,), and whether each request was sent twice, bool (n,).
    """
    n = arrivals.size
    free = np.zeros(n_replicas)
    done, first, hedged = np.full(n, np.inf), np.zeros(n, np.int64), np.zeros(n, np.bool_)
    if n_replicas == 0:
        return done, hedged
    due, arriving = 0, 0
    while arriving < n or (n_replicas > 1 and due < n and delay < np.inf):
        if arriving < n and (due == arriving or n_replicas == 1 or arrivals[arriving] <= arrivals[due] + delay):
            chosen = np.argmin(free)
            begin = max(arrivals[arriving], free[chosen])
            free[chosen] = begin + service[arriving, 0]
            done[arriving], first[arriving] = free[chosen], chosen
            arriving += 1
            continue
        now = arrivals[due] + delay
        if done[due] > now:
            other = -1
            for replica in range(n_replicas):
                if replica != first[due] and (other < 0 or free[replica] < free[other]):
                    other = replica
            begin = max(now, free[other])
            free[other] = begin + service[due, 1]
            done[due] = min(done[due], free[other])
            hedged[due] = True
        due += 1
    return done, hedged


def outages(between: float, back_after: float, span: float, rng: np.random.Generator) -> tuple[Times, Times]:
    """The beginnings and ends of the outages of one replica: exponential times between them, each of one length."""
    expected = span / between
    gaps = rng.exponential(between, int(expected + 10 * np.sqrt(expected) + 20))
    begins = np.cumsum(gaps + back_after) - back_after
    return begins[begins < span], begins[begins < span] + back_after


def all_down(replicas: list[tuple[Times, Times]]) -> list[tuple[float, float]]:
    """The intervals in which all of some replicas are down."""
    found = list(zip(*(one.tolist() for one in replicas[0]), strict=True))
    for begins, ends in replicas[1:]:
        both = []
        for begin, end in found:
            place = int(np.searchsorted(ends, begin, side="right"))
            while place < begins.size and begins[place] < end:
                both.append((max(begin, float(begins[place])), min(end, float(ends[place]))))
                place += 1
        found = both
    return found


def covered(intervals: list[tuple[float, float]], span: float) -> float:
    """The time, up to `span`, that lies in one of the intervals at least."""
    total, reached = 0.0, 0.0
    for begin, end in sorted(intervals):
        begin, end = max(begin, reached), min(end, span)
        total += max(end - begin, 0.0)
        reached = max(reached, end)
    return total
