"""The tables of live writes, one event a call, and of filters by `where`."""

from __future__ import annotations

from _tables import machine_of, result, table


def live_single() -> str:
    """Single live events beside a bare table of SQLite."""
    figures = result("live-single")
    sides = {
        "bare": "a bare SQLite table, one writer",
        "one": "one event a call, one writer",
        "several": f"one event a call, {figures['writers']} writers",
        "remove_items": "`remove_items` of one item, one writer",
    }
    rows = [
        [label, *(f"{figures[name][key]:,.{digits}f}" for key, digits in COLUMNS.items())]
        for name, label in sides.items()
    ]
    one, several = figures["ratios"]["one"], figures["ratios"]["several"]
    return (
        f"Live writes to an engine with {', '.join(figures['paths'])} on {figures['items']:,} items and "
        f"{figures['users']:,} users, each durable when the call returns, beside the same rows in a bare table with "
        f"the same durability, in turn on {machine_of(figures)}, while other programs used both cores and the disk. "
        f"One writer makes {one:.2f} times the rows of the bare table, {figures['writers']} make "
        f"{several:.1f} times.\n\n" + table(["writes", "a second", "p50 ms", "p99 ms", "CPU ms each"], rows)
    )


COLUMNS = {"per_s": 0, "p50_ms": 1, "p99_ms": 1, "cpu_ms": 2}


def where() -> str:
    """What a predicate costs a request, beside a polars filter."""
    figures = result("where")
    rows = [
        [one["predicate"], f"{one['passing']:.1%}", *(f"{one[key]:.2f}" for key in ("cold_ms", "warm_ms", "polars_ms"))]
        for one in figures["predicates"]
    ]
    return (
        f"A predicate of `where` over {figures['items']:,} items, CPU milliseconds, beside a polars filter of the same "
        "column on one thread; warm: another request of the same table of items had the same values.\n\n"
        + table(["predicate", "items that pass", "first request", "warm", "polars"], rows)
    )
