"""Three models of other libraries, fused: implicit's ALS and BM25, and gensim's Word2Vec, on one real log."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from _cases import CASES, CONFIGS, choose_cases
from _harness import write
from gensim.models import Word2Vec
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender
from scipy.sparse import csr_matrix

from multirecall import Dataset, Engine, EngineConfig
from multirecall.evaluation import METRICS, Split, evaluate, make_split, retrieve_lists, user_metrics
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.progress import SILENT
from multirecall.registry import fusion_class

KS = (20, 100)
CONFIG = CONFIGS / "others.toml"
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
STRATEGIES = ("rrf", "weighted_sum")
SEED = 1

GRIDS: dict[str, tuple[dict[str, Any], ...]] = {
    "als": tuple(
        {"factors": factors, "regularization": regularization, "alpha": alpha}
        for factors, regularization, alpha in product((32, 64, 128), (1.0, 10.0, 30.0), (1.0, 10.0))
    ),
    "bm25": tuple({"K": neighbours, "B": b} for neighbours, b in product((50, 200), (0.2, 0.75))),
    "word2vec": tuple({"window": window, "epochs": epochs} for window, epochs in product((3, 10), (20, 60))),
}
"""The settings of each library's model that are tried on the slice."""


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    case: Annotated[str, typer.Option(help=f"One of {', '.join(CASES)}.")] = "online-retail-new",
) -> None:
    """Choose settings and fusion on a slice of the training part, fit again on all of it, and read the test once."""
    [one] = choose_cases([case], CASES)
    split = one.split(data)
    slice_ = make_split(split.train, one.tuned_by, seen=one.seen)
    with working_folder():
        chosen = {name: best_settings(name, slice_) for name in GRIDS}
        write_models(slice_.train, chosen)
        fusion = best_fusion(slice_)
        write_models(split.train, chosen)
        config = EngineConfig.model_validate({**EngineConfig.from_toml(CONFIG).model_dump(), "fusion": fusion[0]})
        weighted = [
            path.model_copy(update={"weight": weight}) for path, weight in zip(config.paths, fusion[1], strict=True)
        ]
        engine = Engine(config.model_copy(update={"paths": tuple(weighted)})).fit(split.train)
        report = evaluate(engine, split, ks=KS)
    weights = dict(zip(chosen, fusion[1], strict=True))
    figures = {"case": case, "statement": split.describe(), "settings": chosen, "fusion": fusion[0], "weights": weights}
    for name, values in report.figures.items():
        typer.echo(f"{name:9} " + "  ".join(f"{metric} {values[metric]}" for metric in ("recall", "ndcg")))
    for gain in report.gains:
        typer.echo(f"{gain.metric}@{gain.k}: fused {gain.fused:.4f}, {gain.path} {gain.best:.4f}, {gain.gain}")
    typer.echo(write(f"adapters-{case}", {**figures, "ks": KS, "report": report.to_dict()}))


@contextmanager
def working_folder() -> Iterator[None]:
    """A folder of its own, in which the files of the config stand."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def write_models(data: Dataset, chosen: dict[str, dict[str, Any]]) -> None:
    """Fit each library's model on `data` and write its file."""
    for name, settings in chosen.items():
        write_model(name, data, settings)


def write_model(name: str, data: Dataset, settings: dict[str, Any]) -> None:
    """Fit one model on `data` and write its file."""
    log = data.interactions
    matrix = csr_matrix(log.matrix)
    if name == "word2vec":
        ids = log.items.astype(str)
        sentences = [
            ids[start:stop].tolist()
            for start, stop in zip(log.offsets[:-1], log.offsets[1:], strict=True)
            if stop > start
        ]
        model = Word2Vec(sentences, vector_size=64, min_count=1, sg=1, seed=SEED, workers=1, **settings)
        rows = np.array(model.wv.index_to_key, dtype=np.int32)
        frame = pl.DataFrame({"item_id": pl.Series(data.items.ids.ids(rows)), "vector": model.wv.vectors.tolist()})
        frame.write_parquet("word2vec.parquet")
    elif name == "als":
        als = AlternatingLeastSquares(random_state=SEED, num_threads=1, iterations=15, **settings)
        als.fit(matrix, show_progress=False)
        als.save("als.npz")
    else:
        bm25 = BM25Recommender(num_threads=1, **settings)
        bm25.fit(matrix, show_progress=False)
        bm25.save("bm25.npz")


def best_settings(name: str, split: Split) -> dict[str, Any]:
    """The settings of a model with the best recall on the slice."""
    config = EngineConfig.from_toml(CONFIG)
    own = config.model_copy(update={"paths": tuple(path for path in config.paths if path.name == name)})

    def score(settings: dict[str, Any]) -> float:
        write_model(name, split.train, settings)
        found = retrieve_lists(Engine(own).fit(split.train, progress=SILENT), split, KS[-1])
        value = recall(found.paths[name], split)
        typer.echo(f"{name} {settings}: recall@{KS[-1]} {value:.4f}")
        return value

    return max(GRIDS[name], key=score)


def best_fusion(split: Split) -> tuple[dict[str, Any], tuple[float, ...]]:
    """The fusion and weights with the best recall on the slice."""
    engine = Engine.from_toml(CONFIG).fit(split.train, progress=SILENT)
    quotas = [path.quota for path in engine.config.paths]
    lists = [*retrieve_lists(engine, split, KS[-1]).paths.values()]

    def score(candidate: tuple[str, tuple[float, ...]]) -> float:
        plugin = fusion_class(candidate[0])
        return recall(plugin(plugin.Config()).fuse_batch(lists, candidate[1], quotas, KS[-1]), split)

    strategy, weights = max(product(STRATEGIES, product(WEIGHTS, repeat=len(lists))), key=score)
    typer.echo(f"{strategy} with weights {weights}: recall@{KS[-1]} {score((strategy, weights)):.4f}")
    return {"strategy": strategy}, weights


def recall(lists: RankedBatch | FusedBatch, split: Split) -> float:
    """Mean recall at the longest list."""
    values = user_metrics(lists.offsets, lists.items, split.offsets, split.targets, KS)
    return float(values[METRICS.index("recall")].mean(axis=0)[-1])


if __name__ == "__main__":
    typer.run(main)
