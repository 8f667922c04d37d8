"""Write the tables of the README and the pages in `docs/`: from result files, and from the settings of plug-ins."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import mean

from _adapter_tables import other_models
from _batch_tables import batch
from _deep_tables import deep, measured
from _drift_tables import drift, drift_months
from _experiment_tables import experiments
from _first_fit_tables import first_fit, next_item_forms
from _harness import RESULTS
from _index_tables import index_kinds
from _live_tables import live_single, where
from _log_tables import counterfactual, request_log
from _marks import marks
from _performance import performance
from _reference import command, metrics, settings, threads
from _refit_tables import refit_decay, refit_guard
from _scale_tables import (
    scale_assumptions,
    scale_availability,
    scale_bytes,
    scale_latency,
    scale_memory,
    scale_network,
    scale_purchase,
)
from _serve_tables import serve
from _shard_tables import shards
from _summary import speed_summary, summary
from _tables import machine_of, result, table
from _text_tables import text_towers
from _width_tables import width

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def quality() -> str:
    """Recall of the default engine by list, a column for each case and k."""
    figures = result("quality")
    cases, ks = figures["cases"], (20, 100)
    head = ["list", *(f"{case['case']}: R@{k}" for case in cases for k in ks)]
    rows = []
    for name in dict.fromkeys(name for case in cases for name in (*case["report"]["figures"], *case["lists"])):
        cells = []
        for case in cases:
            own = case["report"]["figures"].get(name, {}).get("recall") or case["lists"].get(name)
            cells += [f"{own[figures['ks'].index(k)]:.4f}" if own else "–" for k in ks]
        rows.append([f"{name}, equal weights" if name.startswith("fused by") else name, *cells])
    notes = "\n".join(f"- {case['case']}: {case['statement']}." for case in cases)
    return f"{table(head, rows)}\n\n{notes}"


def costs() -> str:
    """What each path takes on one case, and what it finds alone."""
    figures = result("paths")
    case = figures["cases"][0]
    lists, ks = case["report"]["figures"], figures["ks"]
    rows = [
        [
            f"`{name}`" if name != "fused" else "fused, equal weights",
            *(f"{own['recall'][ks.index(k)]:.4f}" for k in (20, 100)),
            f"{case['fit_cpu_s'][name]:.1f}",
            f"{case['ms'][name]:.2f}",
        ]
        for name, own in lists.items()
    ]
    head = ["retriever", "R@20", "R@100", "fit, CPU s", "request, ms"]
    return f"On {case['case']} ({case['statement']}), 500 candidates, one thread:\n\n{table(head, rows)}"


def tuned_table() -> str:
    """Best path, equal weights and what the tuner kept, on test parts that it never saw."""
    head = ["case", "metric", "users", "best path alone", "equal weights", "kept", "gain over the best path"]
    rows, searched = [], []
    for file in sorted(RESULTS.glob("tuning-*.json")):
        one = result(file.stem)
        test, search = one["test"], one["tuned"]
        if "report" not in search:
            searched.append(one["case"])
        best = search["names"][[weight > 0 for weight in search["single"]["weights"]].index(True)]
        cells = [_between(test[name]) for name in ("single", "plain", "tuned", "over_single")]
        cells[0] += f" {best}"
        cells[2] += f" {search['verdict']}"
        rows.append([one["case"], one["metric"], f"{test['n_users']:,}", *cells])
    older = f"\n\nTuned by the search that learning has replaced: {', '.join(searched)}." if searched else ""
    return table(head, rows) + older


def published_table() -> str:
    """Figures of the configs for splits that others have published on, path by path."""
    shown = (("recall", 20), ("ndcg", 20), ("hit_rate", 10), ("ndcg", 10), ("recall", 100))
    rows = []
    for file in sorted(RESULTS.glob("quality-*.json")):
        figures = result(file.stem)
        for case in figures["cases"]:
            for name, own in case["report"]["figures"].items():
                cells = [f"{own[metric][figures['ks'].index(k)]:.4f}" for metric, k in shown]
                rows.append([case["case"], name, *cells])
    return table(["case", "list", *(f"{metric}@{k}" for metric, k in shown)], rows)


def _between(interval: dict[str, float]) -> str:
    return f"{interval['mean']:.4f} [{interval['low']:.4f}, {interval['high']:.4f}]"


def speed() -> str:
    """The time to load a log."""
    load = result("load")
    loading = ", ".join(
        f"with {ids} ids {load[ids]['dataset_load']['wall_s']:.1f} s, {load[ids]['wall_ratio']:.1f} times what polars "
        "needs to read and sort it"
        for ids in ("text", "integer")
    )
    return f"A log of {load['rows']:,} shuffled rows loads {loading}. Machine: {machine_of(load)}."


def peers() -> str:
    """Our kernels beside the libraries that do the same, each in one run."""
    skipgram, walks, index, towers = result("skipgram"), result("walks"), result("index"), result("two_tower")
    rows = []
    rates = towers["samples_per_cpu_s"]
    job = f"two-tower training, {towers['items']:,} items, batch {towers['batch']:,}, samples/s"
    for peer in ("minimal torch", "torch-rechub DSSM"):
        ours, theirs = rates["multirecall"], rates[peer]
        rows.append([job, peer, f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.1f} ×"])
    for size, rates in skipgram["words_per_cpu_s"].items():
        ours, theirs = rates["multirecall"], rates["gensim"]
        job = f"skip-gram, {int(size):,} words in the vocabulary, words/s"
        rows.append([job, "gensim", f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.1f} ×"])
    for name, graph in walks["graphs"].items():
        ours, theirs = graph["multirecall"]["steps_per_cpu_s"], graph["pecanpy"]["steps_per_cpu_s"]
        job = f"node2vec walks, {name} graph of {graph['edges']:,} edges, steps/s"
        rows.append([job, "PecanPy SparseOTF", f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.0f} ×"])
    for k in (100, 500):
        search = index["searches"][f"top_{k}"]
        ours, theirs = search["as_chosen"], search["bare"]
        job = f"top-{k} of {index['items']:,} × {index['dim']} vectors, µs"
        cells = [f"{one['cpu_p50_us']:.0f} (recall {one['recall']:.4f})" for one in (theirs, ours)]
        rows.append([job, "bare hnswlib, same width", *cells, f"{theirs['cpu_p50_us'] / ours['cpu_p50_us']:.1f} ×"])
    rows += [*index_rows(), *cf_rows(), *bm25_rows()]
    return (
        f"Kernels beside their peers, one thread, CPU time:\n\n{table(['job', 'peer', 'peer', 'ours', 'ratio'], rows)}"
    )


def index_rows() -> list[list[str]]:
    """`ivf` beside the indexes of Faiss and hnswlib, each as near to its recall as an effort brings it."""
    figures = result("index-beside")
    rows = []
    for k in (100, 500):
        searches = figures["searches"][f"top_{k}"]
        ours = searches["ivf"]
        for peer, theirs in searches.items():
            if peer != "ivf":
                cells = [f"{one['cpu_p50_us']:.0f} (recall {one['recall']:.4f})" for one in (theirs, ours)]
                ratio = f"{theirs['cpu_p50_us'] / ours['cpu_p50_us']:.1f} ×"
                rows.append([f"top-{k} of {figures['items']:,} clustered vectors, µs", peer, *cells, ratio])
    return rows


def cf_rows() -> list[list[str]]:
    """Item-CF beside implicit."""
    figures = result("item_cf")
    fits, requests = figures["fit"], figures["request"]
    size = f"{figures['events']:,} events on {figures['items']:,} items"
    asked = f"item-CF, {figures['k']} items for one user, µs"
    return [
        cost_row(f"item-CF fit, {size}, s", "implicit", fits["implicit"]["cpu_s"], fits["multirecall"]["cpu_s"]),
        cost_row(asked, "implicit", requests["implicit"]["cpu_p50_us"], requests["multirecall"]["cpu_p50_us"]),
    ]


def bm25_rows() -> list[list[str]]:
    """The inverted index beside bm25s."""
    figures = result("bm25")
    built, asked = figures["index"], figures["query"]
    job = f"BM25 over {figures['documents']:,} documents"
    ours = asked["multirecall"]["cpu_ms"]
    return [
        *(
            cost_row(f"{job}, top {figures['k']}, ms", peer, asked[peer]["cpu_ms"], ours)
            for peer in ("bm25s numpy", "bm25s numba")
        ),
        *(
            cost_row(f"{job}, index from {what}, s", "bm25s", *(built[f"{one}{kind}"]["cpu_s"] for one in LIBRARIES))
            for what, kind in (("token ids", ""), ("text", " from text"))
        ),
    ]


LIBRARIES = ("bm25s", "multirecall")


def cost_row(job: str, peer: str, theirs: float, ours: float) -> list[str]:
    """A row of a job that takes time."""
    return [job, peer, f"{theirs:,.3g}", f"{ours:,.3g}", f"{theirs / ours:.1f} ×"]


def recalls(name: str, caption: str) -> str:
    """Recall of paths beside peers, a column for each split."""
    figures = result(name)
    ks = figures["ks"]
    head = ["list", *(f"{case['data']}, {case['split']}: R@{'/'.join(map(str, ks))}" for case in figures["cases"])]
    names = list(figures["cases"][0]["lists"])
    rows = [
        [
            name,
            *(
                f"{' / '.join(f'{value:.3f}' for value in case['lists'][name]['recall'])} "
                f"({case['lists'][name]['fit_cpu_s']:.0f} s)"
                for case in figures["cases"]
            ),
        ]
        for name in names
    ]
    return f"{caption} (fit time in CPU seconds):\n\n{table(head, rows)}"


def live() -> str:
    """What the fused list keeps of a refit's gain when events are taken live."""
    figures = result("live-online-retail-new")
    k = figures["ks"][-1]
    without, taken, refit = (figures[how]["fused"][-1] for how in ("without", "live", "refit"))
    return (
        f"With {figures['share']:.0%} of the events of {figures['case']} taken live instead of fitted, the fused list "
        f"keeps {(taken - without) / (refit - without):.0%} of what a refit gains (recall@{k} {without:.3f} without "
        f"them, {taken:.3f} live, {refit:.3f} refitted). Taking them lasted {figures['live_s']:.1f} s, the refit "
        f"{figures['refit_s']:.0f} s."
    )


