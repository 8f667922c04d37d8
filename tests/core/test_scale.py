"""The arithmetic and the simulation behind docs/scale.md."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pytest
from _scale import cores, gigabits, growth, histories_bytes, per_item, request_bytes, service_ms
from _shard_queues import NEVER, all_down, covered, outages, serve
from _tables import result
from numpy.typing import NDArray
from simulate_shards import YEAR_S, Assumptions, _joined, full_share, latencies

SIZE: dict[str, Any] = {
    "items": 400,
    "paths": {"lists": {"divided": 60.0, "repeated": 2.0}, "tower": {"divided": 40.0, "repeated": 30.0}},
    "data": {"item": 8.0, "user": 10.0, "event": 20.0},
    "service_ms": [3.0, 5.0],
    "sent_bytes": 100.0,
    "answer_bytes": 900.0,
}


def test_memory_by_hand() -> None:
    every, no_tower = per_item(SIZE), per_item(SIZE, without=("tower",))
    assert (every.divided, every.repeated) == (100.0, 40.0)
    assert (no_tower.divided, no_tower.repeated) == (60.0, 10.0)
    assert every.of_shard(4, items=1_000) == 1_000 * (25 + 40)
    assert every.of_all(4, replicas=2, items=1_000) == 2 * (100 + 4 * 40) * 1_000
    assert histories_bytes(SIZE, users=3, events=5) == 3 * (10 + 5 * 20)


def test_network_and_computing_by_hand() -> None:
    assert request_bytes(SIZE, 10) == (1_000.0, 9_000.0)
    assert gigabits(10_000, requests=25_000) == 2.0
    small = {"items": 100, "service_ms": [2.0]}
    assert growth(small, SIZE) == pytest.approx(0.5)
    assert service_ms(small, SIZE, 1_600) == pytest.approx(8.0)
    assert cores(10, 4.0, 10.0, requests=100, load=0.5) == pytest.approx(10.0)


def slow_serve(
    arrivals: NDArray[np.float64], service: NDArray[np.float64], delay: float, n_replicas: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The oracle: a queue of events, each of which happens at its time."""
    queues: list[list[float]] = [[] for _ in range(n_replicas)]
    answers: list[list[float]] = [[] for _ in arrivals]
    asked: list[list[int]] = [[] for _ in arrivals]
    events = [(moment, 1, number, 0) for number, moment in enumerate(arrivals.tolist())]
    heapq.heapify(events)
    while events:
        now, _, number, attempt = heapq.heappop(events)
        if attempt and min(answers[number]) <= now:
            continue
        others = [replica for replica in range(n_replicas) if replica not in asked[number]]
        if not others:
            continue
        free = {replica: max([0.0, *queues[replica]]) for replica in others}
        chosen = min(others, key=lambda replica: (free[replica], replica))
        end = max(now, free[chosen]) + float(service[number, attempt])
        queues[chosen].append(end)
        answers[number].append(end)
        asked[number].append(chosen)
        if not attempt and delay < NEVER:
            heapq.heappush(events, (now + delay, 2, number, 1))
    return np.array([min(one, default=NEVER) for one in answers]), np.array([len(one) > 1 for one in asked])


@pytest.mark.parametrize("n_replicas", [1, 2, 3])
@pytest.mark.parametrize("delay", [0.0, 0.7, 2.0, NEVER])
def test_queues_equal_an_oracle(delay: float, n_replicas: int) -> None:
    rng = np.random.default_rng(n_replicas)
    arrivals = np.cumsum(rng.exponential(1.0, 300))
    service = rng.exponential(0.8, (300, 2))
    for own, expected in zip(
        serve(arrivals, service, delay, n_replicas), slow_serve(arrivals, service, delay, n_replicas), strict=True
    ):
        assert np.array_equal(own, expected)


def test_a_hedged_request_by_hand() -> None:
    arrivals, service = np.array([0.0, 10.0]), np.array([[9.0, 2.0], [1.0, 1.0]])
    done, twice = serve(arrivals, service, 3.0, 2)
    assert done.tolist() == [5.0, 11.0]
    assert twice.tolist() == [True, False]
    assert serve(arrivals, service, 3.0, 0)[0].tolist() == [NEVER, NEVER]


