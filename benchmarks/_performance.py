"""The tables of speed and size: whole requests, fusion, batches, loading and growth."""

from __future__ import annotations

import json
from typing import Any

from _harness import RESULTS
from _tables import machine_of, result, table


def performance() -> str:
    """Whole requests beside one bare search, then fusion, deadlines, batches, loading, growth and live changes."""
    return "\n\n".join((requests(), fusions(), deadlines(), batches(), growth(), neighbours(), live()))


def deadlines() -> str:
    """How late a request is whose paths do not answer."""
    figures = result("deadline")
    rows = [
        [
            run["scenario"].replace("_", " "),
            f"{run['deadline_ms']:.0f}",
            *(f"{run[f'over_{one}_ms']:.1f}" for one in ("p50", "p99", "p99.9")),
            f"{run['load_average']:.1f}",
        ]
        for run in figures["runs"]
        if run["scenario"] != "quick"
    ]
    head = ["paths beside two quick ones", "deadline, ms", "p50 beyond it, ms", "p99", "p99.9", "load average"]
    return (
        f"How far beyond its deadline `retrieve` returns, {figures['requests']:,} requests by {figures['callers']} "
        f"callers, on {machine_of(figures)}; `bare wait` is the machine's own `Event.wait`:\n\n{table(head, rows)}"
    )


def live() -> str:
    """Live changes, and what was done to lose them."""
    speed, crash, faults, fuzz = (result(name) for name in ("live-speed", "crash", "faults", "fuzz"))
    rows = [
        [
            f"{run['threads']:.0f}",
            f"{run['events_per_call']:,.0f}",
            f"{run['events_per_s']:,.0f}",
            f"{run['p50_ms']:.1f}",
            f"{run['p99_ms']:.1f}",
        ]
        for run in speed["rates"]
    ]
    head = ["writing threads", "events in a call", "events/s", "call, p50 ms", "p99 ms"]
    damaged = sum(faults["damaged_files"].values())
    refused = faults["refused_writes_ENOSPC"] + faults["refused_writes_EIO"]
    malformed, judged = (sum(sum(kind.values()) for kind in fuzz[name].values()) for name in ("malformed", "judged"))
    return (
        f"`add_interactions`, journaled, applied to {', '.join(speed['paths'])} and visible on return, on a log of "
        f"{speed['interactions']:,} events, on {machine_of(speed)}:\n\n{table(head, rows)}\n\n"
        f"Nothing acknowledged was lost in {crash['kills']} processes killed by SIGKILL within {crash['operations']:,} "
        f"operations; {damaged:,} damaged files and {refused} failing writes each got a clear error, with the version "
        f"before intact. {malformed:,} malformed files were loaded or refused with an error that names the place; "
        f"{judged:,} inputs whose right reading an oracle knows were read, found or refused as it says."
    )


def requests() -> str:
    """A request by stage, and its ratio to one bare search, at each size."""
    tables = []
    for file in sorted(RESULTS.glob("latency-*.json"), key=lambda file: int(file.stem.partition("-")[2])):
        figures = result(file.stem)
        rows = [request_row(f"**{name}, whole**", row) for name, row in figures["whole"].items()]
        rows += [request_row(stage, row) for stage, row in figures["stages"]["rrf"].items()]
        ratios = "; ".join(
            f"{pair} {ratio['p50_us']:.2f} (CPU {ratio['cpu_p50_us']:.2f})" for pair, ratio in figures["ratios"].items()
        )
        tables.append(
            f"`engine.retrieve` of {figures['k']} candidates for a known user, {figures['items']:,} items, five paths "
            f"of {figures['quota']}, one thread, µs, and one bare hnswlib top-{figures['k']} search over the vectors "
            f"of `two_tower`, all in one run on {machine_of(figures)}; one engine maps its "
            "bundle, the other has copied it into large pages; the stages are those of the first, of which reading, "
            "filter and backfill are parts of the Python:\n\n"
            f"{table(['', 'p50', 'p95', 'p99', 'CPU, p50', 'share'], rows)}\n\n"
            f"p50 of a request / of the bare search, median of {figures['runs']} runs: {ratios}.{recall_text(figures)} "
            f"In this run {figures['vectors']}; two_tower's index is built for a recall of {figures['index_recall']}."
        )
    return "\n\n".join(tables)


def recall_text(figures: dict[str, Any]) -> str:
    """What the searches find, where it was measured."""
    shares = figures.get("recall", {})
    found = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
    return f" Share of the true first {figures['k']} that is found: {found}." if shares else ""


def request_row(name: str, row: dict[str, float]) -> list[str]:
    """A row of the table of requests."""
    share = f"{row['share']:.0%}" if "share" in row else ""
    return [name, *(f"{row[key]:.0f}" for key in ("p50_us", "p95_us", "p99_us", "cpu_p50_us")), share]


def fusions() -> str:
    """CPU time of each fusion, and its ratio to a dictionary."""
    figures = result("fusion")
    costs = {name: row["cpu_us"] for name, row in figures["per_user"].items()}
    dictionary = costs["rrf: dictionary"]
    rows = [
        [name.removesuffix(": fuse"), f"{cost:.0f}", f"{costs[f'{name}_batch']:.0f}", f"{dictionary / cost:.0f} ×"]
        for name, cost in costs.items()
        if name.endswith(": fuse")
    ]
    peers = "".join(f" {name.partition(': ')[2]}: {cost:,.0f}." for name, cost in costs.items() if "ranx" in name)
    return (
        f"Fusing {figures['paths']} lists of {figures['quota']} into {figures['k']}, CPU µs a user on "
        f"{machine_of(figures)}; a dictionary takes {dictionary:,.0f}.{peers}\n\n"
        f"{table(['fusion', 'one call a user', 'one call for all', 'to the dictionary'], rows)}"
    )


