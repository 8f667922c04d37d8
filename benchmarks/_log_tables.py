"""What the docs say of the request log and its replay, from result files."""

from __future__ import annotations

from _tables import machine_of, result, table


def request_log() -> str:
    """What logging adds to the CPU time of a request, and how replay fared."""
    cost, replayed = result("request_log"), result("replay")
    rows = [
        [
            name,
            f"{own['cpu_us']:,.0f}",
            "–" if name == "off" else f"{own['added']:.1%} ({low:.1%} to {high:.1%})",
            "–" if name == "off" else f"{own['added_others']:.1%}",
        ]
        for name, own in cost["shares"].items()
        for low, high in [own["added_range"]]
    ]
    head = ["logged", "CPU of a request, µs", "added by the log", "of it in other threads"]
    per_row = cost["shares"]["all"]["bytes_a_row"] / 1024
    return (
        f"Requests for {cost['k']} candidates of {len(cost['paths'])} paths over {cost['items']:,} items, in turns of "
        f"{cost['requests']:,} with each share, medians; the last columns are what the log adds to the CPU time "
        "of the process, compared with the turn of the same round without a log (from the tenth to the ninetieth "
        f"percentile of the turns), and what of it other threads spend. A row has {per_row:.0f} KiB. "
        f"Machine: {machine_of(cost)}."
        f"\n\n{table(head, rows)}\n\nOf {replayed['requests']:,} requests of all kinds (four fusions, a learned "
        "one among them, segments, variants, live items, a refit, backfill, explored and interleaved answers, batches, "
        f"cache hits, failing paths), {replayed['equal']:,} are replayed to the same bytes, in "
        f"{replayed['same_s']:.0f} s."
    )


def counterfactual() -> str:
    """How often intervals of the estimates cover the truth."""
    figures = result("counterfactual")
    head = ["exploration", "IPS", "SNIPS", "DR", "gain by DR"]
    cases = [
        [name, *(f"{one['covered']:.1%} ± {one['standard_error']:.1%}" for one in case["estimates"].values())]
        for name, case in figures["cases"].items()
    ]
    together = ["**all**", *(f"**{covered:.1%}**" for covered in figures["all"].values())]
    return (
        f"Share of 95 % intervals that cover the truth, with its standard error, over {figures['logs']} simulated logs "
        f"of {figures['users']:,} users in each case:\n\n{table(head, [*cases, together])}"
    )
