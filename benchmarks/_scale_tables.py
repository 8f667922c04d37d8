"""The tables of docs/scale.md, from what was measured and simulated."""

from __future__ import annotations

from typing import Any

from _scale import (
    EVENTS_A_USER,
    GB,
    ITEMS,
    REQUESTS_A_SECOND,
    SHARDS,
    USERS,
    cores,
    gigabits,
    growth,
    histories_bytes,
    per_item,
    request_bytes,
    service_ms,
)
from _tables import machine_of, result, table

TOWER = ("two_tower",)


def scale_bytes() -> str:
    """What was measured: bytes for an item, a user, an event and a request."""
    figures = result("scale")
    size = figures["sizes"][-1]
    rows = [[f"`{name}`", f"{own['divided']:,.0f}", f"{own['repeated']:,.0f}"] for name, own in size["paths"].items()]
    rows.append(["item table and vocabulary", "–", f"{size['data']['item']:,.0f}"])
    total = per_item(size)
    rows.append(["**all**", f"**{total.divided:,.0f}**", f"**{total.repeated:,.0f}**"])
    smallest = figures["sizes"][0]
    return (
        f"Bytes an item on {size['items']:,} generated items with text ids of 7 letters, features and vectors of 64 "
        f"dimensions:\n\n{table(['', 'divided among shards', 'in every shard'], rows)}\n\n"
        f"A user takes {size['data']['user']:.0f} bytes beside their events, an event {size['data']['event']:.0f}. A "
        f"request with a history of {figures['history']} events sends {size['sent_bytes']:,.0f} bytes of arrays to a "
        f"shard and gets {size['answer_bytes']:,.0f} back: a row and a score for each of the {sum(size['windows']):,} "
        f"items that {len(size['windows'])} windows ask for. A shard computes for {_mean(smallest):.1f} ms with "
        f"{smallest['items']:,} items and for {_mean(size):.1f} ms with {size['items']:,}, on one thread; between the "
        f"two, the time grows with the power {growth(smallest, size):.2f} of the items. "
        f"Machine: {machine_of(figures)}."
    )


def scale_memory() -> str:
    """Memory by the number of shards."""
    size = result("scale")["sizes"][-1]
    rows = []
    for shards in SHARDS:
        cells = [str(shards)]
        for without in ((), TOWER):
            own = per_item(size, without)
            cells += [f"{own.of_shard(shards) / GB:,.0f}", f"{own.of_all(shards, 2) / GB:,.0f}"]
        rows.append(cells)
    head = [
        "shards",
        "GB of a shard",
        "GB of all, 2 replicas",
        "a shard without `two_tower`",
        "all without it, 2 replicas",
    ]
    return (
        f"{ITEMS:,} items:\n\n{table(head, rows)}\n\nThe histories of {USERS:,} users of {EVENTS_A_USER} events would "
        f"add {histories_bytes(size) / GB:,.0f} GB to each shard."
    )


def scale_network() -> str:
    """Messages, and computing time, by the number of shards."""
    smallest, size = (result("scale")["sizes"][place] for place in (0, -1))
    rows = []
    for shards in SHARDS:
        sent, got = request_bytes(size, shards)
        ms, merge_ms = service_ms(smallest, size, ITEMS / shards), size["merge_ms_by_shards"].get(str(shards), 0.0)
        rows.append(
            [
                str(shards),
                f"{sent / 1e3:,.1f}",
                f"{got / 1e3:,.0f}",
                f"{gigabits(sent + got):,.1f}",
                f"{ITEMS // shards:,}",
                f"{ms:,.0f}",
                f"{merge_ms:.2f}",
                f"{cores(shards, ms, merge_ms):,.0f}",
            ]
        )
    head = [
        *("shards", "KB sent a request", "KB back", f"Gbit/s at {REQUESTS_A_SECOND:,} requests/s"),
        *("items of a shard", "ms of a shard, extrapolated", "ms of the merge, measured", "cores at half load"),
    ]
    return table(head, rows)