def sizes() -> str:
    """What the plain installation weighs, package by package, and what each extra adds."""
    figures = result("install")
    plain = figures["plain_bytes"]
    large = _large(plain)
    others = {name: plain[name] for name in plain.keys() - dict(large)}
    rows = [[f"`{name}`", f"{size / 1e6:.0f}"] for name, size in large]
    rows += [[f"{len(others)} others", _total(others)], ["**all**", f"**{_total(plain)}**"]]
    extras = [
        [f"`{extra}`", ", ".join(f"`{name}` {size / 1e6:.0f}" for name, size in _large(own)), _total(own)]
        for extra, own in figures["extra_bytes"].items()
    ]
    return (
        f"MB of files, from wheels for Python {figures['machine']['python']} on Linux:\n\n"
        f"{table(['package', 'MB'], rows)}\n\nMB that an extra adds; torch is the build for CPUs:\n\n"
        f"{table(['extra', 'the largest', 'MB'], extras)}"
    )


SHOWN_BYTES = 3_000_000
"""The smallest package that has a row of its own."""


def _large(sizes: dict[str, int]) -> list[tuple[str, int]]:
    return sorted((one for one in sizes.items() if one[1] >= SHOWN_BYTES), key=lambda one: one[1], reverse=True)


def _total(sizes: dict[str, int]) -> str:
    return f"{sum(sizes.values()) / 1e6:.0f}"


