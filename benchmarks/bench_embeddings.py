"""Recall of Item2Vec and Node2Vec, beside the same served from gensim's and PecanPy's vectors, in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from typing import Annotated, Any

import numpy as np
import typer
from _harness import write
from numpy.typing import NDArray

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.data import Interactions
from multirecall.evaluation import Split, evaluate, leave_last_out, time_split
from multirecall.progress import SILENT
from multirecall.retrievers._neighbours.knn import nearest_neighbours
from multirecall.retrievers._sparse.units import unit_rows

KS = (20, 100, 500)
EQUAL: dict[str, Any] = {"dim": 64, "window": 5, "negatives": 5, "learning_rate": 0.05, "subsample": 1e-3}
EPOCHS = 10
WALKS: dict[str, Any] = {"walks_per_node": 10, "walk_length": 40}
Vectors = NDArray[np.float32]


def cases(folder: Path) -> Iterator[tuple[str, Split]]:
    """The splits: ml-1m by last event and by time, online-retail by time with and without repeats."""
    for name in ("ml-1m", "online-retail"):
        data = Dataset.load(*(folder / name / f"{table}.parquet" for table in ("interactions", "items", "users")))
        if name == "ml-1m":
            yield name, leave_last_out(data)
        yield name, time_split(data)
        if name == "online-retail":
            yield name, time_split(data, seen=True)


def main(data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")]) -> None:
    """Fit each path, and at equal settings the peers, and score them on the same users."""
    results = []
    for name, split in cases(data):
        rows: dict[str, Any] = {
            "item2vec": ours(split, "item2vec", {}),
            "item2vec at the peers' settings": ours(split, "item2vec", {**EQUAL, "epochs": EPOCHS}),
            "node2vec": ours(split, "node2vec", {}),
            "node2vec at the peers' settings": ours(split, "node2vec", {**EQUAL, **WALKS}),
            "node2vec by walks": ours(split, "node2vec", {"serve": "walks"}),
        }
        for peer, train in (("gensim", gensim_vectors), ("PecanPy and gensim", pecanpy_vectors)):
            if all(find_spec(module) for module in ("gensim", "pecanpy")):
                start = process_time()
                vectors = train(split.train.interactions)
                rows[peer] = {"fit_cpu_s": process_time() - start, "recall": serve_peer(split, vectors)}
        results.append({"data": name, "split": split.name, "lists": rows})
        typer.echo(f"{name}, {split.name}")
        for row, figures in rows.items():
            recalls = "  ".join(f"R@{k} {value:.4f}" for k, value in zip(KS, figures["recall"], strict=True))
            typer.echo(f"  {row:32} {recalls}  fitted in {figures['fit_cpu_s']:.0f} CPU s")
    equal = {"skip_gram": EQUAL, "epochs": EPOCHS, "walks": WALKS}
    typer.echo(write("embeddings", {"ks": KS, "peers_settings": equal, "cases": results}))


def ours(split: Split, retriever: str, params: dict[str, Any]) -> dict[str, Any]:
    """Fit time and recall of a path."""
    start = process_time()
    engine = Engine(EngineConfig(paths=(PathConfig(retriever=retriever, params=params),))).fit(split.train)
    fit_cpu_s = process_time() - start
    return {"fit_cpu_s": fit_cpu_s, "recall": recall(engine, split, retriever)}


def serve_peer(split: Split, vectors: Vectors) -> list[float]:
    """Recall of neighbour lists made of a peer's item vectors, served as Item2Vec serves its own."""
    path = PathConfig(retriever="item2vec", params={"epochs": 1, "dim": 2})
    engine = Engine(EngineConfig(paths=(path,))).fit(split.train)
    state = engine._state
    assert state is not None
    state.paths[0].retriever._neighbours = nearest_neighbours(unit_rows(vectors), 200, SILENT, "")  # type: ignore[attr-defined]
    return recall(engine, split, "item2vec")


def recall(engine: Engine, split: Split, path: str) -> list[float]:
    """Recall of one path's own list at each k."""
    return evaluate(engine, split, KS).figures[path]["recall"]


def gensim_vectors(log: Interactions) -> Vectors:
    """Item vectors of gensim's Word2Vec on the histories."""
    parts = np.split(log.items, log.offsets[1:-1])
    return word2vec([[str(item) for item in part] for part in parts if part.size], log.n_items, 0, EPOCHS)


def pecanpy_vectors(log: Interactions) -> Vectors:
    """Item vectors of gensim's Word2Vec on PecanPy's walks over the bipartite graph."""
    from pecanpy.pecanpy import SparseOTF

    matrix = log.matrix.tocoo()
    with tempfile.NamedTemporaryFile("w", suffix=".edg") as file:
        pairs = zip(matrix.row.tolist(), matrix.col.tolist(), strict=True)
        file.writelines(f"{user}\t{item + log.n_users}\n" for user, item in pairs)
        file.flush()
        graph = SparseOTF(p=1, q=1, workers=1, random_state=1)
        graph.read_edg(file.name, weighted=False, directed=False)
    sentences = graph.simulate_walks(WALKS["walks_per_node"], WALKS["walk_length"])
    return word2vec(sentences, log.n_items, log.n_users, 1)


def word2vec(sentences: list[list[str]], n_items: int, first: int, epochs: int) -> Vectors:
    """Vectors of the tokens `first …` that gensim learns at the equal settings."""
    from gensim.models import Word2Vec

    model = Word2Vec(
        sentences,
        vector_size=EQUAL["dim"],
        window=EQUAL["window"],
        negative=EQUAL["negatives"],
        alpha=EQUAL["learning_rate"],
        min_alpha=EQUAL["learning_rate"] / 1000,
        sample=EQUAL["subsample"],
        sg=1,
        min_count=1,
        workers=1,
        seed=1,
        epochs=epochs,
    )
    vectors = np.zeros((n_items, EQUAL["dim"]), np.float32)
    for token, place in model.wv.key_to_index.items():
        if int(token) >= first:
            vectors[int(token) - first] = model.wv.vectors[place]
    return vectors


if __name__ == "__main__":
    typer.run(main)
