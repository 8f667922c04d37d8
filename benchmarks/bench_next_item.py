"""What the sparse form of `next_item` costs and finds beside the exact one, where no setting was chosen."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from time import process_time
from typing import Annotated, Any

import numpy as np
import typer
from _harness import write
from numpy.typing import NDArray

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.engine.footprint import saved_bytes
from multirecall.evaluation import Split, leave_last_out
from multirecall.learning.bootstrap import interval
from multirecall.progress import SILENT, terminal_progress

SEED = 7
K = 100
PENALTY = 500.0
"""The default `regularisation`."""

FORMS = ("exact, penalty in units of weight 1", "exact", "sparse")
Places = NDArray[np.float64]
"""The place of each user's target in the list, from 0; infinite where it is not in it."""


def main(
    data: Annotated[Path, typer.Option(help="Folder of ml-latest-small.")],
) -> None:
    """Fit `next_item` alone in each form; write benchmarks/results/next_item.json.

    Held out is the event before the last two of each user: the last is the test part, and on the one before it the
    penalty was chosen.
    """
    split = leave_last_out(leave_last_out(leave_last_out(Dataset.load(data / "interactions.parquet")).train).train)
    weights = split.train.interactions.weights.astype(np.float64)
    unit = (weights @ weights / weights.sum()) ** 3
    settings: dict[str, dict[str, Any]] = {
        FORMS[0]: {"form": "exact", "regularisation": PENALTY / unit},
        "exact": {"form": "exact"},
        "sparse": {"form": "sparse"},
    }
    compile_kernels(settings)
    rows, places = [], {}
    with terminal_progress() as progress, progress.task("fitting", len(settings), steady=False) as advance:
        for form, params in settings.items():
            row, places[form] = fit_form(params, split)
            rows.append({"form": form, **row})
            advance(1)
    losses = {
        "recall@20": interval(hits(places["exact"], 20) - hits(places["sparse"], 20)),
        "ndcg@20": interval(gains(places["exact"], 20) - gains(places["sparse"], 20)),
    }
    lost = {name: asdict(one) for name, one in losses.items()}
    figures = {"users": split.users.size, "events": len(split.train.interactions), "items": split.train.n_items}
    typer.echo(write("next_item", {**figures, "seed": SEED, "rows": rows, "sparse_loses": lost}))


def compile_kernels(settings: dict[str, dict[str, Any]]) -> None:
    """Fit each form on a small log, so that no figure holds the compilation."""
    few = Dataset.from_frames(*generate(300, 200, 6_000, seed=SEED))
    for params in settings.values():
        engine_of(params).fit(few, progress=SILENT)


def engine_of(params: dict[str, Any]) -> Engine:
    """An engine with this path alone, on one thread."""
    paths = [{"retriever": "next_item", "params": {"half_lives": [1.5, 15.0], **params}, "quota": K}]
    return Engine(EngineConfig.model_validate({"paths": paths, "threads": 1, "seed": SEED}))


def fit_form(params: dict[str, Any], split: Split) -> tuple[dict[str, Any], Places]:
    """The cost of a fit, its bytes on disk and what it finds; and the places of the targets."""
    start = process_time()
    engine = engine_of(params).fit(split.train, progress=SILENT)
    seconds = process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        engine.save(Path(folder) / "bundle")
        saved = saved_bytes(Path(folder) / "bundle")["next_item"]
    lists = engine.path_lists(split.users)["next_item"]
    places = np.full(split.users.size, np.inf)
    for user, row in enumerate(split.targets.tolist()):
        at = np.flatnonzero(lists[user].items == row)
        places[user] = at[0] if at.size else np.inf
    found = {f"recall@{k}": float(hits(places, k).mean()) for k in (10, 20, K)}
    found |= {f"ndcg@{k}": float(gains(places, k).mean()) for k in (20, K)}
    return {"cpu_s": seconds, "bytes": saved, **found}, places


def hits(places: Places, k: int) -> NDArray[np.float64]:
    """Recall@k of users with one target each."""
    return (places < k).astype(np.float64)


def gains(places: Places, k: int) -> NDArray[np.float64]:
    """NDCG@k of users with one target each."""
    return hits(places, k) / np.log2(places + 2)


if __name__ == "__main__":
    typer.run(main)
