"""The table of shards."""

from __future__ import annotations

from _tables import machine_of, result, table


def shards() -> str:
    """What a request to shards takes, what they hold, and what killed nodes have changed."""
    figures = result("sharded")
    memory, kills = figures["memory"], figures["kills"]
    single, whole, slowest, beyond = (
        figures[name] for name in ("single_ms", "sharded_ms", "slowest_shard_ms", "beyond_slowest_ms")
    )
    rows = [
        [name, *(f"{one[share]:.2f} ms" for share in ("p50", "p95", "p99"))]
        for name, one in (
            ("the whole engine in one process", single),
            ("the slowest shard, as it says itself", slowest),
            ("a request to all shards", whole),
            ("beyond the slowest shard", beyond),
        )
    ]
    recovery, full = sorted(kills["recovery_s"]), max(kills["full_after_s"])
    mib = {name: value / 2**20 for name, value in memory.items() if name.endswith("_bytes") and name != "shards_bytes"}
    return (
        f"{table(['request', 'p50', 'p95', 'p99'], rows)}\n\n"
        f"{figures['items']:,} items, five paths, {figures['shards']} shards of {figures['replicas']} replicas on "
        f"three Ray nodes of one machine, whose cores they share with the client: {machine_of(figures)}. Latency here "
        f"is Ray's, and that of waiting for a core.\n\n"
        f"The parts of all shards take {memory['split_bytes'] / memory['before_bytes']:.3f} times the bytes of the "
        f"paths of the whole, {mib['before_bytes']:.0f} MiB; what each shard has besides takes "
        f"{mib['replicated_bytes']:.1f} MiB, and the data {mib['data_bytes']:.0f} MiB.\n\n"
        f"A node was killed {kills['n']} times under load, each time with all of its processes: {kills['full']:,} "
        f"answers were those of the whole engine, {kills['partial']} were partial and said so, {kills['wrong']} were "
        f"wrong, and {kills['failed']} requests failed. All answers were full within {full:.1f} s; all replicas were "
        f"up again after {recovery[len(recovery) // 2]:.1f} s at the median and {recovery[-1]:.1f} s at most, of "
        "which a new node takes two to start."
    )