def scale_latency() -> str:
    """Simulated latencies."""
    figures = result("shards")
    rows = [
        [
            str(one["shards"]),
            f"{one['replicas']}, one shard with one down" if one["lost"] else str(one["replicas"]),
            "yes" if one["hedged"] else "no",
            *(f"{one[name]:,.1f}" for name in ("p50_ms", "p99_ms", "p999_ms")),
            f"{one['second_share']:.1%}" if one["hedged"] else "–",
        ]
        for one in figures["latency"]
    ]
    return table(["shards", "replicas", "hedged", "p50, ms", "p99", "p99.9", "calls sent twice"], rows)


def scale_availability() -> str:
    """Simulated availability."""
    figures = result("shards")["availability"]
    replicas = sorted({one["replicas"] for one in figures})
    rows = [
        [str(shards), *(_share(_of(figures, shards, number)) for number in replicas)]
        for shards in sorted({one["shards"] for one in figures})
    ]
    return table(["shards", *(f"{number} replica{'s' * (number > 1)}" for number in replicas)], rows)


def scale_assumptions() -> str:
    """What the simulation assumes."""
    figures = result("shards")
    one = figures["assumed"]
    return (
        f"Assumed, not measured: requests arrive at random, at {one['load']:.0%} of what one thread of a single "
        f"replica can serve; a message takes {one['hop_ms']} ms there and back; {one['straggler_share']:.1%} of the "
        f"calls take {one['straggler_ms']:.0f} ms longer; a process ends every {one['process_days']:.0f} days and is "
        f"back after {one['process_back_s']:.0f} s, a machine every {one['node_days']:.0f} days and is back after "
        f"{one['node_back_s'] / 60:.0f} minutes; each replica has a machine of its own. Measured: the times of a shard "
        f"of {figures['items_of_a_shard']:,} items, and of the merge. {figures['requests']:,} requests a row; "
        f"{figures['years']:.0f} years of outages."
    )


def scale_purchase() -> str:
    """What to buy for a number of shards, and what the writer takes."""
    smallest, size = (result("scale")["sizes"][place] for place in (0, -1))
    shards = 10
    sent, got = request_bytes(size, shards)
    ms, merge_ms = service_ms(smallest, size, ITEMS / shards), size["merge_ms_by_shards"][str(shards)]
    needed = cores(shards, ms, merge_ms)
    lines = []
    for without, what in (((), "with `two_tower`"), (TOWER, "without it")):
        own = per_item(size, without).of_shard(shards) / GB
        lines.append(f"{2 * shards} machines of {_fitting(own)} GB memory {what} ({own:,.0f} GB of arrays each)")
    journal = {one["events_per_batch"]: one["events_per_s"] for one in result("journal")["logs"] if _is_ours(one)}
    return (
        f"- **Shards**: {shards} shards with two replicas are {'; or '.join(lines)}.\n"
        f"- **Cores**: {needed:,.0f} for {REQUESTS_A_SECOND:,} requests a second at half load, if the time of a shard "
        f"grows on as measured, that is {needed / (2 * shards):,.0f} in each of these machines. This is the figure to "
        "measure first: shards of the true size have not been timed here.\n"
        f"- **Network**: {gigabits(sent + got):,.1f} Gbit/s between clients and shards.\n"
        f"- **Histories**: a store outside the shards with {histories_bytes(size) / 1e12:,.1f} TB, or the newest "
        "events only.\n"
        f"- **The writer**: one process, which journals {journal[1]:,.0f} events a second one by one and "
        f"{journal[1000]:,.0f} in batches of 1,000 ([journal](decisions/journal.md))."
    )


def _is_ours(one: dict[str, Any]) -> bool:
    return bool(one["log"] == "journal")


def _fitting(gb: float) -> int:
    """The least memory, of a usual size, of which the arrays take at most three quarters."""
    return next(one for one in (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024) if gb <= 0.75 * one)


def _share(share: float) -> str:
    minutes = (1 - share) * 365 * 24 * 60
    if minutes == 0:
        return "never partial"
    return f"{minutes:,.0f} min" if minutes >= 10 else f"{minutes * 60:,.0f} s"


def _of(figures: list[dict[str, Any]], shards: int, replicas: int) -> float:
    [share] = [one["full_share"] for one in figures if (one["shards"], one["replicas"]) == (shards, replicas)]
    return float(share)


def _mean(size: dict[str, Any]) -> float:
    return float(sum(size["service_ms"]) / len(size["service_ms"]))