def test_outages_of_all_replicas_equal_those_on_a_grid() -> None:
    rng = np.random.default_rng(0)
    replicas = [outages(5.0, 2.0, 1_000.0, rng) for _ in range(3)]
    grid = np.arange(0.0, 1_000.0, 0.01)
    down = [
        (np.searchsorted(begins, grid, side="right") - np.searchsorted(ends, grid, side="right")) > 0
        for begins, ends in replicas
    ]
    expected = np.logical_and.reduce(down).mean()
    assert 0.01 < expected < 0.1
    assert covered(all_down(replicas), 1_000.0) / 1_000 == pytest.approx(expected, abs=1e-3)


def test_overlapping_intervals_count_once() -> None:
    assert covered([(5.0, 9.0), (1.0, 3.0), (2.0, 4.0), (8.0, 99.0)], 10.0) == 3.0 + 5.0
    begins, ends = _joined(np.array([0.0, 1.0, 5.0]), np.array([3.0, 2.0, 6.0]))
    assert (begins.tolist(), ends.tolist()) == ([0.0, 5.0], [3.0, 6.0])


@pytest.mark.parametrize(("shards", "replicas"), [(1, 1), (10, 1), (10, 2)])
def test_availability_is_near_the_closed_form(shards: int, replicas: int) -> None:
    """Independent replicas that are down for a share q of the time: all shards answer for (1 - q^R)^N of it."""
    assumed = Assumptions(process_days=1.0, process_back_s=3_600.0, node_days=1e6)
    down = 3_600 / (86_400 + 3_600)
    share = full_share(shards, replicas, assumed, 20.0, np.random.default_rng(1))
    assert 1 - share == pytest.approx(1 - (1 - down**replicas) ** shards, rel=0.1)
    assert share < 1
    assert YEAR_S == 31_536_000


def test_without_queues_an_answer_is_as_late_as_the_slowest_shard() -> None:
    """Ten shards of which each takes 1 or 2 ms, seldom asked: the median answer has met a slow one."""
    assumed = Assumptions(load=1e-6, hop_ms=0.25, straggler_share=0.0)
    service = np.array([1.0] * 9 + [2.0])
    taken, second = latencies(10, 1, False, service, 0.5, assumed, np.random.default_rng(0), 4_000)
    assert sorted(set(taken.round(6).tolist())) == [1.75, 2.75]
    assert (taken > 2).mean() == pytest.approx(1 - 0.9**10, abs=0.03)
    assert second == 0.0


def test_the_result_file_is_what_the_simulation_gives() -> None:
    figures, scale = result("shards"), result("scale")["sizes"][-1]
    assumed = Assumptions(**figures["assumed"])
    row = next(one for one in figures["latency"] if one["shards"] == 4 and one["hedged"] and not one["lost"])
    rng = np.random.default_rng([figures["seed"], 4])
    service = np.array(scale["service_ms"])
    taken, second = latencies(4, 2, True, service, scale["merge_ms_by_shards"]["4"], assumed, rng, figures["requests"])
    assert np.quantile(taken, [0.5, 0.99]) == pytest.approx([row["p50_ms"], row["p99_ms"]])
    assert second == pytest.approx(row["second_share"])
    rng = np.random.default_rng([figures["seed"], 4, 1])
    share = next(one["full_share"] for one in figures["availability"] if (one["shards"], one["replicas"]) == (4, 1))
    assert full_share(4, 1, assumed, figures["years"], rng) == pytest.approx(share)


def test_hedging_shortens_the_tail_of_few_shards() -> None:
    rows = {(one["shards"], one["replicas"], one["hedged"], one["lost"]): one for one in result("shards")["latency"]}
    assert rows[4, 2, True, 0]["p99_ms"] < rows[4, 2, False, 0]["p99_ms"] / 2
    assert rows[100, 2, False, 0]["p50_ms"] > 2 * rows[1, 2, False, 0]["p50_ms"]