def warm() -> str:
    """The first answer of a process that may not keep compiled kernels, and of one that finds them."""
    figures = result("warm")
    large = figures["large"]
    return (
        f"To load a bundle of {figures['items']:,} items and {len(figures['paths'])} paths and answer once takes "
        f"{figures['compiling_s']:.0f} s where nothing can be kept, and {figures['compiled_ahead_s']:.1f} s with "
        f"kernels that were compiled ahead; they take {figures['kernels_bytes'] / 2**20:.0f} MiB. "
        f"A bundle of {large['items']:,} items and {len(large['paths'])} paths loads and answers in "
        f"{large['compiled_ahead_s']:.1f} s with such kernels. Machine: {machine_of(figures)}."
    )


def workers() -> str:
    """What workers of a service take in memory, and how soon one reads what another wrote."""
    figures = result("serve-workers")
    rows = [
        [
            number,
            f"{mean([one['Rss'] for one in own['each']]):,.0f}",
            f"{mean([one['Private_Dirty'] for one in own['each']]):,.0f}",
            f"{own['total_pss_mib']:,.0f}",
            *(f"{own[what]['p50_us'] / 1e3:.1f}" if what in own else "–" for what in ("write", "write_then_read")),
        ]
        for number, own in figures["workers"].items()
    ]
    head = ["workers", "RSS of each", "of no file", "all and their parent", "a write", "then a read elsewhere"]
    return (
        f"{figures['n_items']:,} items, {len(figures['paths'])} paths, {figures['bundle_mib']:,.0f} MiB of arrays, "
        f"after {figures['requests']} requests to each; MiB, and ms at the median. Machine: {machine_of(figures)}, "
        f"busy with other work (load {figures['load_average'][0]:.1f}).\n\n{table(head, rows)}"
    )