def batches() -> str:
    """Offline candidates and loading."""
    throughput, bundle = result("throughput"), result("bundle")
    runs = "; ".join(
        f"in chunks of {run['chunk']:,} {run['users_per_wall_s']:.0f} users/s, {run['wall_share']:.2f} (CPU "
        f"{run['cpu_share']:.2f}) of what the paths and the fusion alone would give, {run['growth_mib']:.0f} MiB more "
        "memory at its peak"
        for run in throughput["runs"]
    )
    by_threads = throughput["users_per_wall_s_by_threads"].items()
    threads = ", ".join(f"{rate:,.0f} users/s by {n} thread{'s' * (n != '1')}" for n, rate in by_threads)
    return (
        f"`write_candidates` of {throughput['users']:,} users, {throughput['items']:,} items, by one thread: {runs}. "
        f"The same file in chunks of 1,000, with nothing timed beside it: {threads}. "
        f"Machine: {machine_of(throughput)}.\n\n"
        f"`Engine.load` of a bundle of {bundle['items']:,} items, {bundle['bundle_bytes'] / 1e9:.2f} GB, from a warm "
        f"page cache: {bundle['load_s']:.2f} s, of which {bundle['verify_s']:.2f} s for its SHA-256; "
        f"`import multirecall`: {bundle['import_s'] * 1e3:.0f} ms; torch is "
        f"{'' if bundle['torch_imported'] else 'not '}imported. Machine: {machine_of(bundle)}.\n\n"
        f"{batch_table()}"
    )


def batch_table() -> str:
    """A batch beside single requests, by path: over two sizes of catalogue."""
    return "\n\n".join(one_batch_table(result(name)) for name in ("batch", "batch-100000"))


def one_batch_table(figures: dict[str, Any]) -> str:
    """The same of one result."""
    peer = figures.get("faiss")
    searched = (
        ""
        if not peer
        else (
            f" Faiss searches alone over the vectors of `two_tower` ({peer['index']}, {peer['nprobe']} cells, recall "
            f"{peer['recall']:.3f}; that of `two_tower` {peer['two_tower']:.3f})."
        )
    )
    rows = [
        [
            name if " " in name or name == "engine" else f"`{name}`",
            f"{own['single']:.0f}",
            f"{own['batch']:.0f}",
            f"{own['single'] / own['batch']:.1f} ×",
        ]
        for name, own in figures["us_per_user"].items()
    ]
    return (
        f"{figures['users']:,} users of {figures['data']} in one batch and one by one, lists of {figures['k']} of "
        f"{figures['items']:,} items, histories of {figures['mean_history']:.0f} items in the mean, one thread, µs a "
        "user; the lists are the same. `engine` is the whole request with these paths; implicit's ALS folds "
        f"users in anew as `als` does.{searched} Machine: {machine_of(figures)}:\n\n"
        f"{table(['path', 'one by one', 'in a batch', 'as fast'], rows)}"
    )


def neighbours() -> str:
    """Vectors of cold items, and neighbour lists, beside the ways before."""
    figures = result("neighbours")
    cold, lists = figures["cold"], figures["lists"]
    before, now = lists["before"], lists["now"]
    return (
        f"Vectors for {cold['cold']:,} of {figures['items']:,} items, which have no events: "
        f"{cold['together_s']:.1f} CPU s, {cold['one_by_one_s']:.1f} by a search for each; the vectors are the same to "
        f"the bit. Neighbour lists of 100 that ask for {lists['asked']}: {now['found']:.3f} found (standard error "
        f"{now['error']:.3f}) in {now['us_a_list']:.0f} CPU µs a list; {before['found']:.3f} in "
        f"{before['us_a_list']:.0f} while the margin only counted the cells to enter. Machine: {machine_of(figures)}."
    )


def growth() -> str:
    """Fit, memory and latency by the size of the catalogue."""
    figures = result("growth")
    rows = [
        [
            f"{row['items']:,}",
            f"{row['interactions']:,}",
            f"{row['fit_wall_s']:,.0f}",
            f"{row['fit_cpu_s']:,.0f}",
            f"{row['after_fit_mib'] - row['before_fit_mib']:,.0f}",
            f"{row['peak_rss_mib']:,.0f}",
            f"{row['p50_us']:,.0f}",
        ]
        for row in figures["sizes"]
    ]
    settings = ", ".join(f"{name} {json.dumps(params)}" for name, params in figures["paths"].items())
    head = ["items", "interactions", "fit, s", "fit, CPU s", "engine, MiB", "peak, MiB", "request, p50 µs"]
    return (
        f"Growth with {figures['events_per_item']} events an item and cheap training ({settings}), fitted by "
        f"{figures['threads']} threads and asked by one, on "
        f"{machine_of(figures)}:\n\n{table(head, rows)}\n\n![Growth](assets/growth.svg)"
    )
