"""The tables of the learned paths: what they find beside the paths that count, how fast they train and answer."""

from __future__ import annotations

from typing import Any

from _harness import RESULTS
from _tables import machine_of, result, table

LEARNED = ("two_tower", "youtube_dnn", "multi_interest", "sasrec", "gru4rec", "dssm", "cdssm")
SHOWN = (("hit_rate", 10), ("ndcg", 10), ("recall", 20), ("recall", 100))

HEAD = [*(f"{metric}@{k}" for metric, k in SHOWN), "fit, CPU s", "published HR@10/NDCG@10"]

PUBLISHED = {
    ("ml-1m-last", "sasrec"): ".300/.173 (gSASRec), .316/.186 (best credible)",
    ("ml-1m-last", "gru4rec"): ".281/.165",
    ("amazon-beauty-published", "sasrec"): ".092/.053 (sampled softmax)",
}
"""HR@10/NDCG@10 that others have published; their sources stand on the page."""


def deep() -> str:
    """Every list of the engines with learned paths, then which path leads on which log."""
    runs = _runs()
    rows = [[run["config"], name, *_cells(run, name)] for run in runs for name in run["report"]["figures"]]
    lists = table(["log", "list", *HEAD], rows)
    return f"{lists}\n\n{_leaders(runs)}\n\n{_interests()}\n\n{_speed()}\n\n{_requests()}\n\n{_default()}"


def measured(retriever: str) -> str:
    """What one retriever finds alone, and its engine fused, on each log that it was measured on."""
    if retriever == "multi_interest":
        return _interests()
    rows = []
    for run in _runs():
        if retriever in run["report"]["figures"]:
            fused = run["report"]["figures"]["fused"]["ndcg"][run["ks"].index(10)]
            rows.append([run["config"], *_cells(run, retriever), f"{fused:.4f}"])
    lists = table(["log", *HEAD, "its engine fused, ndcg@10"], rows)
    return f"{lists}\n\n{_peer()}" if retriever == "youtube_dnn" else lists


def _runs() -> list[dict[str, Any]]:
    return [result(file.stem) for file in sorted(RESULTS.glob("deep-*.json"))]


def _cells(run: dict[str, Any], name: str) -> list[str]:
    """The cells of `HEAD` for one list of a run."""
    own, seconds = run["report"]["figures"][name], run["fit_cpu_s"].get(name)
    return [
        *(f"{own[metric][run['ks'].index(k)]:.4f}" for metric, k in SHOWN),
        "–" if seconds is None else f"{seconds:.0f}",
        PUBLISHED.get((run["case"], name), ""),
    ]


def _leaders(runs: list[dict[str, Any]]) -> str:
    """The best learned path and the best counting path of each log, with what they cost."""
    rows = []
    for run in runs:
        place = run["ks"].index(10)
        paths = {name: own["ndcg"][place] for name, own in run["report"]["figures"].items() if name != "fused"}
        sides = [{n: v for n, v in paths.items() if (n in LEARNED) is learned} for learned in (True, False)]
        if not all(sides):
            continue
        best = [max(side, key=lambda name, side=side: side[name]) for side in sides]  # type: ignore[misc]
        cells = [f"{name} {paths[name]:.4f} ({run['fit_cpu_s'][name]:.0f} s)" for name in best]
        rows.append([run["config"], *cells, best[0] if paths[best[0]] > paths[best[1]] else f"**{best[1]}**"])
    head = ["log", "best learned path, NDCG@10 (fit)", "best counting path", "better"]
    return f"Which learned path for which log, and where a counting path is better:\n\n{table(head, rows)}"


def _peer() -> str:
    """`youtube_dnn` beside the model of another library."""
    figures = result("deep_peer")
    place = figures["ks"].index(100)
    cells = [
        f"{name} {rates[place]:.4f} ({figures['fit_cpu_s'][name]:.0f} CPU s)"
        for name, rates in figures["hit_rate"].items()
    ]
    return f"Hit rate@100 on ml-1m-last, in one run on one thread: {', '.join(cells)}."


def _interests() -> str:
    """Several vectors for a user against one, on the test parts."""
    rows = []
    for row in result("interests")["rows"]:
        one, several = (fits[0] for fits in row["fits"].values())
        gain = row["gain"]
        cells = [f"{fit['recall'][1]:.4f}" for fit in (one, several)]
        cells += [f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]", f"{several['cosine']:.2f}"]
        rows.append([row["data"], row["kind"], *cells])
    head = ["log", "kind", "one vector", "four", "gain", "mean cosine of two"]
    return f"`multi_interest`, recall@100 with four interests against one:\n\n{table(head, rows)}"


def _speed() -> str:
    figures = result("deep_speed")
    rows = [
        [
            row["data"],
            row["retriever"],
            f"{row['samples_per_cpu_s']:,.0f}",
            row["peer"],
            f"{row['peer_samples_per_cpu_s']:,.0f}",
            f"{row['samples_per_cpu_s'] / row['peer_samples_per_cpu_s']:.1f} ×",
        ]
        for row in figures["rows"]
    ]
    head = ["log", "retriever", "samples a CPU second", "peer", "its samples", "ours over theirs"]
    text = "Training, predicted targets a CPU second, same log, sizes and one thread, in one run"
    return f"{text} ({machine_of(figures)}):\n\n{table(head, rows)}"


def _requests() -> str:
    figures = result("deep_request")
    base = figures["rows"]["two_tower"]["p50_us"]
    cells = [f"`{name}` {row['p50_us']:.0f} µs ({row['p50_us'] / base:.2f} ×)" for name, row in figures["rows"].items()]
    beside = ", ".join(f"`{path}`" for path in figures["paths"])
    request = f"A whole request on ml-1m with one learned path, history {figures['history']}, beside {beside}"
    return f"{request}: {', '.join(cells)}."


def _default() -> str:
    """The default engine with `sasrec` in the place of its dearest path, on a slice of a training part."""
    figures = result("deep_default")
    place = figures["ks"].index(10)
    told = []
    for row in figures["rows"]:
        engine = f"with sasrec instead of {row['instead_of']}" if row["instead_of"] else "as it is"
        told.append(f"{engine} {row['fused']['ndcg'][place]:.4f} in {row['fit_cpu_s']['fused']:.0f} CPU s")
    return f"The default engine on a slice of the training part of ml-latest-small, NDCG@10: {', '.join(told)}."
