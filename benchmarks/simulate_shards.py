"""A seeded simulation of requests to N shards: latency and availability by shards, replicas and hedging.

The time that a shard computes is drawn from what `bench_scale.py` has measured. The rest is assumed, and written into
the result beside the figures.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import typer
from _harness import write
from _shard_queues import NEVER, all_down, covered, outages, serve
from _tables import result
from numpy.typing import NDArray

from multirecall.progress import terminal_progress

SHARDS = (1, 4, 10, 25, 50, 100)
YEAR_S = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is not measured.

    Attributes:
        load: the share of one thread of a replica that the requests take if a shard has one replica.
        hop_ms: the time of a message from the client to a shard and back.
        straggler_share: the share of calls that a replica is slow for: a page that is not in memory, a full core.
        straggler_ms: how much longer such a call takes.
        process_days: the mean time between two ends of a replica's process, deployments among them.
        process_back_s: how long a process is away.
        node_days: the mean time between two ends of a machine; each replica has one of its own.
        node_back_s: how long a machine is away.
    """

    load: float = 0.3
    hop_ms: float = 0.5
    straggler_share: float = 0.005
    straggler_ms: float = 50.0
    process_days: float = 7.0
    process_back_s: float = 60.0
    node_days: float = 90.0
    node_back_s: float = 900.0


def latencies(
    shards: int,
    replicas: int,
    hedged: bool,
    service_ms: NDArray[np.float64],
    merge_ms: float,
    assumed: Assumptions,
    rng: np.random.Generator,
    n_requests: int,
    lost: int = 0,
) -> tuple[NDArray[np.float64], float]:
    """The latency of each request in milliseconds, and the share of calls that were sent to a second replica.

    Args:
        shards: the number of shards.
        replicas: the number of replicas of each.
        hedged: whether a second replica is asked after the time within which 95 % of all calls are answered without.
        service_ms: equally likely times that a shard computes.
        merge_ms: the time in which the client merges the lists.
        assumed: the rest.
        rng: draws arrivals, times and stragglers.
        n_requests: their number.
        lost: the number of shards of which one replica is down all the time.
    """
    mean = service_ms.mean() + assumed.straggler_share * assumed.straggler_ms
    arrivals = np.cumsum(rng.exponential(mean / assumed.load, n_requests))
    drawn = []
    for _ in range(shards):
        service = rng.choice(service_ms, (n_requests, 2))
        service += assumed.straggler_ms * (rng.random((n_requests, 2)) < assumed.straggler_share)
        drawn.append(service)
    up = [replicas - (shard < lost) for shard in range(shards)]
    answers = [serve(arrivals, own, NEVER, n)[0] for own, n in zip(drawn, up, strict=True)]
    second = 0.0
    if hedged and replicas > 1:
        delay = float(np.quantile(np.concatenate([done - arrivals for done in answers]), 0.95))
        both = [serve(arrivals, own, delay, n) for own, n in zip(drawn, up, strict=True)]
        answers, second = [done for done, _ in both], float(np.mean([twice.mean() for _, twice in both]))
    slowest = np.max(answers, axis=0) - arrivals
    return slowest + assumed.hop_ms + merge_ms, second


def full_share(shards: int, replicas: int, assumed: Assumptions, years: float, rng: np.random.Generator) -> float:
    """The share of the time in which every shard has a replica that is up, so that answers are full."""
    span = years * YEAR_S
    gaps: list[tuple[float, float]] = []
    for _ in range(shards):
        down = []
        for _ in range(replicas):
            process = outages(assumed.process_days * 86_400, assumed.process_back_s, span, rng)
            node = outages(assumed.node_days * 86_400, assumed.node_back_s, span, rng)
            order = np.argsort(np.concatenate([process[0], node[0]]))
            down.append(_joined(*(np.concatenate(both)[order] for both in zip(process, node, strict=True))))
        gaps += all_down(down)
    return 1 - covered(gaps, span) / span


def _joined(begins: NDArray[np.float64], ends: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same outages, those that overlap as one; `begins` is ascending."""
    if not begins.size:
        return begins, ends
    reached = np.maximum.accumulate(ends)
    new = np.append(True, begins[1:] > reached[:-1])
    return begins[new], np.append(reached[:-1][new[1:]], reached[-1])


def main(
    requests: Annotated[int, typer.Option(help="Requests of each simulation.")] = 20_000,
    years: Annotated[float, typer.Option(help="Years over which outages are simulated.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Root of all randomness.")] = 1,
) -> None:
    """Simulate every number of shards with one and two replicas, and write the figures."""
    assumed = Assumptions()
    scale = result("scale")["sizes"][-1]
    service_ms = np.array(scale["service_ms"])
    rows: list[dict[str, Any]] = []
    kinds = [(1, False, 0), (2, False, 0), (2, True, 0), (2, True, 1)]
    with terminal_progress() as progress, progress.task("simulations", len(SHARDS) * len(kinds)) as advance:
        for shards in SHARDS:
            for replicas, hedged, lost in kinds:
                rng = np.random.default_rng([seed, shards])
                merge_ms = scale["merge_ms_by_shards"][str(shards)]
                taken, second = latencies(shards, replicas, hedged, service_ms, merge_ms, assumed, rng, requests, lost)
                p50, p99, p999 = np.quantile(taken, [0.5, 0.99, 0.999]).tolist()
                what = {"shards": shards, "replicas": replicas, "hedged": hedged, "lost": lost}
                rows.append({**what, "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "second_share": second})
                advance(1)
    full = [
        {
            "shards": shards,
            "replicas": replicas,
            "full_share": full_share(shards, replicas, assumed, years, np.random.default_rng([seed, shards, replicas])),
        }
        for shards in SHARDS
        for replicas in (1, 2, 3)
    ]
    given = {"assumed": asdict(assumed), "items_of_a_shard": scale["items"], "requests": requests, "years": years}
    typer.echo(write("shards", {**given, "seed": seed, "latency": rows, "availability": full}))


if __name__ == "__main__":
    typer.run(main)
