"""The tables of adaptive width: what a level takes and finds, and what it makes of more load than there is room for."""

from __future__ import annotations

from _tables import machine_of, result, table


def width() -> str:
    """Levels, and runs under more load than the machine can take."""
    figures = result("width")
    spare = " and ".join(f"`{name}`" for name in figures["spare"])
    plain, sparing = figures["levels"][""], figures["levels"]["sparing"]
    levels = [
        [
            f"{one['level']}: {one['width']:g}",
            *(f"{own['mean_ms']:.2f} ms, {own['recall'] / plain[0]['recall']:.1%}" for own in (one, other)),
        ]
        for one, other in zip(plain, sparing, strict=True)
    ]
    runs = [
        [
            name,
            f"{own['in_time']:.1%}",
            f"{own['refused']:.1%}",
            f"{own['p50_ms']:,.1f} ms",
            f"{own['p99_ms']:,.1f} ms",
            f"{own['of_full']:.1%}" if own["in_time"] else "–",
        ]
        for name, own in figures["runs"].items()
    ]
    n = len(figures["paths"])
    return (
        f"{figures['items']:,} generated items, {n} paths of {figures['quota']}, k = {figures['k']}, one thread. Time "
        f"and recall of a request by level, the recall as a share of that at full width; with {spare} spare, whose "
        "absence costs the least recall for the time that it saves, by users whom no figure here is about:\n\n"
        + table(["level: width", "mean", f"{spare} spare"], levels)
        + f"\n\n{figures['load']:g} × the {figures['capacity']:,.0f} requests a second that full width can answer, for "
        f"{figures['seconds']:g} s, at random moments, {figures['target_ms']:g} ms each with the time in the queue:\n\n"
        + table(["adaptive width", "in time", "refused", "p50", "p99", "recall of those in time"], runs)
        + f"\n\n{machine_of(figures)}."
    )