def beside_peers() -> str:
    """Our kernels and lists beside other libraries."""
    return "\n\n".join(
        (
            peers(),
            recalls("six_paths", "Six paths beside torch-rechub's DSSM"),
            recalls("embeddings", "Embeddings beside their peers"),
        )
    )


def distributed() -> str:
    """Two training processes beside one."""
    figures = result("distributed")
    rows = [
        [
            case,
            *(f"{own[size]['wall_s']['median']:,.0f}" for size in ("1", "2")),
            f"{own['speed_up']['median']:.2f} ({own['speed_up']['least']:.2f} – {own['speed_up']['greatest']:.2f})",
            f"{own['sent_bytes_a_target']:,.0f}",
        ]
        for case, own in figures["cases"].items()
    ]
    least, _, greatest = figures["load_average"]
    return (
        f"Targets a second of wall time on a log of {figures['items']:,} items and as many users, over gloo on one "
        f"machine; medians of {figures['runs']} runs of one process and two in turn, a thread each, and the spread of "
        f"the ratios. Machine: {machine_of(figures)}, shared with other work (load {least:.1f} to {greatest:.1f}), so "
        "that two processes seldom had both cores.\n\n"
        + table(["training", "one process", "two", "ratio", "bytes sent a target, by each"], rows)
    )


PARTS = {
    "experiments": experiments,
    "first_fit": first_fit,
    "next_item_forms": next_item_forms,
    "distributed": distributed,
    "drift": drift,
    "drift_months": drift_months,
    "marks": marks,
    "quality": quality,
    "costs": costs,
    "tuned": tuned_table,
    "published": published_table,
    "peers": beside_peers,
    "performance": performance,
    "deep": deep,
    "speed": speed,
    "live": live,
    "live_single": live_single,
    "where": where,
    "refit_decay": refit_decay,
    "refit_guard": refit_guard,
    "warm": warm,
    "width": width,
    "workers": workers,
    "scale_assumptions": scale_assumptions,
    "scale_availability": scale_availability,
    "scale_bytes": scale_bytes,
    "scale_latency": scale_latency,
    "scale_memory": scale_memory,
    "scale_network": scale_network,
    "scale_purchase": scale_purchase,
    "serve": serve,
    "batch": batch,
    "shards": shards,
    "index_kinds": index_kinds,
    "other_models": other_models,
    "sizes": sizes,
    "metrics": metrics,
    "request_log": request_log,
    "counterfactual": counterfactual,
    "summary": summary,
    "speed_summary": speed_summary,
    "text_towers": text_towers,
    "threads": threads,
}
"""What stands between `<!-- name -->` and `<!-- /name -->`."""


NAMED = {"settings": settings, "command": command, "measured": measured}
"""The same for `<!-- settings rrf -->`, which may stand several times."""


def fill(page: str) -> str:
    """The page with the parts between its markers written anew."""
    return re.sub(
        r"(<!-- (\w+)(?: ([\w -]*[\w-]))? -->\n).*?(<!-- /\2 -->)",
        lambda match: f"{match[1]}{NAMED[match[2]](match[3]) if match[3] else PARTS[match[2]]()}\n{match[4]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    for file in PAGES:
        file.write_text(fill(file.read_text(encoding="utf-8")), encoding="utf-8")
