"""The tables of the service."""

from __future__ import annotations

from typing import Any

from _tables import machine_of, result, table


def serve() -> str:
    """What the service adds to a call of the engine, how much it serves, and what it does under too much load."""
    figures = result("serve")
    load, half, over, peer = (figures[part] for part in ("throughput", "half_load", "overload", "peer"))

    def ms(part: dict[str, float], at: str = "p50_us") -> str:
        return f"{part[at] / 1e3:.2f} ms"

    def between(part: dict[str, Any], name: str) -> str:
        least, most = part[f"{name}_between"]
        return f"{least:.2f} to {most:.2f}"

    rows = [
        *(
            [
                f"added to `engine.retrieve` at the median, k = {k}",
                f"{figures[f'k{k}']['overhead_p50_ms']:.2f} ms",
                mark,
            ]
            for k, mark in ((100, "≤ 0.5 ms"), (500, "≤ 0.9 ms"))
        ),
        ["one connection, k = 100, at the median", ms(figures["k100"]["served"]), f"peer: {ms(peer['served'])}"],
        ["16 connections", f"{load['served_per_s']:.0f} requests/s", f"peer: {peer['served_per_s']:.0f}"],
        ["beside `engine.retrieve` in a loop", f"{load['share']:.2f} ({between(load, 'share')})", "≥ 0.6"],
        ["half of that load: p50, p99", f"{ms(half['latency'])}, {ms(half['latency'], 'p99_us')}", "p99 ≤ 3 × p50"],
        [
            "three times of it: served",
            f"{over['share_of_capacity']:.2f} ({between(over, 'share_of_capacity')}) of what can be served",
            "≥ 0.8",
        ],
        ["p99 of what is served", ms(over["served"], "p99_us"), f"≤ {over['queue_bound_ms']:.0f} ms, by the queue"],
        ["p99 of a 429", ms(over["refused"], "p99_us"), "≤ 50 ms"],
        ["memory before and after", " and ".join(f"{one:.0f} MiB" for one in over["memory_mib"]), "flat"],
    ]
    return (
        f"{figures['n_items']:,} items, five paths, one worker, the client on the other core; the peer is "
        f"{peer['what']}. Machine: {machine_of(figures)}, load {figures['load_average'][0]:.1f} at the start."
        f"\n\n{table(['what', 'measured', 'mark or peer'], rows)}\n\n{endurance()}"
    )


def endurance() -> str:
    """What malformed requests and a long run with changes have shown."""
    bad, long = result("serve-malformed"), result("serve-soak")
    parts = (bad["by_hand"], bad["by_document"])
    answers = [bad["by_hand"]["answers"], *bad["by_document"]["answers"].values()]
    faults = sum(
        count for one in answers for status, count in one.items() if status.startswith("5") and status != "503"
    )
    growth = max(long["memory"], key=lambda one: one["mib_an_hour"])
    requests = sum(one["requests"] for one in parts)
    changes, answered = sum(long["changes"].values()), sum(long["answers"].values())
    minutes, worst = (
        long["seconds"] / 60,
        f"{growth['mib_an_hour']:.0f} MiB an hour (standard error {growth['error']:.0f})",
    )
    return (
        f"Of {requests:,} malformed requests, made by hand and from the OpenAPI document, {faults} got a 500. "
        f"In {minutes:.0f} minutes of load with {changes:,} changes, {long['changes']['refresh']} fits and "
        f"{long['changes']['rollback']} rollbacks among them, {long['wrong']} of {answered:,} answers disagreed with "
        f"what had been acknowledged. The memory of the process that grew most, with "
        f"{long['changes']['events']:,} more events, went up by {worst} to "
        f"{growth['last_mib']:.0f} MiB."
    )
