"""The first fit of the default engine: CPU time, peak memory and bundle, by path, and what it finds.

Each engine is fitted in a process of its own on a slice of the log's training part, of which each user's last event is
held out. `--before` names a tree of an earlier release, whose engine is fitted and asked in the same way.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from time import process_time
from typing import Annotated, Any

import numpy as np
import typer
from _harness import fit_times, in_process, peak_rss_mib, write

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.engine.footprint import saved_bytes
from multirecall.evaluation import Report, Split, evaluate, leave_last_out
from multirecall.progress import SILENT, terminal_progress

KS = (20, 100)
SEED = 7
MOST_USERS = 2_000
TABLES = ("interactions.parquet", "items.parquet", "users.parquet")
PENALTY = 500.0
"""The penalty of the peer, which Steck takes for MovieLens-20M; it chooses none by itself."""

CHILD = "import sys, json; sys.path.remove(''); sys.path.append(sys.argv[1]); import bench_first_fit as own; "
"""A child takes the package of `PYTHONPATH`, never that of the working directory."""

NOTE = (
    "the training part is all but each user's last event, and the slice holds out the last event of that; the test "
    "part is never asked; CPU seconds of a process with compiled kernels and one thread; the peak includes "
    "libraries; the choice of settings counts for what is fitted first, `two_tower` now, the fallback in earlier "
    "releases, so that only sums compare these two; the sum also has the learning of the fusion; recall and NDCG of "
    "engines are means over seeds, costs are those of the first"
)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    log: Annotated[list[str] | None, typer.Option(help="Data set; repeat for several.")] = None,
    before: Annotated[Path | None, typer.Option(help="Root of an earlier tree to compare with.")] = None,
    peer: Annotated[bool, typer.Option(help="Fit EASE with numpy, on all items, beside them.")] = True,
    seeds: Annotated[int, typer.Option(min=1, help="Fits of each engine, whose qualities are averaged.")] = 1,
    out: Annotated[str, typer.Option(help="Name of the result file in benchmarks/results.")] = "first_fit",
) -> None:
    """Fit and ask; write the figures to benchmarks/results."""
    rows = []
    here = Path(__file__).resolve().parent
    fits: list[tuple[str, str, Path]] = [("now", "engine", here.parent)]
    fits += [] if before is None else [("before", "engine", before.resolve())]
    fits += [("numpy EASE", "peer", here.parent)] if peer else []
    names = log or ["ml-latest-small"]
    with terminal_progress() as progress, progress.task("fitting", len(names) * len(fits), steady=False) as advance:
        for name in names:
            for label, part, tree in fits:
                program = f"{CHILD}print(json.dumps(own.fit_{part}(sys.argv[2], int(sys.argv[3]))))"
                every = [
                    in_process(program, str(here), str(data / name), str(seed), PYTHONPATH=str(tree), **ONE_THREAD)
                    for seed in range(SEED, SEED + (seeds if part == "engine" else 1))
                ]
                found = every[0] | {"quality": _means([one["quality"] for one in every]), "seeds": len(every)}
                rows.append({"log": name, "fit": label, **found})
                typer.echo(f"{name:16} {label:11} {found['cpu_s']:6.1f} CPU s, {found['peak_mib']:6,.0f} MiB")
                advance(1)
    typer.echo(write(out, {"note": NOTE, "k": KS, "seed": SEED, "rows": rows}))


def fit_engine(folder: str, seed: int) -> dict[str, Any]:
    """The figures of the default engine of the tree that this process has imported; a small fit compiles kernels."""
    split = _slice(Path(folder))
    engine = Engine(EngineConfig(seed=seed, threads=1))
    engine.fit(_few(), progress=SILENT)
    engine = Engine(EngineConfig(seed=seed, threads=1))
    seconds = fit_times(engine, split.train, SILENT)
    peak = peak_rss_mib()
    bundle = Path(tempfile.mkdtemp())
    try:
        engine.save(bundle / "bundle")
        saved = saved_bytes(bundle / "bundle")
    finally:
        shutil.rmtree(bundle)
    return {
        "cpu_s": seconds.pop("fused"),
        "peak_mib": peak,
        "bundle_bytes": sum(saved.values()),
        "paths": {name: {"cpu_s": seconds.get(name), "bytes": own} for name, own in saved.items()},
        "quality": _quality(evaluate(engine, split, KS, progress=SILENT)),
    }


def fit_peer(folder: str, _seed: int) -> dict[str, Any]:
    """EASE as in the paper (Steck, WWW 2019, algorithm 1): one dense inverse of all pairs of items; no chance in it."""
    split = _slice(Path(folder))
    start = process_time()
    matrix = split.train.interactions.matrix
    gram = (matrix.T @ matrix).toarray().astype(np.float32)
    gram.flat[:: len(gram) + 1] += PENALTY
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    weights.flat[:: len(weights) + 1] = 0.0
    seconds = process_time() - start
    found = []
    for user, begin, end in zip(split.users, split.offsets[:-1], split.offsets[1:], strict=True):
        row = split.train.users.ids.row(user.item())
        scores = np.asarray(matrix[[row]] @ weights).ravel()
        scores[split.train.interactions.items[split.train.interactions.of_user(row)]] = -np.inf
        best = np.argsort(-scores, kind="stable")[: KS[-1]]
        found.append([np.isin(split.targets[begin:end], best[:k]).mean() for k in KS])
    recalls = np.mean(found, axis=0)
    return {
        "cpu_s": seconds,
        "peak_mib": peak_rss_mib(),
        "bundle_bytes": weights.nbytes,
        "quality": {"ease": {f"recall@{k}": float(one) for k, one in zip(KS, recalls, strict=True)}},
    }


def _few() -> Dataset:
    """A generated log whose fit compiles all kernels; it has users enough for trials of settings."""
    return Dataset.from_frames(*generate(600, 200, 12_000, seed=SEED))


def _slice(folder: Path) -> Split:
    whole = Dataset.load(*(folder / name for name in TABLES if (folder / name).exists()))
    split = leave_last_out(leave_last_out(whole).train)
    if split.users.size <= MOST_USERS:
        return split
    drawn = np.random.default_rng(SEED).choice(split.users.size, MOST_USERS, replace=False)
    return split.take(np.sort(drawn), split.name)


def _quality(report: Report) -> dict[str, dict[str, float]]:
    """Recall and NDCG of every list at each k."""
    return {
        name: {f"{metric}@{k}": own[metric][place] for metric in ("recall", "ndcg") for place, k in enumerate(KS)}
        for name, own in report.figures.items()
    }


def _means(qualities: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The means over several fits of what `_quality` gives."""
    first = qualities[0]
    return {name: {key: float(np.mean([one[name][key] for one in qualities])) for key in first[name]} for name in first}


if __name__ == "__main__":
    typer.run(main)
